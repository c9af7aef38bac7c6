"""What a report is made of, before it is HTML, Markdown or CSV."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


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
    rows: Sequence[Sequence[str]]
    folded: bool = False
    note: str = ""
    totals: int = 0
    words: Sequence[str] = ()

    def __post_init__(self) -> None:
        wrong = [row for row in self.rows if len(row) != len(self.header)]
        if wrong or not {*self.words} <= {*self.header}:
            raise ValueError(f"{self.caption}: {self.header} do not fit {wrong or self.words}")


Part = Table | str | tuple[str, ...]
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


@dataclass(frozen=True)
class Number:
    """A large figure.

    Attributes:
        value: the number.
        bounds: its interval; empty where it has none.
        says: what it is, in a few words.
    """

    value: str
    bounds: str
    says: str


@dataclass(frozen=True)
class Chart:
    """A picture that Vega-Lite draws.

    Attributes:
        id: of its anchor, and the name of its file.
        short: its name in the contents.
        title: what it shows.
        says: how it is read, in a sentence or two.
        spec: in Vega-Lite, its data by name; colours are those of the palette, as ``var(--c0)``.
        choices: parameters that have a control of their own beside the chart.
        chosen: parameters that decide what is drawn; a picture without controls names their values.
    """

    id: str
    short: str
    title: str
    says: str
    spec: Mapping[str, Any]
    choices: Sequence[str] = ()
    chosen: Sequence[str] = ()


@dataclass(frozen=True)
class Choice:
    """A parameter of the charts, to be set by the reader.

    Attributes:
        label: of its control.
        options: value and name; one alone has no control.
        start: the value at the start.
        each: whether every option is shown as a button.
    """

    label: str
    options: Sequence[tuple[Any, str]]
    start: Any
    each: bool = False


@dataclass(frozen=True)
class Page:
    """Everything a page shows.

    Attributes:
        title: what was found, in numbers.
        lede: what the title speaks of, a paragraph each.
        notices: what a reader has to know before believing it.
        terms: what names of this page stand for.
        data: name -> rows, for the charts and the table.
        choices: parameter -> its control.
        sections: the same as tables and words, for those without script, and for Markdown.
        several: whether subheadings are shown.
        document: the study as it was written.
        cite: BibTeX.
    """

    title: str
    sections: Sequence[Section]
    lede: Sequence[str] = ()
    numbers: Sequence[Number] = ()
    notices: Sequence[str] = ()
    terms: Sequence[tuple[str, str]] = ()
    charts: Sequence[Chart] = ()
    data: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    choices: Mapping[str, Choice] = field(default_factory=dict)
    several: bool = False
    document: str = ""
    cite: str = ""
