"""Measured allocation: sparsities by what pruning does to the outputs, language by language.

Of our own making. A block, or a part of it, is masked and its block is run on dense inputs, which
gives the relative error of the block's outputs for every language. At the sparsities around the
target it is measured too, or follows from the share of the linears' own outputs that goes there.
Taking errors of different parts to add up, the sparsities that make the sum smallest under the
budget, in the mean over languages or in the worst of them, are a linear program.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from mwanda.methods.allocation.budget import CEILING, fit
from mwanda.methods.input_statistics import InputStatistics

__all__ = [
    "Compare",
    "Curves",
    "Objective",
    "Probe",
    "UnsolvedError",
    "allocate",
    "convex",
    "extended",
    "probe",
    "relative_errors",
    "removed_share",
]

Compare = Literal["target", "every"]
Objective = Literal["mean", "worst"]

PARTS = 10
"""Pieces that a curve is cut into between two measured sparsities."""

PIECE = 1 << 20
"""Weights looked at together: 4 MiB of float32."""

TIE = 1e-6
"""Weight of staying near the target, against the damage: it only decides between equals."""


class UnsolvedError(ArithmeticError):
    """A linear program that the solver gave up on."""


@dataclass(frozen=True)
class Probe:
    """What is to be measured.

    Attributes:
        sparsities: ascending; the points of the curve.
        windows: of every language, to measure on; 0 takes all.
        compared: those of the sparsities at which masked and dense outputs are compared.
    """

    sparsities: tuple[float, ...]
    windows: int
    compared: tuple[float, ...]


@dataclass(frozen=True)
class Curves:
    """What was measured of one block or linear.

    Attributes:
        sparsities: ascending.
        errors: language -> relative error of the block's outputs at each of them.
        weights: language -> w_ℓ.
    """

    sparsities: tuple[float, ...]
    errors: dict[str, tuple[float, ...]]
    weights: dict[str, float]


def probe(
    target: float,
    *,
    reach: float = 0.2,
    steps: int = 1,
    windows: int = 1,
    compare: Compare = "target",
) -> Probe:
    """The sparsities to measure: the target, and ``steps`` equal steps to either side of it.

    Args:
        target: sparsity wanted over all blocks.
        reach: how far the sparsities go from the target; also how far the result can be from it.
        windows: of every language, to measure on; 0 takes all.
        compare: outputs at the ``target`` only, from which the errors at the other sparsities
            follow, or at ``every`` one of them, which takes ``2 · steps + 1`` times as long.
    """
    ceiling = max(CEILING, target)
    offsets = [reach * step / steps for step in range(-steps, steps + 1)] if steps else [0.0]
    points = {min(max(target + offset, 0.0), ceiling) for offset in offsets}
    sparsities = tuple(sorted(points))
    return Probe(sparsities, windows, sparsities if compare == "every" else (target,))


def removed_share(weight: torch.Tensor, removed: torch.Tensor, inputs: InputStatistics) -> float:
    """``Σ_removed W_ij² n̄_j² / Σ W_ij² n̄_j²``: the share of a linear's own outputs that goes with
    some weights, its inputs taken as uncorrelated; 0 where it has no output at all.

    Args:
        weight: ``[out, in]``, any floating dtype.
        removed: bool ``[out, in]``, True where the weight goes.
        inputs: of the linear.
    """
    columns = weight.shape[1]
    found = torch.zeros(2, columns, dtype=torch.float64, device=weight.device)
    rows = max(1, PIECE // columns)  # a whole matrix need not fit twice more
    for part, out in zip(weight.split(rows), removed.split(rows), strict=True):
        square = part.float().square()
        found[0] += square.sum(dim=0, dtype=torch.float64)
        square.masked_fill_(~out.to(square.device), 0)
        found[1] += square.sum(dim=0, dtype=torch.float64)
    whole, gone = (found.cpu() @ inputs.pooled_rms.square()).tolist()
    return gone / whole if whole > 0 else 0.0


def extended(error: float, shares: Sequence[float], place: int) -> list[float]:
    """A curve from its error at one sparsity: an error grows as what goes of the linears' outputs.

    Args:
        error: measured at the sparsity that is number ``place``.
        shares: at each sparsity, see :func:`removed_share`; of several linears their sum.
    """
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
        float64 ``[2]`` on the CPU.
    """
    wide = torch.promote_types(dense.dtype, torch.float32)
    y = dense.reshape(-1, dense.shape[-1]).to(wide)
    change = masked.reshape(y.shape).to(wide) - y
    size = y.square().sum(dim=1, dtype=torch.float64)
    error = change.square().sum(dim=1, dtype=torch.float64)
    share = torch.where(size > 0, error / size.clamp_min(torch.finfo(torch.float64).tiny), 0.0)
    return torch.tensor([float(share.sum()), float(len(y))], dtype=torch.float64)


