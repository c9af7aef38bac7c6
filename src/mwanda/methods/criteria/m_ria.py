"""M-RIA: relative importance with M-Wanda's language-aware feature term.

RIA's share of row and column (Zhang et al., ICLR 2024) times the feature term of M-Wanda (Choenni &
Titov, EMNLP 2025, arXiv 2505.21171).
"""

from __future__ import annotations

import torch

from mwanda.methods.criteria.m_wanda import Activity, Dispersion, feature_term
from mwanda.methods.criteria.ria import relative_importance
from mwanda.methods.input_statistics import InputStatistics, Norms


def score(
    weight: torch.Tensor,
    statistics: InputStatistics,
    *,
    power: float = 0.5,
    dispersion: Dispersion = "variance-ratio",
    dispersion_weight: float = 0.0,
    activity_weight: float = 0.5,
    activity: Activity = "magnitude",
    norms: Norms = "raw",
) -> torch.Tensor:
    """``(|W_ij|/Σ_i|W_ij| + |W_ij|/Σ_j|W_ij|) · ((n̄_j + λ·dispersion_j) · (1 + α·p_j))^a``.

    Args:
        weight: ``[out, in]``, any floating dtype.
        statistics: inputs of this linear, by language; activity is needed where α is not 0.
        power: a ≥ 0, see :func:`mwanda.methods.criteria.ria.score`.
        dispersion, dispersion_weight, activity_weight, activity, norms: see
            :func:`mwanda.methods.criteria.m_wanda.score`.

    Returns:
        float32 ``[out, in]``, higher = keep.
    """
    feature = feature_term(
        statistics,
        dispersion=dispersion,
        dispersion_weight=dispersion_weight,
        activity_weight=activity_weight,
        activity=activity,
        norms=norms,
    ).pow(power)
    return relative_importance(weight) * feature.to(device=weight.device, dtype=torch.float32)
