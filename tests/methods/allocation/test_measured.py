"""Sparsities from measured errors: the optimum against brute force, the budget, and the limits."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mwanda.methods.allocation.budget import CEILING
from mwanda.methods.allocation.comparison import Curves, extended, relative_errors, removed_share
from mwanda.methods.allocation.measured import Objective, allocate, convex, probe
from mwanda.methods.input_statistics import InputStatistics

QUICK = settings(max_examples=60)
TARGETS = [0.0, 0.01, 0.5, 0.94, 0.95, 0.97]
OBJECTIVES: list[Objective] = ["mean", "worst"]
ERRORS = st.floats(0, 1, allow_subnormal=False).map(lambda value: round(value, 6))


def table(errors: Sequence[Sequence[float]], points: Sequence[float], *weights: float) -> Curves:
    """One block's errors by language and sparsity."""
    tags = [f"l{number}" for number in range(len(errors))]
    return Curves(
        tuple(points),
        {tag: tuple(row) for tag, row in zip(tags, errors, strict=True)},
        dict(zip(tags, weights or [1.0] * len(tags), strict=True)),
    )


@st.composite
def problems(draw: st.DrawFn) -> tuple[list[Curves], list[int], float]:
    target = draw(st.sampled_from(TARGETS) | st.floats(0, 0.99))
    points = probe(target, steps=draw(st.integers(0, 2))).sparsities
    blocks, languages = draw(st.integers(1, 5)), draw(st.integers(1, 3))
    rows = st.lists(ERRORS, min_size=len(points), max_size=len(points))
    if draw(st.booleans()):
        rows = rows.map(sorted)
    errors = st.lists(rows, min_size=languages, max_size=languages)
    weights = draw(st.lists(st.sampled_from([1.0, 3.0]), min_size=languages, max_size=languages))
    signals = [table(draw(errors), points, *weights) for _ in range(blocks)]
    sizes = draw(st.lists(st.integers(1, 10**9), min_size=blocks, max_size=blocks))
    return signals, sizes, target


def weighted_mean(values: Sequence[float], sizes: Sequence[int]) -> float:
    return math.fsum(s * v for s, v in zip(sizes, values, strict=True)) / math.fsum(sizes)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_budget_is_met_within_what_was_measured(objective: Objective) -> None:
    @QUICK
    @given(problems())
    def check(problem: tuple[list[Curves], list[int], float]) -> None:
        signals, sizes, target = problem
        found = allocate(signals, sizes, target, objective=objective)
        assert len(found) == len(sizes)
        assert abs(weighted_mean(found, sizes) - target) < 1e-12
        points = signals[0].sparsities
        for value in found:
            assert points[0] - 1e-6 <= value <= points[-1] + 1e-6
            assert 0 <= value <= max(CEILING, target)
        assert found == allocate(signals, sizes, target, objective=objective)

    check()


