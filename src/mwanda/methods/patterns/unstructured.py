"""Unstructured sparsity: in each output row the lowest scores go.

The comparison group of Wanda (arXiv 2306.11695, section 3) and its tie rule: ascending stable
order, so of equal scores the lower column goes first.
"""

from __future__ import annotations

import torch


def removed(rows: int, columns: int, sparsity: float) -> int:
    """Number of weights that go: ``int(columns · sparsity)`` of a row, in IEEE doubles."""
    return rows * int(columns * sparsity)


def select(score: torch.Tensor, sparsity: float) -> torch.Tensor:
    """Keep all but the ``int(in · sparsity)`` lowest scores of every row.

    On a CPU the count-th lowest score of a row is found by partition, several times faster than a
    sort; only rows with ties across it need more. Rows are independent: give pieces of a matrix to
    several threads.

    Args:
        score: float ``[out, in]``, finite, higher = keep.
        sparsity: from 0 to 1.

    Returns:
        bool ``[out, in]``, True = keep.
    """
    rows, columns = score.shape
    count = removed(1, columns, sparsity)
    mask = torch.full((rows, columns), count < columns, device=score.device)
    if count in (0, columns):
        return mask
    select_rows = _select_by_partition if score.is_cpu else _select_by_sort
    select_rows(score, mask, count)
    return mask


def _select_by_sort(score: torch.Tensor, mask: torch.Tensor, count: int) -> None:
    """Fill a mask on a device where a sort is the fastest way to rank."""
    ranked = score.sort(dim=1).values
    torch.gt(score, ranked[:, count - 1 : count], out=mask)
    _settle_ties(score, mask, ranked, ranked[:, count], count)


def _select_by_partition(score: torch.Tensor, mask: torch.Tensor, count: int) -> None:
    """Fill the mask of some rows; plain numpy, because that lets other threads run meanwhile."""
    values = score.numpy()
    ranked = values.copy()
    ranked.partition(count - 1, axis=1)
    mask.numpy()[:] = values > ranked[:, count - 1, None]
    first = torch.from_numpy(ranked[:, count:].min(axis=1))
    _settle_ties(score, mask, torch.from_numpy(ranked), first, count)


def _settle_ties(
    score: torch.Tensor, mask: torch.Tensor, ranked: torch.Tensor, first: torch.Tensor, count: int
) -> None:
    """Where the last score to go equals the first to stay, the lower columns go.

    Args:
        mask: keeps what is above the last score to go; is mended.
        ranked: the scores of each row, the ``count`` lowest before all others, the last to go at
            the end of those.
        first: the lowest of the others, ``[out]``.
    """
    rows = torch.nonzero(ranked[:, count - 1] == first).flatten()
    if not len(rows):
        return
    limit = ranked[rows, count - 1].unsqueeze(1)
    tied = score[rows] == limit
    going = torch.count_nonzero(ranked[rows, :count] == limit, dim=1)
    places = torch.nonzero(tied)  # row after row, in each from the lowest column on
    each = torch.count_nonzero(tied, dim=1)
    number = torch.arange(len(places), device=score.device) - (each.cumsum(0) - each)[places[:, 0]]
    stays = places[number >= going[places[:, 0]]]
    mask[rows[stays[:, 0]], stays[:, 1]] = True
