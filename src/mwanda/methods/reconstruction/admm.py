"""Masked least squares by ADMM: the kept weights make up for those that went.

Boža: "Fast and Effective Weight Update for Pruned Large Language Models", TMLR 2024 (arXiv
2401.02938). ``reconstruct`` takes any criterion's mask; ``prune`` chooses its own, sparser step by
step while the weights adapt to it. Language-aware through G, the weighted mean of the languages'
Gram matrices. Two terms of our own keep the update from leaning on the calibration text: shrinkage
of G toward its diagonal, and a penalty toward the dense weights.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from mwanda.methods.patterns import n_of_m, unstructured
from mwanda.methods.reconstruction.factor import Reconstructed, damped_cholesky, unheard_first

ROWS = 1024
"""Of a weight, that are solved together: enough for a product to run at its full rate."""

if TYPE_CHECKING:  # only to annotate with: at run time it would load torch
    Choose = Callable[[torch.Tensor, int], torch.Tensor]
    """Scaled weights ``[out, in]`` as they are now, the iteration from 0 -> keep mask."""


def prune(
    weight: torch.Tensor,
    gram: torch.Tensor,
    sparsity: float,
    keep: int,
    group: int,
    *,
    iterations: int = 30,
    ramp: int = 15,
    rho: float = 1.0,
    shrinkage: float = 0.0,
    penalty: float = 0.0,
) -> Reconstructed:
    """Mask and update; what is minimised is that of :func:`reconstruct`.

    Unstructured (``group`` 1): in iteration k of the first ``ramp`` the ``int(in · s_k)`` lowest
    ``|W_ij|·sqrt(A_jj)`` of every row go, of the weights as they are by then, with
    ``s_k = sparsity · (1 - (1 - k/ramp)³)``; the mask of the last of these stays. N:M: in each
    group of ``group`` columns of a row the ``keep`` highest stay, chosen anew in each of these.

    Args:
        iterations: of ADMM.
        ramp: how many of them choose the mask, at least one and at most all.
        rho, shrinkage, penalty: see :func:`reconstruct`.
    """
    iterations = max(iterations, 1)
    ramp = min(max(ramp, 1), iterations)

    def choose(now: torch.Tensor, step: int) -> torch.Tensor:
        if group > 1:
            return n_of_m.select(now.abs(), keep, group)
        return unstructured.select(now.abs(), sparsity * (1 - (1 - (step + 1) / ramp) ** 3))

    problem = _scaled(gram, rho, shrinkage, penalty)
    every = torch.ones(weight.shape, dtype=torch.bool, device=gram.device)
    return unheard_first(
        weight, gram, lambda dense: _solved(dense, every, problem, iterations, choose, ramp)
    )


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
        iterations: of ADMM.
        rho: its step; also what keeps its one factorisation well conditioned.
        shrinkage: from 0 (G itself) to 1 (its diagonal, which leaves the kept weights alone).
        penalty: in units of the mean diagonal of G.

    Returns:
        The weights; ``damping`` is 0 unless a factorisation failed.
    """
    dense = weight.to(device=gram.device, dtype=gram.dtype)
    problem = _scaled(gram, rho, shrinkage, penalty)
    return _solved(dense, mask.to(gram.device), problem, iterations)


def operations(rows: int, columns: int, *, iterations: int = 30) -> int:
    """Floating-point operations for a weight ``[rows, columns]``: a factor and an inverse, two
    products before the iterations, one in each, and two to compare."""
    return columns**3 + 2 * rows * columns**2 * (iterations + 4)


def memory(rows: int, columns: int) -> int:
    """Numbers held at once: a Gram matrix mirrored, scaled, factored and inverted; the weights as
    they were and are; and what some rows of them take while they change."""
    return columns**2 * 4 + rows * columns * 4 + min(rows, ROWS) * columns * 15


@dataclass(frozen=True)
class _Scaled:
    """``A`` with every feature scaled to ``A_jj = 1``, and ``(A + rho·I)⁻¹``.

    Attributes:
        scale: ``sqrt(A_jj)`` of before, ``[in]``; 1 where that was 0.
        damping, raised: of the factorisation that the inverse is from.
    """

    matrix: torch.Tensor
    inverse: torch.Tensor
    scale: torch.Tensor
    rho: float
    damping: float
    raised: bool


def _scaled(gram: torch.Tensor, rho: float, shrinkage: float, penalty: float) -> _Scaled:
    matrix = gram * (1 - min(shrinkage, 1.0))
    matrix.diagonal().copy_(gram.diagonal() + penalty * gram.diagonal().mean())
    scale = matrix.diagonal().clamp_min(0).sqrt()
    # A feature that never fires has no part in the error: its kept weights stay as they are.
    scale = torch.where(scale > 0, scale, 1.0)
    matrix /= scale
    matrix /= scale.unsqueeze(1)
    # In place and back: matrices of this size are what a reconstruction's memory goes into.
    diagonal = matrix.diagonal().clone()
    matrix.diagonal().add_(rho)
    factor = damped_cholesky(matrix, 0.0)
    matrix.diagonal().copy_(diagonal)
    # Damping of this matrix is a longer step of the same iteration.
    step = rho + factor.damping * float((diagonal + rho).mean())
    inverse = torch.cholesky_inverse(factor.lower)
    return _Scaled(matrix, inverse, scale, step, factor.damping, factor.raised)


def _solved(
    dense: torch.Tensor,
    mask: torch.Tensor,
    problem: _Scaled,
    iterations: int,
    choose: Choose | None = None,
    ramp: int = 0,
) -> Reconstructed:
    """New weights and their mask, chosen anew in the first ``ramp`` iterations; some rows after the
    other: none looks at another, and each takes many times its memory."""
    rho, matrix, inverse = problem.rho, problem.matrix, problem.inverse

    def solve(dense: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        target = dense * problem.scale
        pull = target @ matrix @ inverse
        kept = target * mask
        dual = torch.zeros_like(kept)
        for step in range(iterations):
            dual += pull + rho * ((kept - dual) @ inverse)
            if choose is not None and step < ramp:
                mask = choose(dual, step)
            kept = dual * mask
            dual -= kept
        plain = target * mask
        better = _errors(kept - target, matrix) < _errors(plain - target, matrix)
        return torch.where(better.unsqueeze(1), kept / problem.scale, dense * mask), mask

    found, masks = torch.empty_like(dense), torch.empty_like(mask)
    for start in range(0, len(dense), ROWS):
        rows = slice(start, start + ROWS)
        found[rows], masks[rows] = solve(dense[rows], mask[rows])
    return Reconstructed(found, masks, problem.damping, problem.raised)


def _errors(change: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
    """``d·A·dᵀ`` of each row d of the change, ``[out]``."""
    return ((change @ matrix) * change).sum(dim=1)
