"""How a result shows itself: one line for ``repr``, a table in a notebook, rows for pandas."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from mwanda.system.extras import need

if TYPE_CHECKING:
    from pandas import DataFrame

MOST_ROWS = 80
"""A notebook shows no more of them."""

GRID = "border-top:1px solid rgba(128,128,128,.35)"
CELL = f"padding:.25em .7em;{GRID}"
MORE, LESS, PLAIN = "#d1603d", "#2f8f6b", "#4a86c5"
"""Bars of what rises, of what falls, and of sizes, to be told apart on white and on black."""


@dataclass(frozen=True, repr=False)
class AsDict:
    """What a dataclass of it says, for JSON: all of its fields."""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


class Shown:
    """A result with a short ``repr``, an HTML table and :meth:`to_frame`.

    A dataclass of it is made with ``repr=False``; a model of pydantic names it first. What it says
    is for the class to give: one line, :meth:`_summary`; a mapping for every row, :meth:`_records`;
    and where the table of a notebook has another form than these, :meth:`_sheet`.
    """

    def _summary(self) -> str:
        return ", ".join(f"{name}={in_short(value)}" for name, value in _values(self).items())

    def _records(self) -> Sequence[Mapping[str, Any]]:
        return [_values(self)]

    def _sheet(self) -> Sheet:
        return Sheet.of(self._records())

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self._summary()}>"

    def __str__(self) -> str:
        return repr(self)

    def _repr_html_(self) -> str:
        return sheet_html(f"{type(self).__name__}: {self._summary()}", self._sheet())

    def to_frame(self) -> DataFrame:
        """A pandas data frame, one row for each of what the result is about.

        Raises:
            InputError: pandas is not installed.
        """
        need("pandas", "to_frame", "notebook")
        import pandas

        return pandas.DataFrame.from_records(list(self._records()))


@dataclass(frozen=True)
class Sheet:
    """A table for people.

    Attributes:
        bars: a number for each row, drawn after the column ``after``; None draws nothing.
        totals: number of last rows that sum up the others.
        change: whether the bars are of what rose or fell.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    bars: Sequence[float | None] = ()
    after: int = 0
    totals: int = 0
    change: bool = False

    @classmethod
    def of(
        cls, records: Sequence[Mapping[str, Any]], bar: str = "", *, change: bool = False
    ) -> Sheet:
        """Of records, which have the same keys; a single one goes down and not across.

        Args:
            bar: the key whose numbers are drawn too.
            change: whether they are of what rose or fell.
        """
        if len(records) == 1:
            return cls(["", ""], [[key, cell(value)] for key, value in records[0].items()])
        header = list(records[0]) if records else []
        rows = [[cell(value) for value in one.values()] for one in records]
        if not bar:
            return cls(header, rows)
        bars = [one[bar] for one in records]
        return cls(header, rows, bars, header.index(bar), change=change)


def in_short(value: Any) -> str:
    """A value in a word or two; of several, how many there are."""
    if value is None or isinstance(value, bool | int):
        return str(value)
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping | list | tuple | set | frozenset):
        return f"<{len(value)}>"
    text = repr(value) if isinstance(value, Shown) else str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def cell(value: Any) -> str:
    """A value in a table."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else in_short(value)


def _values(shown: Any) -> dict[str, Any]:
    """Name -> value of the fields of a dataclass, or of a model of pydantic."""
    if is_dataclass(shown):
        return {each.name: getattr(shown, each.name) for each in fields(shown)}
    return dict(shown)


def sheet_html(title: str, sheet: Sheet) -> str:
    """A table with bars, every word escaped; it takes the notebook's own colours, light or dark."""
    shown = sheet.rows if len(sheet.rows) <= MOST_ROWS else sheet.rows[:MOST_ROWS]
    most = max((abs(one) for one in sheet.bars if one is not None and _drawn(one)), default=0.0)
    parts = [
        '<div style="overflow-x:auto"><table style="border-collapse:collapse;font-size:.9em;'
        'font-variant-numeric:tabular-nums;color:inherit;background:transparent">',
        f'<caption style="text-align:left;font-weight:600;padding:.4em .7em;color:inherit">'
        f"{escape(title)}</caption>",
    ]
    if any(sheet.header):
        parts.append(_row(sheet.header, "th", None if sheet.bars else _NO_BAR, sheet, most))
    for number, row in enumerate(shown):
        total = number >= len(sheet.rows) - sheet.totals
        bar = sheet.bars[number] if number < len(sheet.bars) else None
        parts.append(_row(row, "td", bar if sheet.bars else _NO_BAR, sheet, most, bold=total))
    parts.append("</table>")
    if len(shown) < len(sheet.rows):
        left = len(sheet.rows) - len(shown)
        parts.append(f"<p>{left:,} rows more: <code>.to_frame()</code> has them all.</p>")
    return "".join([*parts, "</div>"])


_NO_BAR = "no bar"


def _row(
    cells: Sequence[str], kind: str, bar: Any, sheet: Sheet, most: float, *, bold: bool = False
) -> str:
    weight = "font-weight:600;" if bold or kind == "th" else ""
    made = []
    for place, text in enumerate(cells):
        side = "left" if place == 0 else "right"
        style = f"{weight}text-align:{side};white-space:nowrap;background:transparent;{CELL}"
        made.append(f'<{kind} style="{style}">{escape(text)}</{kind}>')
        if place == sheet.after and bar is not _NO_BAR:
            drawn = _bar(bar, most, change=sheet.change) if _drawn(bar) else ""
            made.append(f'<{kind} style="{CELL};background:transparent">{drawn}</{kind}>')
    return f'<tr style="background:transparent">{"".join(made)}</tr>'


def _drawn(value: Any) -> bool:
    return value is not None and math.isfinite(value)


def _bar(value: float, most: float, *, change: bool) -> str:
    share = abs(value) / most if most else 0.0
    colour = (LESS if value < 0 else MORE) if change else PLAIN
    return (
        f'<div style="width:{10 * share:.2f}em;min-width:1px;height:.75em;border-radius:2px;'
        f'background:{colour}"></div>'
    )
