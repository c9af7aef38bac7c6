"""What the charts of a report have in common: colours, and parts in Vega-Lite's terms."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

LIGHT: Mapping[str, str] = MappingProxyType({
    "ground": "#ffffff", "text": "#1b1f24", "soft": "#57606a", "rule": "#d5dbe1",
    "shade": "#f3f5f7", "link": "#0b57a4", "focus": "#0b57a4", "warn": "#fff4d6",
    "c0": "#b34700", "c1": "#0b62a8", "c2": "#0a7a55", "c3": "#9b2f7d",
    "c4": "#6f5a00", "c5": "#4d4dbf", "c6": "#a32020", "c7": "#4a4f55",
})  # fmt: skip
DARK: Mapping[str, str] = MappingProxyType({
    "ground": "#14181d", "text": "#e8ecf0", "soft": "#a9b4bf", "rule": "#38414a",
    "shade": "#1d232a", "link": "#7ab8ff", "focus": "#ffd166", "warn": "#3a2f10",
    "c0": "#ff9e5e", "c1": "#64b5f6", "c2": "#4fd1a1", "c3": "#f093d4",
    "c4": "#e0c34a", "c5": "#a9a9ff", "c6": "#ff8a8a", "c7": "#c3cad1",
})  # fmt: skip

METHODS = 8
"""Colours of methods; a ninth has the first again, with another shape."""


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

SPARSITY = ".10~%"
"""A number's format: with the digits that it needs, as tables have it."""


def by(field: str) -> Spec:
    """Highest first."""
    return {"field": field, "op": "max", "order": "descending"}
