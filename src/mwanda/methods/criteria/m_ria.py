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
        power: a ≥ 0, see :func:`mwanda.methods.criteria.ria.score`.
        dispersion, dispersion_weight, activity_weight, activity, norms: see
            :func:`mwanda.methods.criteria.m_wanda.score`.
    """
    feature = feature_term(
        statistics, dispersion, dispersion_weight, activity_weight, activity, norms
    )
    feature = feature.pow(power).to(device=weight.device, dtype=torch.float32)
    return relative_importance(weight) * feature
