"""A figure of the report as an SVG file of its own, for a paper or a README."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from mwanda.study.report.charts import HEIGHT, STYLES, WIDTH
from mwanda.study.report.elements import Figure, Section
from mwanda.study.report.templating import render

COLUMNS = 4
GAP, TITLE, LINE = 12, 18, 20
LETTER, MARK = 7, 60
"""Room for a letter of the legend, and for what stands before its words and after them."""


def pictures_of(sections: Sequence[Section]) -> Mapping[str, str]:
    """File name -> SVG, of every figure: its name, and its model's where there are several."""
    figures = [
        (heading, part)
        for section in sections
        for heading, parts in section.groups
        for part in parts
        if isinstance(part, Figure)
    ]
    several = len({heading for heading, _ in figures}) > 1
    made: dict[str, str] = {}
    for heading, figure in figures:
        stem = figure.name + (f"-{_slug(heading)}" if several else "")
        name, number = stem, 1
        while f"{name}.svg" in made:  # two names that differ in signs only
            number += 1
            name = f"{stem}-{number}"
        made[f"{name}.svg"] = picture_svg(figure)
    return made


def picture_svg(figure: Figure) -> str:
    """One picture that needs nothing else, in light colours; its caption is its title."""
    columns = min(COLUMNS, len(figure.panels)) or 1
    width = GAP + columns * (WIDTH + GAP)
    rows = -(-len(figure.panels) // columns)
    legend, below = _legend(figure.legend, width)
    top = below + TITLE
    panels = [
        (
            GAP + number % columns * (WIDTH + GAP),
            top + number // columns * (HEIGHT + GAP + TITLE),
            panel,
        )
        for number, panel in enumerate(figure.panels)
    ]
    return render(
        "picture.svg.j2",
        figure=figure,
        width=width,
        height=top + rows * (HEIGHT + GAP + TITLE) + LINE,
        legend=legend,
        panels=panels,
        styles=STYLES,
        gap=GAP,
    )


def _legend(
    names: Sequence[tuple[str, int]], width: int
) -> tuple[list[tuple[int, int, str, int]], int]:
    """Place, name and style of every line, in rows as wide as the picture, and where they end."""
    placed: list[tuple[int, int, str, int]] = []
    across, down = GAP, GAP + LINE // 2
    for name, style in names:
        needed = MARK + LETTER * len(name)
        if across > GAP and across + needed > width:
            across, down = GAP, down + LINE
        placed.append((across, down, name, style % STYLES))
        across += needed
    return placed, down + LINE


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "model"
