"""How two keep masks of one matrix differ: counts, and what follows from them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class MaskOverlap:
    """Two masks, or the same of many matrices together.

    Attributes:
        weights: positions.
        first, second, both: kept by the first mask, by the second, and by both.
        rows, columns: out of ``of_rows`` output rows and ``of_columns`` input columns, those with
            at least one difference.
    """

    weights: int
    first: int
    second: int
    both: int
    rows: int
    of_rows: int
    columns: int
    of_columns: int

    @property
    def differing(self) -> int:
        """Positions that one mask keeps and the other removes."""
        return self.first + self.second - 2 * self.both

    @property
    def share(self) -> float:
        """Share of the positions that differ."""
        return self.differing / self.weights if self.weights else 0.0

    @property
    def overlap(self) -> float:
        """Intersection over union (Jaccard index) of the weights kept; 1 where none is kept."""
        either = self.first + self.second - self.both
        return self.both / either if either else 1.0

    @classmethod
    def total(cls, parts: Iterable[MaskOverlap]) -> MaskOverlap:
        """Several matrices as one."""
        sums = [0] * 8
        for part in parts:
            counts = (part.weights, part.first, part.second, part.both,
                      part.rows, part.of_rows, part.columns, part.of_columns)  # fmt: skip
            sums = [total + count for total, count in zip(sums, counts, strict=True)]
        return cls(*sums)


def overlap_of(first: torch.Tensor, second: torch.Tensor) -> MaskOverlap:
    """Compare two keep masks ``bool [out, in]``."""
    if first.shape != second.shape:
        raise ValueError(f"masks of shapes {[*first.shape]} and {[*second.shape]}")
    differ = first ^ second
    return MaskOverlap(
        first.numel(),
        int(torch.count_nonzero(first)),
        int(torch.count_nonzero(second)),
        int(torch.count_nonzero(first & second)),
        int(torch.count_nonzero(differ.any(dim=1))),
        first.shape[0],
        int(torch.count_nonzero(differ.any(dim=0))),
        first.shape[1],
    )
