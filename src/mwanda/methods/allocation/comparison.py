"""What an allocation asks and is told that compares masked blocks with dense ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from mwanda.methods.input_statistics import InputStatistics
from mwanda.methods.wide import wide_sum, widened

PIECE = 1 << 20
"""Weights looked at together: 4 MiB of float32."""


class UnsolvedError(ArithmeticError):
    """Sparsities that could not be found: the solver gave up."""


@dataclass(frozen=True)
class Probe:
    """What is to be measured.

    Attributes:
        sparsities: ascending; the points of the curve.
        windows: of every language, to measure on; 0 takes all.
        compared: the sparsities at which masked and dense outputs are compared. Either all of them,
            or one above 0, from which the errors at the others follow (see :func:`extended`).
    """

    sparsities: tuple[float, ...]
    windows: int
    compared: tuple[float, ...]


@dataclass(frozen=True)
class Curves:
    """What was measured of one block or linear.

    Attributes:
        sparsities: ascending.
        errors: language -> relative error of the block's outputs at each of them; 0 everywhere
            where no text reached what was masked.
        weights: language -> w_ℓ.
    """

    sparsities: tuple[float, ...]
    errors: dict[str, tuple[float, ...]]
    weights: dict[str, float]


def removed_share(weight: torch.Tensor, removed: torch.Tensor, inputs: InputStatistics) -> float:
    """``Σ_removed W_ij² n̄_j² / Σ W_ij² n̄_j²``: the share of a linear's own outputs that goes with
    some weights, bool ``[out, in]``, its inputs taken as uncorrelated; 0 where it has no output at
    all."""
    columns = weight.shape[1]
    where = widened(weight[:0]).device
    found = torch.zeros(2, columns, dtype=torch.float64, device=where)
    rows = max(1, PIECE // columns)  # a whole matrix need not fit twice more
    for part, out in zip(weight.split(rows), removed.split(rows), strict=True):
        square = part.float().square()
        found[0] += wide_sum(square, 0)
        square.masked_fill_(~out.to(square.device), 0)
        found[1] += wide_sum(square, 0)
    whole, gone = (found.cpu() @ inputs.pooled_rms.square()).tolist()
    return gone / whole if whole > 0 else 0.0


def extended(error: float, shares: Sequence[float], place: int) -> list[float]:
    """A curve from its error at the sparsity number ``place``: an error grows as what goes of the
    linears' outputs, see :func:`removed_share`; of several linears their sum."""
    if not shares[place] > 0:
        return [0.0 for _ in shares]
    return [error * share / shares[place] for share in shares]


def relative_errors(dense: torch.Tensor, masked: torch.Tensor) -> torch.Tensor:
    """``Σ_t ‖ŷ_t − y_t‖² / ‖y_t‖²`` over tokens, and their number; both add up over batches.

    Token by token, because every block reads its inputs through a norm: an error counts by its
    share of the token's own hidden state. Over sums, a first token whose state is hundreds of
    times the others' would stand for all.

    Args:
        dense, masked: a block's outputs ``[..., width]``, of any floating dtype.

    Returns:
        float64 ``[2]``, the sum over tokens and their number; not waited for on an accelerator.
    """
    wide = torch.promote_types(dense.dtype, torch.float32)
    y = dense.reshape(-1, dense.shape[-1]).to(wide)
    change = masked.reshape(y.shape).to(wide) - y
    size, error = wide_sum(y.square(), 1), wide_sum(change.square(), 1)
    share = torch.where(size > 0, error / size.clamp_min(torch.finfo(torch.float64).tiny), 0.0)
    return torch.stack([share.sum(), share.new_full((), len(y))])
