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
    # Ties across the threshold are rare: only those rows need to be looked at one by one.
    for row in torch.nonzero(pruned.sum(dim=1) > count).flatten().tolist():
        tied = torch.nonzero(score[row] == threshold[row]).flatten()
        excess = int(pruned[row].sum()) - count
        pruned[row, tied[len(tied) - excess :]] = False
    return ~pruned
