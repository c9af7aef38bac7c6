"""Unstructured sparsity: in each output row the lowest scores go.

The comparison group of Wanda (arXiv 2306.11695, section 3) and its tie rule: ascending stable
order, so of equal scores the lower column goes first.
"""

from __future__ import annotations

import torch

__all__ = ["pruned_per_row", "select"]


def pruned_per_row(columns: int, sparsity: float) -> int:
    """Number of weights removed from a row: ``int(columns · sparsity)`` in IEEE doubles."""
    return int(columns * sparsity)


def select(score: torch.Tensor, sparsity: float) -> torch.Tensor:
    """Keep all but the ``int(in · sparsity)`` lowest scores of every row.

    Args:
        score: float ``[out, in]``, finite, higher = keep.
        sparsity: from 0 to 1.

    Returns:
        bool ``[out, in]``, True = keep.
    """
    count = pruned_per_row(score.shape[1], sparsity)
    if count == 0:
        return torch.ones_like(score, dtype=torch.bool)
    threshold = torch.kthvalue(score, count, dim=1, keepdim=True).values
    pruned = score <= threshold
    # Only rows with ties across the threshold need the running count that settles them.
    rows = torch.nonzero(torch.count_nonzero(pruned, dim=1) > count).flatten()
    if len(rows):
        part, limit = score[rows], threshold[rows]
        below, tied = part < limit, part == limit
        missing = count - torch.count_nonzero(below, dim=1).unsqueeze(1)
        pruned[rows] = below | (tied & (tied.cumsum(dim=1) <= missing))
    return ~pruned
