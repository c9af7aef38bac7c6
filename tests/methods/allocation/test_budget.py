"""The budget is met exactly, within bounds, in the order of the signals."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mwanda.methods.allocation import alpha, cwl, dlp, owl, uniform
from mwanda.methods.allocation.budget import CEILING, fit, scale, spread

QUICK = settings(max_examples=80)
TARGETS = st.sampled_from([0.0, 0.01, 0.5, 0.95, 0.97]) | st.floats(0, 0.99)
BLOCKS = st.lists(st.tuples(st.floats(-1, 1), st.integers(1, 10**9)), min_size=1, max_size=40).map(
    lambda pairs: tuple(zip(*pairs, strict=True))
)
WIDTHS = st.sampled_from([0.0, 0.04, 0.3, 2.0])
ALLOCATIONS: list[tuple[Callable[..., list[float]], dict[str, str], int]] = [
    (owl.allocate, {}, -1),
    (cwl.allocate, {"direction": "shared-denser"}, -1),
    (cwl.allocate, {"direction": "shared-sparser"}, 1),
    (alpha.allocate, {}, 1),
]
WIDE = [*ALLOCATIONS, (dlp.allocate, {}, 1)]
"""DLP takes shares of a sum, so its signals are never negative."""


def weighted_mean(values: Sequence[float], sizes: Sequence[int]) -> float:
    return math.fsum(s * v for s, v in zip(sizes, values, strict=True)) / math.fsum(sizes)


@pytest.mark.parametrize(("allocate", "options", "sign"), WIDE)
def test_the_budget_is_met_in_the_order_of_the_signals(
    allocate: Callable[..., list[float]], options: dict[str, str], sign: int
) -> None:
    @QUICK
    @given(BLOCKS, TARGETS, WIDTHS)
    def check(blocks: tuple[Sequence[float], Sequence[int]], target: float, width: float) -> None:
        signals, sizes = blocks
        if allocate is dlp.allocate:
            signals = [abs(value) for value in signals]
        found = allocate(signals, sizes, target, width=width, **options)
        assert len(found) == len(sizes)
        assert all(0 <= value <= max(CEILING, target) for value in found)
        assert abs(weighted_mean(found, sizes) - target) < 1e-12
        pairs = sorted(zip(signals, found, strict=True))
        for (low, first), (high, second) in pairwise(pairs):
            assert sign * (second - first) >= -1e-12
            if low == high:
                assert first == second

    check()


@QUICK
@given(BLOCKS, TARGETS)
def test_uniform_is_the_target_itself(
    blocks: tuple[Sequence[float], Sequence[int]], target: float
) -> None:
    signals, sizes = blocks
    assert uniform.allocate(signals, sizes, target) == [target] * len(sizes)


@pytest.mark.parametrize("target", [0.0, 0.01, 0.5, 0.7, 0.95, 0.99])
@pytest.mark.parametrize(("allocate", "options", "sign"), WIDE)
def test_equal_signals_give_exactly_the_target(
    allocate: Callable[..., list[float]], options: dict[str, str], sign: int, target: float
) -> None:
    """Exactly: int(48 · 0.49999999999999994) would be 23."""
    for signals in ([0.3], [0.3] * 5, [0.0] * 4, [1.0, 1.0 - 1e-16]):
        sizes = list(range(7, 7 + len(signals)))
        assert allocate(signals, sizes, target, **options) == [target] * len(signals)


@pytest.mark.parametrize(("allocate", "options", "sign"), WIDE)
def test_the_range_is_the_width(
    allocate: Callable[..., list[float]], options: dict[str, str], sign: int
) -> None:
    found = allocate([0.1, 0.2, 0.3], [10, 10, 10], 0.5, width=0.1, **options)
    # Alpha's range is a share of the target.
    by = 0.05 if allocate is alpha.allocate else sign * 0.1
    assert found == pytest.approx([0.5 - by, 0.5, 0.5 + by])


@pytest.mark.parametrize(
    ("offsets", "sizes", "target", "expected"),
    [
        ([-0.1, 0.1], [1, 1], 0.5, [0.4, 0.6]),
        ([-0.1, 0.1], [3, 1], 0.5, [0.45, 0.65]),
        ([-0.1, 0.1], [1, 1], 0.02, [0.0, 0.04]),
        ([-0.1, 0.1], [1, 1], 0.95, [0.95, 0.95]),
        ([-0.1, 0.1], [1, 1], 0.93, [0.91, 0.95]),
        ([-0.1, 0.1], [1, 1], 0.97, [0.97, 0.97]),
        ([-9.0, 9.0], [1, 3], 0.3, [0.0, 0.4]),
        ([-0.1, 0.1], [1, 1], 0.0, [0.0, 0.0]),
    ],
)
def test_what_is_clipped_is_shared_out(
    offsets: list[float], sizes: list[int], target: float, expected: list[float]
) -> None:
    assert fit(offsets, sizes, target) == pytest.approx(expected, abs=1e-12)


def test_spread_goes_from_minus_to_plus_the_width() -> None:
    assert spread([3.0, 1.0, 2.0], 0.1) == pytest.approx([0.1, -0.1, 0.0])
    assert spread([5.0, 5.0], 0.1) == [0.0, 0.0]
    assert spread([1e-300, 0.0], 0.1) == [0.1, -0.1]


@pytest.mark.parametrize(
    ("factors", "sizes", "target", "expected"),
    [
        ([0.7, 1.3], [1, 1], 0.5, [0.35, 0.65]),
        ([0.7, 1.3], [3, 1], 0.34, [0.28, 0.52]),
        ([0.7, 1.3], [1, 1], 0.8, [0.65, 0.95]),
        ([0.7, 1.3], [1, 1], 0.95, [0.95, 0.95]),
        ([0.0, 1.0], [1, 1], 0.7, [0.45, 0.95]),
        ([-1.0, 1.0], [1, 1], 0.1, [1e-6 * 0.2, 0.2]),
    ],
)
def test_scaling_keeps_the_ratios(
    factors: list[float], sizes: list[int], target: float, expected: list[float]
) -> None:
    assert scale(factors, sizes, target) == pytest.approx(expected, abs=1e-6)
