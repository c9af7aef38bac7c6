"""M-Wanda: Wanda with language-aware activation statistics.

Choenni, Titov: "M-Wanda: Improving One-Shot Pruning for Multilingual LLMs", EMNLP 2025
(arXiv 2505.21171). The paper's exact constants are not used here: each of its parts is a term of
its own that can be switched off (weight 0), and the defaults come from our own measurement.
Its third part, the layerwise sparsity, is :mod:`mwanda.methods.allocation.cwl`.
"""

from __future__ import annotations

from typing import Literal

import torch

from mwanda.methods.input_statistics import InputStatistics, Need, Norms

Activity = Literal["magnitude", "sign"]
Dispersion = Literal["variance-ratio", "deviation", "variance"]


def score(
    weight: torch.Tensor,
    statistics: InputStatistics,
    *,
    dispersion: Dispersion = "variance-ratio",
    dispersion_weight: float = 0.0,
    activity_weight: float = 0.5,
    activity: Activity = "magnitude",
    norms: Norms = "raw",
) -> torch.Tensor:
    """``|W_ij| · (n̄_j + λ·dispersion_j) · (1 + α·p_j)``.

    Args:
        statistics: with the activity, where α is not 0.
        dispersion: of n_ℓj over languages: ``deviation`` (standard), ``variance-ratio``
            (variance / n̄_j, in the unit of n) or ``variance`` (bare: its λ depends on the model's
            scale).
        dispersion_weight: λ ≥ 0; 0 switches the term off, which is the default: on our tuning text
            it cost a little at 0.25 and more at 1.
        activity_weight: α ≥ 0; 0 switches the activation-probability term off.
        activity: what counts as active: ``|x_tj|`` above the mean of ``|x_t·|``, or ``x_tj > 0``.
        norms: of a language as they are, or divided by their mean over features; dispersion is
            that of the norms taken.

    Raises:
        ValueError: α is not 0 and the activity was not measured, see :func:`needs`.
    """
    feature = feature_term(
        statistics, dispersion, dispersion_weight, activity_weight, activity, norms
    )
    return weight.abs().float() * feature.to(device=weight.device, dtype=torch.float32)


def feature_term(
    statistics: InputStatistics,
    dispersion: Dispersion,
    dispersion_weight: float,
    activity_weight: float,
    activity: Activity,
    norms: Norms,
) -> torch.Tensor:
    """``(n̄_j + λ·dispersion_j) · (1 + α·p_j)``, float64 ``[in]``; see :func:`score`."""
    statistics = statistics.with_norms(norms)
    feature = statistics.pooled_rms
    if dispersion_weight:
        feature = feature + dispersion_weight * _dispersion(statistics, dispersion)
    if activity_weight:
        shares = statistics.activity if activity == "magnitude" else statistics.positive
        if shares is None:
            raise ValueError(f"activity by {activity} was not measured")
        feature = feature * (1 + activity_weight * (statistics.weights @ shares))
    return feature


def needs(*, activity_weight: float, activity: Activity) -> tuple[Need, ...]:
    """The statistics that these options look at: activity only where it counts, by its rule."""
    if not activity_weight:
        return ("square",)
    return ("square", "activity" if activity == "magnitude" else "activity-sign")


def _dispersion(statistics: InputStatistics, kind: Dispersion) -> torch.Tensor:
    """Spread of n_ℓj over languages under the language weights, float64 ``[in]``."""
    mean = statistics.weights @ statistics.rms
    variance = statistics.weights @ (statistics.rms - mean).square()
    if kind == "deviation":
        return variance.sqrt()
    if kind == "variance":
        return variance
    pooled = statistics.pooled_rms
    return torch.where(pooled > 0, variance / pooled.clamp_min(torch.finfo(pooled.dtype).tiny), 0.0)
