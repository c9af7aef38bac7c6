"""OWL: outlier-weighed layerwise sparsity.

Yin et al.: "Outlier Weighed Layerwise Sparsity (OWL): A Missing Secret Sauce for Pruning LLMs to
High Sparsity", ICML 2024 (arXiv 2310.05175). A block with more outlier scores stays denser.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from mwanda.methods.allocation.budget import fit, spread
from mwanda.methods.criteria import wanda
from mwanda.methods.input_statistics import InputStatistics
from mwanda.methods.wide import wide_sum


def measure(
    weights: Sequence[torch.Tensor], statistics: Sequence[InputStatistics], *, outlier: float = 5.0
) -> float:
    """D_b: share of a block's Wanda scores above ``outlier`` (M) times their mean."""
    total, count = 0.0, 0
    for weight, inputs in zip(weights, statistics, strict=True):
        scores = wanda.score(weight, inputs)
        total += float(wide_sum(scores))
        count += scores.numel()
    limit, above = outlier * total / count, 0
    for weight, inputs in zip(weights, statistics, strict=True):
        above += int((wanda.score(weight, inputs) > limit).sum())
    return above / count


def allocate(
    signals: Sequence[float], sizes: Sequence[int], target: float, *, width: float = 0.08
) -> list[float]:
    """Density rises with D_b over ``±width`` (λ) around the target."""
    return fit([-value for value in spread(signals, width)], sizes, target)