def hull(points: Sequence[float], values: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Geometric between measured points, then the highest convex curve below: at every point the
    lowest of all chords over it."""
    xs, ys = [], []
    for (a, b), (u, v) in zip(itertools.pairwise(points), itertools.pairwise(values), strict=True):
        for share in np.linspace(0, 1, 11)[:-1]:
            xs.append(a + (b - a) * share)
            ys.append(u ** (1 - share) * v**share if u > 0 and v > 0 else u + (v - u) * share)
    x, y = np.array([*xs, points[-1]]), np.array([*ys, values[-1]])
    low = y.copy()
    for i, j in itertools.combinations(range(len(x)), 2):
        chord = y[i] + (y[j] - y[i]) * (x[i : j + 1] - x[i]) / (x[j] - x[i])
        low[i : j + 1] = np.minimum(low[i : j + 1], chord)
    return x, low


@QUICK
@given(st.lists(ERRORS, min_size=2, max_size=5))
def test_curves_are_made_convex(values: list[float]) -> None:
    points = [0.3 + 0.1 * place for place in range(len(values))]
    x, low = hull(points, values)
    fine, found = convex(points, values)
    assert fine == pytest.approx(x)
    assert found == pytest.approx(low, abs=1e-9)


def damage(signals: Sequence[Curves], objective: Objective) -> Callable[[np.ndarray], np.ndarray]:
    """What the program makes small, from the curves alone, for sparsities ``[..., blocks]``."""
    tags = [tag for tag, weight in signals[0].weights.items() if weight > 0]
    hulls = [[hull(one.sparsities, one.errors[tag]) for one in signals] for tag in tags]
    weights = [signals[0].weights[tag] for tag in tags]

    def at(sparsities: np.ndarray) -> np.ndarray:
        totals = [
            sum(np.interp(sparsities[..., b], *lines[b]) for b in range(len(signals)))
            for lines in hulls
        ]
        if objective == "worst":
            return np.max(totals, axis=0)
        return np.average(totals, axis=0, weights=weights)

    return at


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_no_other_sparsities_do_better(objective: Objective) -> None:
    """Of three blocks all pairs of fine points for two, and what the budget leaves the third: an
    optimum of the mean has such points in all blocks but one."""

    @QUICK
    @given(st.data())
    def check(data: st.DataObject) -> None:
        points, target = (0.3, 0.5, 0.7), 0.5
        rows = st.lists(ERRORS.filter(bool), min_size=3, max_size=3)
        errors = st.lists(rows, min_size=2, max_size=2)
        signals = [table(data.draw(errors), points, 1.0, 2.0) for _ in range(3)]
        sizes = np.array(data.draw(st.lists(st.integers(1, 20), min_size=3, max_size=3)))
        found = allocate(signals, sizes.tolist(), target, objective=objective)
        value = damage(signals, objective)
        grid = np.linspace(0.3, 0.7, 21)
        best = math.inf
        for last in range(3):
            tried = np.empty((21, 21, 3))
            first, second = (other for other in range(3) if other != last)
            tried[..., first], tried[..., second] = np.meshgrid(grid, grid)
            rest = target * sizes.sum() - tried[..., first] * sizes[first]
            tried[..., last] = (rest - tried[..., second] * sizes[second]) / sizes[last]
            inside = (tried[..., last] >= 0.3) & (tried[..., last] <= 0.7)
            best = min(best, float(value(tried)[inside].min()))
        assert float(value(np.array(found))) <= best * (1 + 1e-4) + 1e-9

    check()


def test_what_hurts_less_loses_more() -> None:
    points = probe(0.5, steps=2).sparsities
    assert points == pytest.approx((0.3, 0.4, 0.5, 0.6, 0.7))
    soft = table([[0.01, 0.02, 0.04, 0.08, 0.16]], points)
    hard = table([[1.0, 2.0, 4.0, 8.0, 16.0]], points)
    found = allocate([soft, hard, soft], [10, 20, 10], 0.5)
    assert found == pytest.approx([0.7, 0.3, 0.7], abs=1e-6)
    # Twice as steep a curve stops where its slope is the other's: 2^(10 s) by a factor of 2 apart.
    middle = table([[0.02, 0.04, 0.08, 0.16, 0.32]], points)
    found = allocate([soft, middle], [1, 1], 0.5)
    assert found == pytest.approx([0.55, 0.45], abs=0.01)


def test_the_worst_language_is_looked_after() -> None:
    """Two blocks, each of which one language needs more; the weights say who counts in the mean."""
    points = (0.4, 0.5, 0.6)
    steep, flat = [0.1, 0.3, 0.9], [0.1, 0.11, 0.12]
    signals = [table([steep, flat], points, 1.0, 0.1), table([flat, steep], points, 1.0, 0.1)]
    mean = allocate(signals, [1, 1], 0.5)
    assert mean[0] < 0.45
    worst = allocate(signals, [1, 1], 0.5, objective="worst")
    assert worst == pytest.approx([0.5, 0.5], abs=1e-6)
    # A language of weight 0 has no say in either.
    alone = [table([steep, flat], points, 1.0, 0.0), table([flat, steep], points, 1.0, 0.0)]
    for objective in OBJECTIVES:
        assert allocate(alone, [1, 1], 0.5, objective=objective)[0] < 0.45


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("target", TARGETS)
def test_what_says_nothing_gives_exactly_the_target(objective: Objective, target: float) -> None:
    points = probe(target).sparsities
    rising = [0.1 * 2.0**place for place in range(len(points))]
    zero = [0.0] * len(points)
    for signals in (
        [table([rising], points)],
        [table([rising, zero], points)] * 4,
        [table([zero, zero], points)] * 3,
        [table([zero], points), table([rising], points), table([zero], points)],
    ):
        sizes = list(range(7, 7 + len(signals)))
        assert allocate(signals, sizes, target, objective=objective) == [target] * len(signals)


def test_a_block_that_the_text_did_not_reach_gets_the_target() -> None:
    points = probe(0.5, steps=2).sparsities
    soft, hard = [0.01, 0.02, 0.04, 0.08, 0.16], [1.0, 2.0, 4.0, 8.0, 16.0]
    signals = [table([row], points) for row in (soft, [0.0] * 5, hard)]
    assert allocate(signals, [10, 30, 10], 0.5) == pytest.approx([0.7, 0.5, 0.3], abs=1e-6)


@pytest.mark.parametrize(
    ("target", "options", "expected"),
    [
        (0.5, {}, [0.3, 0.5, 0.7]),
        (0.5, {"reach": 0.1, "steps": 2}, [0.4, 0.45, 0.5, 0.55, 0.6]),
        (0.0, {"steps": 2}, [0.0, 0.1, 0.2]),
        (0.01, {"steps": 2}, [0.0, 0.01, 0.11, 0.21]),
        (0.95, {"steps": 2}, [0.75, 0.85, 0.95]),
        (0.97, {}, [0.77, 0.97]),
        (0.5, {"steps": 0}, [0.5]),
        (0.5, {"reach": 0}, [0.5]),
    ],
)
def test_what_is_measured_is_around_the_target_and_within_bounds(
    target: float, options: dict[str, float], expected: list[float]
) -> None:
    found = probe(target, **options)  # type: ignore[arg-type]
    assert found.sparsities == pytest.approx(expected)
    assert found.compared == (target,)
    assert target in found.sparsities
    assert found.windows == 1
    every = probe(target, compare="every", **options)  # type: ignore[arg-type]
    assert every.compared == every.sparsities == found.sparsities


def test_what_goes_of_a_linears_outputs(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(5, 7, generator=generator, dtype=torch.bfloat16)
    removed = torch.rand(5, 7, generator=generator) < 0.6
    squares = torch.rand(2, 7, generator=generator, dtype=torch.float64)
    inputs = InputStatistics(torch.tensor([0.25, 0.75], dtype=torch.float64), squares)
    whole = gone = 0.0
    for i, j in itertools.product(range(5), range(7)):
        energy = float(weight[i, j]) ** 2 * float(0.25 * squares[0, j] + 0.75 * squares[1, j])
        whole, gone = whole + energy, gone + energy * bool(removed[i, j])
    for piece in (1 << 20, 15):
        monkeypatch.setattr("mwanda.methods.allocation.comparison.PIECE", piece)
        assert removed_share(weight, removed, inputs) == pytest.approx(gone / whole, rel=1e-6)
    assert removed_share(weight, torch.ones_like(removed), inputs) == 1
    assert removed_share(torch.zeros_like(weight), removed, inputs) == 0


def test_a_curve_follows_from_its_error_at_one_sparsity() -> None:
    assert extended(0.3, [0.1, 0.2, 0.5], 1) == pytest.approx([0.15, 0.3, 0.75])
    assert extended(0.3, [0.0, 0.0, 0.5], 1) == [0, 0, 0]


def test_errors_are_relative_token_by_token() -> None:
    generator = torch.Generator().manual_seed(0)
    dense = torch.randn(2, 5, 8, generator=generator, dtype=torch.float64)
    dense[:, 0] *= 300  # as of the first token of a window
    dense[1, 3] = 0
    masked = dense + torch.randn(dense.shape, generator=generator, dtype=torch.float64)
    masked[1, 3] = 0
    expected = 0.0
    for y, z in zip(dense.reshape(-1, 8).tolist(), masked.reshape(-1, 8).tolist(), strict=True):
        if any(y):
            expected += sum((b - a) ** 2 for a, b in zip(y, z, strict=True)) / sum(a * a for a in y)
    found = relative_errors(dense, masked)
    assert found.tolist() == pytest.approx([expected, 10], rel=1e-6)
    assert relative_errors(dense, dense).tolist() == [0, 10]
    halves = [relative_errors(dense[i], masked[i]) for i in range(2)]
    assert sum(halves).tolist() == pytest.approx(found.tolist(), rel=1e-9)  # type: ignore[union-attr]
