"""The charts of a report that go through a model block by block, in Vega-Lite's terms."""

from __future__ import annotations

from collections.abc import Sequence

from mwanda.study.report.chart_parts import METHODS, SPARSITY, Spec, keep, parameter, told


def blocks(sparsities: Sequence[float]) -> Spec:
    """A picture for every method: the sparsity of its blocks."""
    said = told(("method", "method"), ("sparsity", "asked for", SPARSITY), ("block", "block"),
                ("share", "sparsity of the block", ".2%"))  # fmt: skip
    return {
        "data": {"name": "blocks"},
        "params": [parameter("model", "")],
        "transform": [keep("true")],
        "facet": {"field": "method", "type": "nominal", "title": None},
        "columns": 3,
        "usermeta": {"least": 300, "most": 3},
        "spec": {
            "width": 260, "height": 180,
            "mark": {"type": "line", "point": {"size": 22, "filled": True}, "strokeWidth": 1.3},
            "encoding": {
                "x": {"field": "block", "type": "quantitative", "title": "block",
                      "scale": {"nice": False},
                      "axis": {"grid": False, "tickMinStep": 1, "format": "d"}},
                "y": {"field": "share", "type": "quantitative", "title": None,
                      "scale": {"zero": False}, "axis": {"format": ".0%", "grid": True}},
                "color": {"field": "sparsity", "type": "ordinal", "title": "sparsity",
                          "scale": {"domain": list(sparsities), "range": _ramp(len(sparsities))},
                          "legend": {"format": SPARSITY}},
                "tooltip": said,
            },
        },
    }  # fmt: skip


def agreement() -> Spec:
    """How alike languages use the features that enter a block."""
    return {
        "data": {"name": "agreement"},
        "params": [parameter("model", "")],
        "transform": [keep("true")],
        "width": "container", "height": 170,
        "mark": {"type": "line", "point": {"size": 28, "filled": True}, "strokeWidth": 1.5},
        "encoding": {
            "x": {"field": "block", "type": "quantitative", "title": "block",
                  "scale": {"nice": False},
                  "axis": {"grid": False, "tickMinStep": 1, "format": "d"}},
            "y": {"field": "correlation", "type": "quantitative", "scale": {"zero": False},
                  "title": "correlation", "axis": {"grid": True}},
            "color": {"field": "methods", "type": "nominal", "title": None,
                      "scale": {"range": [f"var(--c{number})" for number in range(METHODS)]}},
            "tooltip": told(("methods", "text of"), ("block", "block"),
                            ("correlation", "correlation", ".4f")),
        },
    }  # fmt: skip


def _ramp(count: int) -> list[str]:
    """Colours of the palette, the strongest for the highest sparsity."""
    return [f"var(--c{number % METHODS})" for number in range(count)]
