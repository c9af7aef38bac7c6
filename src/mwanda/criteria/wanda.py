"""Wanda: weights and activations.

Sun, Liu, Bair, Kolter: "A Simple and Effective Pruning Approach for Large Language Models",
ICLR 2024 (arXiv 2306.11695). With several languages the squared feature norms are averaged with
the language weights; with one language this is the original.
"""

from __future__ import annotations

import torch

from mwanda.statistics.sums import InputStatistics

__all__ = ["score"]


def score(weight: torch.Tensor, statistics: InputStatistics) -> torch.Tensor:
    """``|W_ij| · n̄_j`` with ``n̄_j = sqrt(Σ_ℓ w_ℓ n_ℓj²)``.

    Args:
        weight: ``[out, in]``, any floating dtype.
        statistics: inputs of this linear, by language.

    Returns:
        float32 ``[out, in]``, higher = keep.
    """
    feature = statistics.pooled_rms.to(device=weight.device, dtype=torch.float32)
    return weight.abs().float() * feature
