"""Cholesky factors of Gram matrices that rounding or little text has left nearly singular, and
features that never fire."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

LARGEST = 10.0
"""Damping beyond this many mean diagonals would leave nothing of the matrix itself."""


class NotPositiveError(ArithmeticError):
    """A matrix that no tolerable damping makes positive definite."""


@dataclass(frozen=True)
class Reconstructed:
    """What a reconstruction gives back.

    Attributes:
        weight: float32 or wider ``[out, in]``, zero wherever ``mask`` is False.
        mask: bool ``[out, in]``, True = keep.
        damping: share of the mean diagonal that was added to the Gram matrix; 0 where nothing is
            factored.
        raised: whether that is more than was asked for, because a factorisation failed with less.
    """

    weight: torch.Tensor
    mask: torch.Tensor
    damping: float
    raised: bool


@dataclass(frozen=True)
class Factor:
    """``lower`` L with L·Lᵀ = matrix + damping · mean(diag) · I, and whether damping was raised."""

    lower: torch.Tensor
    damping: float
    raised: bool


def damped_cholesky(matrix: torch.Tensor, damping: float) -> Factor:
    """Factor ``matrix + damping · mean(diag) · I``, with ten times the damping after each failure.

    Args:
        matrix: symmetric ``[n, n]``, float32 or wider, diagonal > 0; not changed.
        damping: share of the mean diagonal, ≥ 0.

    Raises:
        NotPositiveError: it fails even with damping of ten mean diagonals.
    """
    mean = float(matrix.diagonal().mean())
    tried = damping
    while True:
        damped = matrix.clone()
        damped.diagonal().add_(tried * mean)
        lower, info = torch.linalg.cholesky_ex(damped)
        del damped
        # Some libraries let a NaN through as a success; one in a row reaches its diagonal.
        if int(info) == 0 and bool(torch.isfinite(lower.diagonal()).all()):
            return Factor(lower, tried, tried > damping)
        del lower
        if tried >= LARGEST or not mean > 0:
            raise NotPositiveError(f"not positive definite with damping {tried:g}")
        tried = min(max(10 * tried, 1e-4), LARGEST)


def unheard_first(
    weight: torch.Tensor, gram: torch.Tensor, solve: Callable[[torch.Tensor], Reconstructed]
) -> Reconstructed:
    """Mask and update by ``solve``, which chooses the mask: weights of features that never fire go
    first, and those that the mask keeps are put back.

    Args:
        weight: ``[out, in]``, which stays as it is.
        gram: ``[in, in]``.
        solve: is given a copy of the weight in the dtype of ``gram``, which it may change.
    """
    work = weight.to(device=gram.device, dtype=gram.dtype, copy=True)
    never = gram.diagonal() <= 0
    unheard = work[:, never]
    work[:, never] = 0
    found = solve(work)
    found.weight[:, never] = unheard.masked_fill_(~found.mask[:, never], 0)
    return found
