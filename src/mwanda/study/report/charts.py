"""Where everything in a picture goes. What it looks like is in the templates."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 200, 140
LEFT, RIGHT, TOP, BOTTOM = 44, 17, 8, 22
"""Room around a picture's axes for the names of ticks."""
STYLES = 8
"""Colours, dashes and marks there are; a ninth line looks like the first."""

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Scale:
    """From values to places along an axis.

    Attributes:
        low, high: values at its ends.
        ticks: values that are named.
    """

    low: float
    high: float
    ticks: tuple[float, ...]
    logarithmic: bool = False

    def share(self, value: float) -> float:
        """0 at the low end, 1 at the high end."""
        low, high, at = self.low, self.high, value
        if self.logarithmic:
            low, high, at = math.log(low), math.log(high), math.log(value)
        return (at - low) / (high - low)


@dataclass(frozen=True)
class Line:
    """Attributes:
    name: in the legend.
    style: number of its colour, dash and mark.
    path: of an SVG polyline.
    marks: x, y and what to say of the point.
    """

    name: str
    style: int
    path: str
    marks: tuple[tuple[float, float, str], ...]


@dataclass(frozen=True)
class Panel:
    """One small picture.

    Attributes:
        title: above it.
        label: what it shows, in words and numbers, for those who do not see it.
        x_ticks, y_ticks: place and name.
    """

    title: str
    label: str
    lines: tuple[Line, ...]
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP
    bottom: int = HEIGHT - BOTTOM


@dataclass(frozen=True)
class Interval:
    """A difference with its interval, drawn in a table's cell beside the numbers.

    Attributes:
        low, mean, high, zero: places from 0 to 100.
        certain: whether the interval leaves out 0.
    """

    low: float
    mean: float
    high: float
    zero: float
    certain: bool


def scale_of(values: Sequence[float], *, logarithmic: bool = False) -> Scale:
    """An axis that holds all values, with at most six round ticks."""
    low, high = min(values), max(values)
    if logarithmic:
        low, high = low / 1.1, high * 1.1
        return Scale(low, high, tuple(_log_ticks(low, high)), True)
    if high - low < 1e-12:
        low, high = low - 0.5 * (abs(low) or 1.0), high + 0.5 * (abs(high) or 1.0)
    step = _round_step((high - low) / 4)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = tuple(number * step for number in range(first, last + 1))
    return Scale(ticks[0], ticks[-1], ticks)


def up_to(high: float) -> Scale:
    """From 0 to a value above it, which is where the axis ends."""
    ticks = scale_of([0.0, high]).ticks
    return Scale(0.0, high, tuple(tick for tick in ticks if tick <= high + 1e-9))


def panel(
    title: str,
    label: str,
    lines: Mapping[str, tuple[int, Points]],
    x: Scale,
    y: Scale,
    *,
    x_names: str = "{:g}",
    y_names: str = "{:g}",
) -> Panel:
    """A picture of some lines.

    Args:
        lines: name -> style and points in values.
        x_names, y_names: format of a tick's name, and of a point's numbers.
    """

    def place(at_x: float, at_y: float) -> tuple[float, float]:
        across = LEFT + x.share(at_x) * (WIDTH - LEFT - RIGHT)
        return round(across, 1), round(_down(y, at_y), 1)

    made = []
    for name, (style, points) in lines.items():
        places = [place(*point) for point in points]
        marks = tuple(
            (*where, f"{name}, {x_names.format(point[0])}: {y_names.format(point[1])}")
            for where, point in zip(places, points, strict=True)
        )
        path = " ".join(f"{across:g},{down:g}" for across, down in places)
        made.append(Line(name, style % STYLES, path, marks))
    return Panel(
        title,
        label,
        tuple(made),
        tuple((place(tick, y.low)[0], x_names.format(tick)) for tick in x.ticks),
        tuple((round(_down(y, tick), 1), y_names.format(tick)) for tick in y.ticks),
    )


def _down(y: Scale, value: float) -> float:
    return HEIGHT - BOTTOM - y.share(value) * (HEIGHT - TOP - BOTTOM)


def _round_step(rough: float) -> float:
    size = 10.0 ** math.floor(math.log10(rough))
    return next(size * times for times in (1, 2, 2.5, 5, 10) if size * times >= rough * 0.999)


def _log_ticks(low: float, high: float) -> list[float]:
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for times in ((1, 2, 5), (1, 3), (1,)):
        ticks = [t * 10.0**p for p in powers for t in times if low <= t * 10.0**p <= high]
        if len(ticks) <= 6:
            break
    ticks = ticks[:: math.ceil(len(ticks) / 6)] if len(ticks) > 6 else ticks
    return ticks if len(ticks) > 1 else [low, high]
