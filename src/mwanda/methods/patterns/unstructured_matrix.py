"""Unstructured sparsity over a whole matrix: the lowest scores go, whatever row they are in.

The common reference of magnitude pruning (Han et al., NeurIPS 2015, arXiv 1506.02626) thresholds
each matrix as a whole. A row can lose all its weights.
"""

from __future__ import annotations

import torch


def removed(rows: int, columns: int, sparsity: float) -> int:
    """Number of weights that go: ``int(out · in · sparsity)`` in IEEE doubles."""
    return int(rows * columns * sparsity)


def select(score: torch.Tensor, sparsity: float) -> torch.Tensor:
    """Keep all but the ``int(out · in · sparsity)`` lowest scores of the matrix.

    Of equal scores the one in the upper row goes first, in a row the one in the lower column.

    Args:
        score: float ``[out, in]``, finite, higher = keep; the whole matrix.
        sparsity: from 0 to 1.

    Returns:
        bool ``[out, in]``, True = keep.
    """
    count = removed(score.shape[0], score.shape[1], sparsity)
    if count == 0:
        return torch.ones_like(score, dtype=torch.bool, memory_format=torch.contiguous_format)
    flat = score.reshape(-1)
    limit = torch.kthvalue(flat, count).values
    keep = flat > limit
    # kthvalue says what the last to go is worth; of those worth as much, the later ones stay.
    tied = torch.nonzero(flat == limit).flatten()
    missing = count - (flat.numel() - int(torch.count_nonzero(keep)) - len(tied))
    keep[tied[missing:]] = True
    return keep.reshape(score.shape)
