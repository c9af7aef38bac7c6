"""N:M sparsity: of each M consecutive inputs the N highest scores stay.

Mishra et al.: "Accelerating Sparse Deep Neural Networks", 2021 (arXiv 2104.08378) for 2:4. N
counts what is *kept*; some tools count what is pruned.
"""

from __future__ import annotations

import torch

__all__ = ["select"]


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
    order = groups.sort(dim=2, stable=True).indices
    mask = torch.ones_like(groups, dtype=torch.bool)
    mask.scatter_(2, order[..., : group - keep], False)
    return mask.reshape(rows, columns)
