"""What a report is made of, before it is HTML, Markdown or CSV."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mwanda.study.report.charts import Interval, Panel

Cell = str | Interval


@dataclass(frozen=True)
class Table:
    """Rows under a header; the first column names the row.

    Attributes:
        caption: unique in the report.
        folded: shown only when asked for.
        note: below it.
        totals: number of last rows that sum up the others.
        words: names of the columns that hold words, beside the first; the rest are numbers.
    """

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    folded: bool = False
    note: str = ""
    totals: int = 0
    words: Sequence[str] = ()

    def __post_init__(self) -> None:
        wrong = [row for row in self.rows if len(row) != len(self.header)]
        if wrong or not {*self.words} <= {*self.header}:
            raise ValueError(f"{self.caption}: {self.header} do not fit {wrong or self.words}")


@dataclass(frozen=True)
class Figure:
    """Small pictures side by side, one look for all.

    Attributes:
        name: short, of its own among a model's pictures.
        caption: what they show; their numbers are in the tables of the section.
        legend: name and style of every line.
        x, y: what the axes show.
    """

    name: str
    caption: str
    panels: Sequence[Panel]
    legend: Sequence[tuple[str, int]]
    x: str
    y: str


Part = Table | Figure | str | tuple[str, ...]
"""A string is a paragraph, several are a list."""


@dataclass(frozen=True)
class Section:
    """Attributes:
    id: of its anchor.
    groups: subheading, empty for none, and what is under it.
    """

    id: str
    title: str
    groups: Sequence[tuple[str, Sequence[Part]]]
