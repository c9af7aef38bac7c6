"""Masked least squares by ADMM: the kept weights make up for those that went.

Boža: "Fast and Effective Weight Update for Pruned Large Language Models", TMLR 2024 (arXiv
2401.02938). Takes any criterion's mask. Language-aware through G, the weighted mean of the
languages' Gram matrices. Two terms of our own keep the update from leaning on the calibration text:
shrinkage of G toward its diagonal, and a penalty toward the dense weights.
"""

from __future__ import annotations

import torch

from mwanda.reconstruction.factor import Reconstructed, damped_cholesky

__all__ = ["operations", "reconstruct"]


def reconstruct(
    weight: torch.Tensor,
    mask: torch.Tensor,
    gram: torch.Tensor,
    *,
    iterations: int = 30,
    rho: float = 1.0,
    shrinkage: float = 0.0,
    penalty: float = 0.0,
) -> Reconstructed:
    """Minimise ``tr((Z - W)·A·(Z - W)ᵀ)`` over the Z that are zero where the mask is False, with
    ``A = (1 - shrinkage)·G + shrinkage·diag(G) + penalty·mean(diag(G))·I``.

    Each feature is scaled to ``A_jj = 1``, so that one ``rho`` fits all. A row of weights that the
    iterations have not made better than the plain masked one keeps the plain one.

    Args:
        weight: W, ``[out, in]``, any floating dtype, not changed.
        mask: bool ``[out, in]``, True = keep.
        gram: G, symmetric ``[in, in]``, float32 or wider, which is what is computed in.
        iterations: of ADMM.
        rho: its step; also what keeps its one factorisation well conditioned.
        shrinkage: from 0 (G itself) to 1 (its diagonal, which leaves the kept weights alone).
        penalty: in units of the mean diagonal of G.

    Returns:
        The weights; ``damping`` is 0 unless a factorisation failed.

    Raises:
        NotPositiveError: see :func:`mwanda.reconstruction.factor.damped_cholesky`.
    """
    mask = mask.to(gram.device)
    dense = weight.to(device=gram.device, dtype=gram.dtype)
    matrix = gram * (1 - min(shrinkage, 1.0))
    matrix.diagonal().copy_(gram.diagonal() + penalty * gram.diagonal().mean())
    scale = matrix.diagonal().clamp_min(0).sqrt()
    # A feature that never fires has no part in the error: its kept weights stay as they are.
    scale = torch.where(scale > 0, scale, 1.0)
    matrix /= scale
    matrix /= scale.unsqueeze(1)
    step = matrix.clone()
    step.diagonal().add_(rho)
    factor = damped_cholesky(step, 0.0)
    # Damping of this matrix is a longer step of the same iteration.
    rho += factor.damping * float(step.diagonal().mean())
    del step
    inverse = torch.cholesky_inverse(factor.lower)
    target = dense * scale
    pull = target @ matrix @ inverse
    plain = target * mask
    kept, dual = plain.clone(), torch.zeros_like(plain)
    for _ in range(iterations):
        free = pull + rho * ((kept - dual) @ inverse)
        dual += free
        kept = dual * mask
        dual -= kept
    better = _errors(kept - target, matrix) < _errors(plain - target, matrix)
    found = torch.where(better.unsqueeze(1), kept / scale, dense * mask)
    return Reconstructed(found, mask, factor.damping, factor.raised)


def operations(rows: int, columns: int, *, iterations: int = 30) -> int:
    """Floating-point operations for a weight ``[rows, columns]``: a factor and an inverse, two
    products before the iterations, one in each, and two to compare."""
    return columns**3 + 2 * rows * columns**2 * (iterations + 4)


def _errors(change: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
    """``d·A·dᵀ`` of each row d of the change, ``[out]``."""
    return ((change @ matrix) * change).sum(dim=1)
