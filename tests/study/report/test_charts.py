"""Axes and lines of pictures."""

from __future__ import annotations

import json

import pytest

from mwanda.study.report.charts import panel, scale_of, up_to


@pytest.mark.parametrize(
    ("values", "logarithmic"),
    [([0, 35.2], False), ([-3, -1], False), ([5, 5], False), ([0, 0], False),
     ([3.1, 80], True), ([1.01, 1.02], True), ([9, 4e9], True), ([2, 1e300], True)],
)  # fmt: skip
def test_an_axis_holds_its_values_and_has_a_few_ticks(
    values: list[float], logarithmic: bool
) -> None:
    scale = scale_of(values, logarithmic=logarithmic)
    assert all(0 <= scale.share(value) <= 1 for value in values)
    assert 2 <= len(scale.ticks) <= 7
    assert all(-1e-9 <= scale.share(tick) <= 1 + 1e-9 for tick in scale.ticks)


def test_a_line_goes_up_where_its_values_do() -> None:
    x, y = scale_of([0.0, 0.8]), scale_of([0.0, 10.0])
    made = panel("t", "l", {"m": (9, [(0.0, 0.0), (0.8, 10.0)])}, x, y)
    (line,) = made.lines
    assert line.style == 1
    assert line.marks[0][:2] == (made.left, made.bottom)
    assert line.marks[1][:2] == (made.right, made.top)
    json.dumps(line.path)


@pytest.mark.parametrize("high", [0.5, 0.6, 0.7, 0.05, 0.99])
def test_an_axis_of_sparsities_ends_at_the_highest(high: float) -> None:
    scale = up_to(high)
    assert (scale.share(0.0), scale.share(high)) == (0.0, 1.0)
    assert len(scale.ticks) >= 2
    assert scale.ticks[0] == 0
    assert scale.ticks[-1] <= high + 1e-9
