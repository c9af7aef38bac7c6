"""What the charts of a report have in common, in Vega-Lite's terms."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from mwanda.study.report.palette import METHODS

Spec = dict[str, Any]

FONT = 'system-ui, "Noto Sans", sans-serif'
CONFIG: Spec = {
    "font": FONT,
    "background": "transparent",
    "view": {"stroke": None},
    "aria": False,  # a chart is one picture with one description; its numbers are in tables
    "axis": {
        "labelColor": "var(--text)", "titleColor": "var(--soft)", "labelFontSize": 12,
        "titleFontSize": 12, "titleFontWeight": "normal", "domainColor": "var(--rule)",
        "tickColor": "var(--rule)", "gridColor": "var(--rule)", "labelLimit": 190,
    },
    "axisY": {"grid": False},
    "header": {"labelColor": "var(--text)", "labelFontSize": 12, "labelFontWeight": 600,
               "labelAnchor": "start", "titleColor": "var(--soft)", "labelPadding": 4},
    "legend": {"labelColor": "var(--text)", "titleColor": "var(--soft)", "labelFontSize": 12,
               "titleFontSize": 12, "titleFontWeight": "normal", "labelLimit": 260,
               "orient": "top", "symbolSize": 90, "symbolOpacity": 1},
    "title": {"color": "var(--text)"},
    "text": {"color": "var(--text)", "fontSize": 12},
    "rule": {"color": "var(--soft)"},
}  # fmt: skip

SHAPES = ("circle", "square", "triangle-up", "diamond", "triangle-down", "cross", "triangle-right",
          "triangle-left")  # fmt: skip
STANDINGS: Mapping[str, tuple[str, float]] = {
    "seen": ("", 1.0), "background": (" ◐", 0.5), "unseen": (" ○", 0.0),
}  # fmt: skip
"""How a language stands to a method: what is put behind its name, and how full its marks are."""


def colour(methods: Sequence[str]) -> Spec:
    """A colour for every method."""
    used = [f"var(--c{number % METHODS})" for number in range(len(methods))]
    return {"field": "method", "type": "nominal", "legend": None,
            "scale": {"domain": list(methods), "range": used}}  # fmt: skip


def shape(methods: Sequence[str]) -> Spec:
    """A shape for every method, so that colour is not needed."""
    number = len(SHAPES)
    used = [SHAPES[(place + place // number) % number] for place in range(len(methods))]
    return {"field": "method", "type": "nominal", "legend": None,
            "scale": {"domain": list(methods), "range": used}}  # fmt: skip


FULL: Spec = {"field": "full", "type": "quantitative", "scale": None}


def full() -> Spec:
    """How full a mark is, as ``full``: one of a language that calibrated nothing is hollow."""
    shares = {standing: share for standing, (_, share) in STANDINGS.items()}
    return calculate("full", f"({json.dumps(shares)})[datum.standing]")


def parameter(name: str, value: Any) -> Spec:
    return {"name": name, "value": value}


def keep(test: str) -> Spec:
    """Rows of the model that is looked at, for which this holds too."""
    return {"filter": f"datum.model === model && {test}"}


def calculate(name: str, expression: str) -> Spec:
    return {"calculate": expression, "as": name}


def between(low: str = "low", high: str = "high", digits: int = 1) -> Spec:
    """The interval in words, as ``bounds``."""
    form = f"'+.{digits}%'"
    return calculate(
        "bounds",
        f"isValid(datum.{low}) ? format(datum.{low}, {form}) + ' to ' + "
        f"format(datum.{high}, {form}) : 'none'",
    )


def told(*columns: tuple[str, str] | tuple[str, str, str]) -> list[Spec]:
    """What is said of a mark: fields with their titles, and the format of numbers."""
    return [
        {"field": field, "title": title, **({"format": form[0], "type": "quantitative"} if form
                                            else {"type": "nominal"})}
        for field, title, *form in columns
    ]  # fmt: skip


SHARE = {"format": ".0%"}


def by(field: str) -> Spec:
    """Highest first."""
    return {"field": field, "op": "max", "order": "descending"}
