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
from typing import Literal

import torch

from mwanda.methods.allocation.budget import CEILING, fit
from mwanda.methods.allocation.comparison import Curves, Probe, UnsolvedError

Compare = Literal["target", "every"]
Objective = Literal["mean", "worst"]

PARTS = 10
"""Pieces that a curve is cut into between two measured sparsities."""

TIE = 1e-6
"""Weight of staying near the target, against the damage: it only decides between equals."""


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


def allocate(
    signals: Sequence[Curves], sizes: Sequence[int], target: float, *, objective: Objective = "mean"
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
        One sparsity a block, within what was measured.

    Raises:
        UnsolvedError: the solver gave up.
    """
    known = [place for place, one in enumerate(signals) if _errors(one).any()]
    found = [target for _ in signals]
    alike = len({tuple(_errors(signals[place]).flatten().tolist()) for place in known}) < 2
    points = signals[0].sparsities
    if alike or target - points[0] < 1e-9 or points[-1] - target < 1e-9:
        return found
    given = [signals[place] for place in known], [sizes[place] for place in known]
    for place, value in zip(known, _least(*given, target, objective), strict=True):
        found[place] = value
    # The program meets the budget to its tolerance, this to rounding.
    return fit([value - target for value in found], sizes, target)


def convex(points: Sequence[float], values: Sequence[float]) -> tuple[list[float], list[float]]:
    """The curve through measured points, ascending, in fine pieces, convex: ``(points, values)``.
    No value is negative."""
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
