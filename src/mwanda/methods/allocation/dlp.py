"""DLP: dynamic layerwise pruning.

Chen et al.: "DLP: Dynamic Layerwise Pruning in Large Language Models", ICML 2025 (arXiv
2505.23807). A block's unimportance is the median of its Wanda scores, its importance one minus its
share of all blocks' unimportance.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import torch

from mwanda.methods.allocation.budget import fit, spread
from mwanda.methods.criteria import wanda
from mwanda.methods.input_statistics import InputStatistics
from mwanda.methods.wide import wide_sum

Centre = Literal["median", "mean"]


def measure(
    weights: Sequence[torch.Tensor],
    statistics: Sequence[InputStatistics],
    *,
    centre: Centre = "median",
) -> float:
    """U_b: the median (of an even number the lower one) or the mean of a block's Wanda scores."""
    count = sum(weight.numel() for weight in weights)
    if centre == "mean":
        sums = (wide_sum(s) for s in _scores(weights, statistics))
        return float(sum(sums)) / count
    # The order of non-negative floats is that of their bits, so the median is found exactly by its
    # upper half of the bits, then its lower half, without holding all scores of the block at once.
    rank, upper = _place(_histogram(_scores(weights, statistics)), (count - 1) // 2)
    _, lower = _place(_histogram(_scores(weights, statistics), within=upper), rank)
    bits = torch.tensor((upper << 16) | lower, dtype=torch.int32)
    return float(bits.view(torch.float32))


def allocate(
    signals: Sequence[float], sizes: Sequence[int], target: float, *, width: float = 0.15
) -> list[float]:
    """Density rises with the importance ``1 - U_b / Σ U`` over ``±width`` (α) around the target."""
    total = sum(signals)
    if total == 0:
        return fit([0.0 for _ in signals], sizes, target)
    importance = [1 - value / total for value in signals]
    return fit([-value for value in spread(importance, width)], sizes, target)


def _scores(
    weights: Sequence[torch.Tensor], statistics: Sequence[InputStatistics]
) -> Iterator[torch.Tensor]:
    for weight, inputs in zip(weights, statistics, strict=True):
        yield wanda.score(weight, inputs)


def _histogram(scores: Iterator[torch.Tensor], within: int | None = None) -> torch.Tensor:
    """How many scores have which upper 16 bits, or lower ones of those with a given upper half."""
    counts = torch.zeros(1 << 16, dtype=torch.int64)
    for score in scores:
        bits = score.contiguous().view(torch.int32).flatten()
        part = bits >> 16 if within is None else bits[(bits >> 16) == within] & 0xFFFF
        counts += torch.bincount(part, minlength=1 << 16).cpu()
    return counts


def _place(counts: torch.Tensor, rank: int) -> tuple[int, int]:
    """The bin that the rank-th (from 0) falls into, and its rank in there: ``(rank, bin)``."""
    ends = counts.cumsum(0)
    place = int(torch.searchsorted(ends, rank, right=True))
    before = int(ends[place - 1]) if place else 0
    return rank - before, place
