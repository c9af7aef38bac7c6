"""Wanda: weights and activations.

Sun, Liu, Bair, Kolter: "A Simple and Effective Pruning Approach for Large Language Models",
ICLR 2024 (arXiv 2306.11695). With several languages the squared feature norms are averaged with
the language weights; with one language this is the original.
"""

from __future__ import annotations

import torch

from mwanda.methods.input_statistics import InputStatistics, Norms


def score(
    weight: torch.Tensor, statistics: InputStatistics, *, norms: Norms = "raw"
) -> torch.Tensor:
    """``|W_ij| · n̄_j`` with ``n̄_j = sqrt(Σ_ℓ w_ℓ n_ℓj²)``; norms n_ℓj as they are, or each
    language's divided by their mean over features."""
    feature = statistics.with_norms(norms).pooled_rms
    feature = feature.to(device=weight.device, dtype=torch.float32)
    return weight.abs().float() * feature
