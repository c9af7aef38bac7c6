"""SparseGPT: prune column by column, and let the columns to come make up for each one.

Frantar, Alistarh: "SparseGPT: Massive Language Models Can Be Accurately Pruned in One-Shot", ICML
2023 (arXiv 2301.00774). H = 2·G; the factor 2 changes neither masks nor weights, nor does the share
of the mean diagonal that damps it, so G is used as it is. Language-aware through G, the weighted
mean of the languages' Gram matrices. ``prune`` chooses its own mask as it goes; ``reconstruct``
makes the same update under a mask that is given.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

from mwanda.methods.reconstruction.factor import Reconstructed, damped_cholesky, unheard_first

COLUMNS = 128
"""Width of the blocks in which masks are chosen, and of lazy updates."""

if TYPE_CHECKING:  # only to annotate with: at run time it would load torch
    Choose = Callable[[torch.Tensor, torch.Tensor, int], torch.Tensor]
    """Weights ``[out, n]`` as they are now, the diagonal ``[n]`` of U, first column -> keep
    mask."""


def prune(
    weight: torch.Tensor,
    gram: torch.Tensor,
    sparsity: float,
    keep: int,
    group: int,
    *,
    damping: float = 0.01,
) -> Reconstructed:
    """Mask and update.

    Unstructured (``group`` 1): in each block of 128 columns the lowest ``w²/U_jj²`` of all rows go,
    as many as bring the matrix to exactly ``int(out · in · sparsity)`` at its end; of equal scores
    those of the upper row, then of the lower column, go first. N:M: in each group of ``group``
    columns of a row the ``keep`` highest stay.

    Args:
        damping: share of the mean diagonal of G that is added to it.
    """
    rows = weight.shape[0]

    def unstructured(part: torch.Tensor, diagonal: torch.Tensor, start: int) -> torch.Tensor:
        end = start + part.shape[1]
        count = int(rows * end * sparsity) - int(rows * start * sparsity)
        return _keep_highest(part.square() / diagonal.square(), count)

    def grouped(part: torch.Tensor, diagonal: torch.Tensor, _start: int) -> torch.Tensor:
        order = (part.square() / diagonal.square()).sort(dim=1, stable=True).indices
        mask = torch.ones_like(part, dtype=torch.bool)
        return mask.scatter_(1, order[:, : group - keep], False)

    def swept(work: torch.Tensor) -> Reconstructed:
        if group == 1:
            return _sweep(work, gram, unstructured, COLUMNS, COLUMNS, damping)
        width = max(group, COLUMNS // group * group)
        return _sweep(work, gram, grouped, width, group, damping)

    return unheard_first(weight, gram, swept)


def reconstruct(
    weight: torch.Tensor, mask: torch.Tensor, gram: torch.Tensor, *, damping: float = 0.01
) -> Reconstructed:
    """The same update under a given mask. Kept weights of a feature that never fires stay."""
    mask = mask.to(gram.device)

    def given(part: torch.Tensor, _diagonal: torch.Tensor, start: int) -> torch.Tensor:
        return mask[:, start : start + part.shape[1]]

    work = weight.to(device=gram.device, dtype=gram.dtype, copy=True)
    return _sweep(work, gram, given, COLUMNS, COLUMNS, damping)


def operations(rows: int, columns: int) -> int:
    """Floating-point operations for a weight ``[rows, columns]``: a factor, its inverse, and each
    column's part in those to come."""
    return columns**3 * 4 // 3 + rows * columns**2


def memory(rows: int, columns: int) -> int:
    """Numbers held at once: a Gram matrix turned round, factored and inverted; the weights as they
    were and are; and the scores of a block of columns, sorted."""
    return columns**2 * 4 + rows * columns * 4 + rows * COLUMNS * 8


def _sweep(
    work: torch.Tensor, gram: torch.Tensor, choose: Choose, width: int, each: int, damping: float
) -> Reconstructed:
    """Left to right through ``work``, which is changed: masks every ``each`` columns, updates
    beyond a block every ``width``."""
    columns = work.shape[1]
    upper, found, raised = _inverse_factor(gram, damping)
    mask = torch.ones(work.shape, dtype=torch.bool, device=work.device)
    for start in range(0, columns, width):
        end = min(start + width, columns)
        part, errors = work[:, start:end], torch.zeros_like(work[:, start:end])
        own = upper[start:end, start:end]
        for i in range(end - start):
            if i % each == 0:
                now = slice(i, min(i + each, end - start))
                mask[:, start:end][:, now] = choose(part[:, now], own.diagonal()[now], start + i)
            column = part[:, i].clone()
            part[:, i] *= mask[:, start + i]
            errors[:, i] = (column - part[:, i]) / own[i, i]
            part[:, i + 1 :] -= errors[:, i : i + 1] * own[i, i + 1 :]
        work[:, end:] -= errors @ upper[start:end, end:]
    return Reconstructed(work.masked_fill_(~mask, 0), mask, found, raised)


def _inverse_factor(gram: torch.Tensor, damping: float) -> tuple[torch.Tensor, float, bool]:
    """Upper U with UᵀU = H⁻¹, the damping, and whether it was raised.

    With the order of features turned round, H = L·Lᵀ becomes H = R·Rᵀ with R upper, so U = R⁻¹: one
    factorisation and no inverse of H.
    """
    turned = gram.flip(0, 1)
    diagonal = turned.diagonal()
    dead = diagonal <= 0
    # Any positive value does, since all else in its row is 0; this one leaves the mean as it is.
    diagonal[dead] = 1.0 if bool(dead.all()) else diagonal[~dead].mean()
    factor = damped_cholesky(turned, damping)
    found, raised = factor.damping, factor.raised
    root = factor.lower.flip(0, 1)
    del turned, diagonal, factor  # matrices of this size are what the memory goes into
    identity = torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    upper = torch.linalg.solve_triangular(root, identity, upper=True)
    return upper, found, raised


def _keep_highest(score: torch.Tensor, count: int) -> torch.Tensor:
    """All but the ``count`` lowest of ``[out, n]``; on ties the earlier go first."""
    mask = torch.ones(score.numel(), dtype=torch.bool, device=score.device)
    mask[score.flatten().sort(stable=True).indices[:count]] = False
    return mask.reshape(score.shape)
