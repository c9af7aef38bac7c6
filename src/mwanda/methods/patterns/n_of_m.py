"""N:M sparsity: of each M consecutive inputs the N highest scores stay.

Mishra et al.: "Accelerating Sparse Deep Neural Networks", 2021 (arXiv 2104.08378) for 2:4. N
counts what is *kept*; some tools count what is pruned.
"""

from __future__ import annotations

import torch

COMPARED = 16
"""Largest M whose columns are compared in pairs; beyond it a sort does less work."""


def removed(rows: int, columns: int, keep: int, group: int) -> int:
    """Number of weights that go: all but ``keep`` of each ``group`` columns of a row."""
    return rows * columns // group * (group - keep)


def select(score: torch.Tensor, keep: int, group: int) -> torch.Tensor:
    """Keep the ``keep`` highest scores of each ``group`` consecutive columns of a row.

    Of equal scores the lower column goes first, as in the unstructured pattern.

    Args:
        score: float ``[out, in]``, finite, ``in`` divisible by ``group``; higher = keep.
        keep: N, from 1 to ``group``.
        group: M.

    Returns:
        bool ``[out, in]``, True = keep.
    """
    rows, columns = score.shape
    groups = score.reshape(rows, columns // group, group)
    if group > COMPARED:
        order = groups.sort(dim=2, stable=True).indices
        mask = torch.ones_like(groups, dtype=torch.bool)
        mask.scatter_(2, order[..., : group - keep], False)
        return mask.reshape(rows, columns)
    # How many of its group stand above a score: counting is several times faster than sorting.
    places = groups.unbind(dim=2)
    mask = torch.empty(groups.shape, dtype=torch.bool, device=score.device)
    for column, own in enumerate(places):
        above = torch.zeros(own.shape, dtype=torch.uint8, device=score.device)
        for other, rival in enumerate(places):
            if other != column:
                above += rival >= own if other > column else rival > own
        torch.lt(above, keep, out=mask[..., column])
    return mask.reshape(rows, columns)