def allocate(
    signals: Sequence[Curves],
    sizes: Sequence[int],
    target: float,
    *,
    objective: Objective = "mean",
) -> list[float]:
    """The sparsities of least predicted damage: the sum over blocks of the measured errors.

    Between two measured sparsities an error grows geometrically; a curve that is not convex is
    replaced by the highest convex one below it.

    Args:
        signals: one a block, all over the same sparsities and languages. A block without any error
            was not reached by the text: nothing is known of it, and it gets the target.
        objective: damage in the ``mean`` over languages (by weight), or in the ``worst`` of them
            (of equally good ones, that of the least mean).

    Returns:
        One sparsity a block, weighted mean ``target``, within what was measured.

    Raises:
        UnsolvedError: the solver gave up.
    """
    known = [place for place, one in enumerate(signals) if _errors(one).any()]
    found = [target for _ in signals]
    alike = len({tuple(_errors(signals[place]).flatten().tolist()) for place in known}) < 2
    points = signals[0].sparsities
    if alike or target - points[0] < 1e-9 or points[-1] - target < 1e-9:
        return found
    best = _least(
        [signals[place] for place in known], [sizes[place] for place in known], target, objective
    )
    for place, value in zip(known, best, strict=True):
        found[place] = value
    # The program meets the budget to its tolerance, this to rounding.
    return fit([value - target for value in found], sizes, target)


def convex(points: Sequence[float], values: Sequence[float]) -> tuple[list[float], list[float]]:
    """The curve through measured points in fine pieces, convex: ``(points, values)``.

    Args:
        points: ascending.
        values: not negative.
    """
    fine, heights = [points[0]], [values[0]]
    for (left, right), (low, high) in zip(
        itertools.pairwise(points), itertools.pairwise(values), strict=True
    ):
        for part in range(1, PARTS + 1):
            share = part / PARTS
            straight = low + (high - low) * share
            heights.append(low * (high / low) ** share if low > 0 and high > 0 else straight)
            fine.append(left + (right - left) * share)
    # Slopes of the highest convex curve below: neighbours that fall are pooled until none does.
    pooled: list[tuple[float, float, int]] = []  # rise, width, pieces
    for (left, right), (low, high) in zip(
        itertools.pairwise(fine), itertools.pairwise(heights), strict=True
    ):
        rise, width, count = high - low, right - left, 1
        while pooled and pooled[-1][0] * width >= rise * pooled[-1][1]:
            before = pooled.pop()
            rise, width, count = rise + before[0], width + before[1], count + before[2]
        pooled.append((rise, width, count))
    lowered = [heights[0]]
    widths = [right - left for left, right in itertools.pairwise(fine)]
    for rise, width, count in pooled:
        for _ in range(count):
            lowered.append(lowered[-1] + rise / width * widths[len(lowered) - 1])
    return fine, lowered


def _errors(one: Curves) -> torch.Tensor:
    """Errors of the languages that count, float64 ``[languages, sparsities]``."""
    rows = [one.errors[tag] for tag in sorted(one.errors) if one.weights[tag] > 0]
    return torch.tensor(rows, dtype=torch.float64)


def _least(
    signals: Sequence[Curves], sizes: Sequence[int], target: float, objective: Objective
) -> list[float]:
    """Solve the linear program, whose variables are how far each fine piece is gone along."""
    # Here, so that a run with another allocation does not wait for it.
    from scipy.optimize import linprog

    points = signals[0].sparsities
    weights = [signals[0].weights[tag] for tag in sorted(signals[0].weights)]
    share = torch.tensor([w for w in weights if w > 0], dtype=torch.float64)
    share = share / share.sum()
    curves = torch.tensor(
        [[convex(points, row)[1] for row in _errors(one).tolist()] for one in signals],
        dtype=torch.float64,
    )  # [blocks, languages, fine points]
    fine = torch.tensor(convex(points, points)[0], dtype=torch.float64)
    widths = fine.diff()
    scale = float(curves.sum(dim=0).max())
    # Damage of going all along a piece, by language; the budget of doing so.
    rises = (curves.diff(dim=2) / scale).permute(1, 0, 2).flatten(1)
    part = torch.tensor([float(size) for size in sizes], dtype=torch.float64)
    part = part / part.sum()
    # In units of the largest, lest the solver take the others' for zeros.
    unit = float(part.max() * widths.max())
    budget = (part[:, None] * widths).flatten() / unit
    away = (fine[:-1] + fine[1:]) / 2 - target
    near = TIE * (part[:, None] * widths * away).flatten()
    mean = share @ rises + near
    start = (curves[:, :, 0] / scale).sum(dim=0)  # [languages]
    limits = {
        "A_eq": budget[None].numpy(),
        "b_eq": [(target - float(fine[0])) / unit],
        "bounds": (0.0, 1.0),
        "method": "highs",
    }
    if objective == "worst":
        # One variable more: the damage that no language exceeds.
        above = torch.cat([rises, -torch.ones(len(rises), 1, dtype=torch.float64)], dim=1)
        last = torch.zeros(above.shape[1], dtype=torch.float64)
        last[-1] = 1.0
        wider = torch.cat([budget, torch.zeros(1, dtype=torch.float64)])
        bounds = [(0.0, 1.0)] * len(budget) + [(None, None)]
        worst = linprog(
            last.numpy(), A_ub=above.numpy(), b_ub=-start.numpy(),
            **limits | {"A_eq": wider[None].numpy(), "bounds": bounds},
        )  # fmt: skip
        limits |= {"A_ub": rises.numpy(), "b_ub": (_solved(worst)[-1] * (1 + 1e-9) - start).numpy()}
    steps = _solved(linprog(mean.numpy(), **limits)).reshape(len(signals), -1)
    return (fine[0] + (steps * widths).sum(dim=1)).tolist()


def _solved(result: object) -> torch.Tensor:
    """The program's solution, float64 ``[variables]``."""
    if not getattr(result, "success", False):
        raise UnsolvedError(str(getattr(result, "message", "no solution")))
    return torch.as_tensor(getattr(result, "x"), dtype=torch.float64)  # noqa: B009
