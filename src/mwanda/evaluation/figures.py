"""Figures by matplotlib: languages beside each other, and languages against sparsity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mwanda.system.extras import need
from mwanda.text.languages import display_name

COLOURS = ("#b34700", "#0b62a8", "#0a7a55", "#9b2f7d", "#8a7000", "#4d4dbf", "#a32020", "#666b71")
MARKS = "sDo^vPX*"
"""A shape of its own for each model, beside its colour."""

SOFT = "#8c959f"
"""Lines in the background, on white and on black."""

COLUMNS = 4

Series = Mapping[str, Mapping[str, float]]
"""Name of a model -> language -> value."""


def plot_languages(
    series: Series,
    seen: Sequence[str],
    label: str,
    *,
    background: Sequence[str] = (),
    axes: Any = None,
    intervals: Mapping[str, tuple[float, float]] | None = None,
) -> Any:
    """A row for every language with a mark for every model, the mean first, then languages that
    calibrated, then those of the background, then the others, each group by the first model's
    value.

    Args:
        label: of the axis.
        axes: matplotlib's, to draw on; None makes a figure.
        intervals: language -> ends of the interval of the last model's value.

    Returns:
        The axes.
    """
    first = next(iter(series.values()))
    every = sorted(first, key=lambda tag: -first[tag])
    groups = {
        "calibrated": [tag for tag in every if tag in seen],
        "background": [tag for tag in every if tag in background],
        "not calibrated": [tag for tag in every if tag not in {*seen, *background}],
    }
    there = {name: tags for name, tags in groups.items() if tags}
    rows: list[tuple[str, list[str]]] = [("mean", every)]
    for name, tags in there.items():
        rows += [(name, [])] if len(there) > 1 else []
        rows += [(display_name(tag), [tag]) for tag in tags]
    if axes is None:
        axes = _pyplot().subplots(figsize=(7.5, 1.2 + 0.24 * len(rows)), layout="constrained")[1]
    for place, (_, tags) in enumerate(rows):
        if not tags:
            continue
        values = [sum(one[tag] for tag in tags) / len(tags) for one in series.values()]
        ends = (intervals or {}).get(tags[0]) if len(tags) == 1 else None
        low, high = (min(values), max(values)) if ends is None else ends
        axes.plot([low, high], [place, place], color=SOFT, linewidth=1.4, zorder=1)
        for number, (name, value) in enumerate(zip(series, values, strict=True)):
            label_once = name if place == 0 else "_"
            axes.plot(
                value,
                place,
                linestyle="",
                markersize=6,
                label=label_once,
                clip_on=False,
                **_style(number),
            )
    axes.set_yticks(range(len(rows)), [name for name, _ in rows])
    for tick, (name, tags) in zip(axes.get_yticklabels(), rows, strict=True):
        tick.set_fontweight("bold" if name == "mean" or not tags else "normal")
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel(label)
    axes.grid(axis="x", color=SOFT, alpha=0.35, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.margins(x=0.08)
    if axes.get_xlim()[0] > 0:
        axes.set_xlim(left=0)
    else:
        axes.axvline(0.0, color=SOFT, linewidth=0.8)
    if len(series) > 1:
        above = {"loc": "lower left", "bbox_to_anchor": (0, 1), "borderaxespad": 0}
        axes.legend(ncols=len(series), frameon=False, **above)
    return axes


def plot_against_sparsity(panels: Mapping[str, Mapping[str, Any]], x: str, y: str) -> Any:
    """Small pictures of one size, a line for every method.

    Args:
        panels: title -> method -> points.
        x, y: what the axes show.

    Returns:
        The figure.
    """
    columns = min(COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    figure, grid = _pyplot().subplots(
        rows, columns, figsize=(2.4 * columns + 0.4, 1.9 * rows + 0.7), sharex=True, sharey=True,
        squeeze=False, layout="constrained",
    )  # fmt: skip
    places = list(grid.flat)
    for axes, (title, lines) in zip(places, panels.items(), strict=False):
        for number, (method, points) in enumerate(lines.items()):
            across, up = zip(*points, strict=True)
            axes.plot(across, up, label=method, markersize=4, linewidth=1.4, **_style(number))
        axes.set_title(title, fontsize="medium", loc="left")
        axes.grid(color=SOFT, alpha=0.35, linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
    for axes in places[len(panels) :]:
        axes.set_visible(False)
    figure.supxlabel(x, fontsize="medium")
    figure.supylabel(y, fontsize="medium")
    handles, labels = places[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", ncols=len(labels), frameon=False)
    return figure


def short_names(models: Sequence[str]) -> list[str]:
    """The last parts of paths, or all of them where two are the same."""
    short = [Path(model).name or model for model in models]
    if len(set(short)) == len(short):
        return short
    return [f"{number} {model}" for number, model in enumerate(models, 1)]


def _style(number: int) -> dict[str, str]:
    return {"marker": MARKS[number % len(MARKS)], "color": COLOURS[number % len(COLOURS)]}


def _pyplot() -> Any:
    need("matplotlib", "plot", "figures")
    from matplotlib import pyplot

    return pyplot
