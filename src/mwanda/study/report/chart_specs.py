"""The charts of a report in Vega-Lite's terms: what is drawn how, and nothing of where it is from.

Every one draws rows of :mod:`mwanda.study.report.chart_data` by name, of one ``model``. Parameters
are what a reader sets: ``sparsity``, ``base``, ``across``; ``narrow`` is set by the page.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from mwanda.study.report.chart_parts import (
    FULL,
    METHODS,
    SHARE,
    SPARSITY,
    Spec,
    between,
    by,
    calculate,
    colour,
    full,
    keep,
    parameter,
    shape,
    told,
)

ROW = 9
"""Pixels that one mark of a row takes."""
CELL = 24


def losses(
    methods: Sequence[str],
    names: Mapping[str, str],
    kinds: Mapping[str, str],
    *,
    limits: bool = False,
) -> Spec:
    """A row for every language, the one that lost most first, with a mark for every method.

    Args:
        names: tag -> how its row is called.
        kinds: tag -> what stands at the other end of the row.
        limits: whether a gate's limits are marked.
    """
    mean = "datum.value[0] === '~'"
    bare = {"field": "row", "type": "nominal", "title": None, "sort": by("rank"), "axis": None,
            "scale": {"paddingInner": 0.3}}  # fmt: skip
    near = bare | {"axis": {
        "domain": False, "ticks": False, "labelPadding": 8, "grid": True, "gridDash": [1, 3],
        "labelLimit": {"expr": "narrow ? 118 : 200"},
        "labelFontWeight": {"expr": f"{mean} ? 700 : 400"},
        "labelColor": {"expr": f"{mean} ? colours[toNumber(split(datum.value, '~')[1])] : "
                       "'var(--text)'"},
        "labelExpr": f"{mean} ? split(datum.value, '~')[2] : narrow ? [names[datum.value], "
        "split(kinds[datum.value], ',')[0]] : names[datum.value]",
    }}  # fmt: skip
    far = bare | {"axis": {
        "orient": "right", "domain": False, "ticks": False, "labelColor": "var(--soft)",
        "labelLimit": {"expr": "narrow ? 1 : 190"}, "title": None,
        "labelExpr": "narrow || datum.value[0] === '~' ? '' : kinds[datum.value]",
    }}  # fmt: skip
    x = {"field": "rise", "type": "quantitative", "title": "rise in loss over the dense model",
         "axis": {"orient": "top", "tickCount": 6, "grid": True, **SHARE}}  # fmt: skip
    said = told(("language", "language"), ("script", "script"), ("family", "family"),
                ("standing", "calibration"), ("method", "method"),
                ("sparsity", "sparsity", SPARSITY), ("rise", "rise", "+.2%"),
                ("bounds", "95% interval"))  # fmt: skip
    colours = [f"var(--c{number % METHODS})" for number in range(len(methods))]
    middle = methods[(len(methods) - 1) // 2]
    layers: list[Spec] = [
        {"mark": {"type": "rule", "color": "var(--soft)", "strokeWidth": 1},
         "encoding": {"x": {"datum": 0}}},
        {"mark": {"type": "rule", "strokeWidth": 2, "opacity": 0.75},
         "encoding": {"y": near, "x": x | {"field": "low"}, "x2": {"field": "high"},
                      "color": colour(methods)}},
        {"mark": {"type": "point", "size": {"expr": "datum.tag ? 55 : 110"}, "strokeWidth": 1.6,
                  "opacity": 1},
         "encoding": {"y": far, "x": x, "color": colour(methods), "fill": colour(methods),
                      "fillOpacity": FULL, "shape": shape(methods), "tooltip": said}},
        {"mark": {"type": "text", "align": "left", "dx": 12, "fontWeight": 700, "fontSize": 13},
         "encoding": {"y": bare, "x": x | {"field": "end"}, "color": colour(methods),
                      "text": {"field": "shown"}}},
    ]  # fmt: skip
    if limits:
        layers.append({
            "mark": {"type": "tick", "color": "var(--text)", "thickness": 2, "size": 16},
            "encoding": {"y": bare, "x": x | {"field": "limit"}},
        })  # fmt: skip
    return {
        "data": {"name": "rises"},
        "params": [parameter("model", ""), parameter("sparsity", 0.0), parameter("narrow", False),
                   parameter("names", dict(names)), parameter("kinds", dict(kinds)),
                   parameter("colours", colours)],
        "transform": [
            keep("datum.sparsity === sparsity"), full(),
            calculate("rank", "datum.tag ? datum.rise : 1e6 - datum.order"),
            calculate("row", "datum.tag ? datum.tag : '~' + datum.order + '~' + datum.method"),
            calculate("end", "isValid(datum.high) ? datum.high : datum.rise"),
            calculate("slot", f"datum.tag ? datum.method : {json.dumps(middle)}"),
            calculate("shown", "datum.tag ? '' : format(datum.rise, '+.1%')"),
            between(),
        ],
        "width": "container", "autosize": {"type": "fit-x", "contains": "padding"},
        "height": {"step": ROW, "for": "offset"} if len(methods) > 1 else {"step": 20},
        "encoding": {"yOffset": {"field": "slot", "sort": list(methods)}}
        if len(methods) > 1 else {},
        "layer": layers,
        "resolve": {"axis": {"y": "independent"}},
    }  # fmt: skip


def heatmap(names: Mapping[str, str]) -> Spec:
    """Languages against methods at one sparsity, or against sparsities of one method."""
    y = {"field": "row", "type": "nominal", "title": None, "sort": by("rank"),
         "axis": {"domain": False, "ticks": False, "labelLimit": {"expr": "narrow ? 110 : 200"},
                  "labelExpr": "datum.value === '~' ? 'mean' : names[datum.value]"}}  # fmt: skip
    x = {"field": "column", "type": "nominal", "title": None,
         "sort": {"field": "place", "op": "min"},
         "axis": {"orient": "top", "domain": False, "ticks": False, "labelLimit": 110,
                  "labelAngle": {"expr": "narrow && across === '' ? -40 : 0"},
                  "labelAlign": {"expr": "narrow && across === '' ? 'left' : 'center'"}},
         }  # fmt: skip
    said = told(("language", "language"), ("method", "method"), ("sparsity", "sparsity", SPARSITY),
                ("rise", "rise", "+.2%"), ("bounds", "95% interval"))  # fmt: skip
    return {
        "data": {"name": "rises"},
        "params": [parameter("model", ""), parameter("sparsity", 0.0), parameter("across", ""),
                   parameter("narrow", False), parameter("names", dict(names))],
        "transform": [
            keep("(across === '' ? datum.sparsity === sparsity : datum.method === across)"),
            calculate("shown", f"format(datum.sparsity, '{SPARSITY}')"),
            calculate("column", "across === '' ? datum.method : datum.shown"),
            calculate("place", "across === '' ? datum.order : datum.sparsity"),
            calculate("row", "datum.tag ? datum.tag : '~'"),
            calculate("rank", "datum.tag ? datum.rise : 1e6"),
            {"joinaggregate": [{"op": "min", "field": "rise", "as": "least"},
                               {"op": "max", "field": "rise", "as": "most"}]},
            calculate("dark", "(datum.rise - datum.least) / (datum.most - datum.least) > 0.72"),
            between(),
        ],
        "width": "container", "autosize": {"type": "fit-x", "contains": "padding"},
        "height": {"step": CELL},
        "encoding": {"y": y, "x": x, "tooltip": said},
        "layer": [
            {"mark": {"type": "rect", "stroke": "var(--ground)", "strokeWidth": 1},
             "encoding": {"color": {"field": "rise", "type": "quantitative", "legend": None,
                                    "scale": {"scheme": "oranges"}}}},
            {"mark": {"type": "text", "fontSize": 11},
             "encoding": {"text": {"field": "rise", "type": "quantitative", "format": "+.1%"},
                          "color": {"condition": {"test": "datum.dark", "value": "#ffffff"},
                                    "value": "#101418"}}},
        ],
    }  # fmt: skip


def against_bytes(methods: Sequence[str], others: Sequence[str]) -> Spec:
    """Loss against the bytes of the weights, mean and worst: pruned models as lines, others as
    names.

    Args:
        others: names of what is no pruned model.
    """
    x = {"field": "bytes", "type": "quantitative", "title": "MB of weights",
         "scale": {"zero": False, "padding": 18},
         "axis": {"tickCount": 5, "grid": True}}  # fmt: skip
    y = {"field": "rise", "type": "quantitative", "title": None,
         "scale": {"type": "symlog", "constant": 0.01, "nice": False, "padding": 26},
         "axis": {"values": [0, 0.01, 0.03, 0.1, 0.3, 1, 3, 10], "grid": True,
                  **SHARE}}  # fmt: skip
    said = told(("name", "model"), ("sparsity", "sparsity", SPARSITY), ("bytes", "MB", ",.1f"),
                ("share", "of the dense model", ".0%"), ("mean", "mean rise", "+.2%"),
                ("bounds", "95% interval"), ("worst", "worst rise", "+.2%"),
                ("worst_language", "worst language"))  # fmt: skip
    every, named = (
        [*methods, *others],
        {"legend": {"title": None, "columns": 3, "values": [*methods]}},
    )
    scale = colour(every) | named
    dash = {"field": "trimmed", "type": "nominal", "legend": None,
            "scale": {"domain": [False, True], "range": [[1, 0], [4, 3]]}}  # fmt: skip
    return {
        "data": {"name": "sizes"},
        "params": [parameter("model", "")],
        "transform": [
            keep("isValid(datum.bytes)"), between(),
            {"fold": ["mean", "worst"], "as": ["kind", "rise"]},
            calculate("which", "datum.kind === 'mean' ? 'mean of all languages' : "
                      "'the language that loses most'"),
        ],
        "facet": {"field": "which", "type": "nominal", "title": None, "sort": "ascending"},
        "columns": 2,
        "usermeta": {"least": 330, "most": 2},
        "spec": {
            "width": 420, "height": 320,
            "encoding": {"x": x, "y": y},
            "layer": [
                {"transform": [{"filter": "datum.pruned"}],
                 "mark": {"type": "line", "strokeWidth": 1.8},
                 "encoding": {"color": scale, "strokeDash": dash, "detail": {"field": "name"},
                              "order": {"field": "sparsity", "type": "quantitative"}}},
                {"mark": {"type": "point", "filled": True, "opacity": 1,
                          "size": {"expr": "datum.pruned ? 50 : 110"}},
                 "encoding": {"color": scale, "shape": shape(every) | named,
                              "tooltip": said}},
                {"transform": [{"filter": "!datum.pruned"}],
                 "mark": {"type": "text", "fontWeight": 600, "align": {"expr": "datum.side"},
                          "dy": {"expr": "datum.above ? -13 : 15"}},
                 "encoding": {"text": {"field": "form"}, "color": scale}},
            ],
        },
        "spacing": 24,
    }  # fmt: skip


def differences(methods: Sequence[str]) -> Spec:
    """A small picture for every language: each method less the one it is compared with."""
    x = {"field": "sparsity", "type": "ordinal", "title": None,
         "axis": {"format": SPARSITY, "labelAngle": 0, "ticks": False, "labelFontSize": 10,
                  "labelOverlap": True}}  # fmt: skip
    y = {"field": "difference", "type": "quantitative", "title": None,
         "axis": {"tickCount": 4, "grid": True, **SHARE}}  # fmt: skip
    said = told(("language", "language"), ("method", "method"), ("second", "compared with"),
                ("sparsity", "sparsity", SPARSITY), ("difference", "difference", "+.2%"),
                ("bounds", "95% interval"))  # fmt: skip
    legend = {"legend": {"title": None}}
    return {
        "data": {"name": "against"},
        "params": [parameter("model", ""), parameter("first", ""), parameter("base", ""),
                   parameter("sparsity", 0.0)],
        "transform": [
            keep("datum.second === base && (first === '' || datum.method === first)"),
            # Languages stand in the order of the sparsity that is looked at.
            calculate("rank", "datum.tag ? (datum.sparsity === sparsity ? datum.difference : -1e6)"
                      " : 1e6"),
            between(digits=2),
        ],
        "facet": {"field": "language", "type": "nominal", "title": None, "sort": by("rank"),
                  "header": {"labelLimit": 140}},
        "columns": 4,
        "usermeta": {"least": 160, "most": 6},
        "spec": {
            "width": 150, "height": 105,
            "encoding": {"x": x, "y": y, "color": colour(methods) | legend,
                         "xOffset": {"field": "method", "sort": list(methods)}},
            "layer": [
                {"mark": {"type": "line", "strokeWidth": 1, "opacity": 0.5}},
                {"mark": {"type": "rule", "strokeWidth": 2, "opacity": 0.7},
                 "encoding": {"y": y | {"field": "low"}, "y2": {"field": "high"}}},
                {"mark": {"type": "point", "filled": True, "size": 30, "opacity": 1},
                 "encoding": {"shape": shape(methods) | legend, "tooltip": said}},
                {"mark": {"type": "rule", "color": "var(--text)", "strokeWidth": 1},
                 "encoding": {"y": {"datum": 0}, "x": {"value": 0}, "x2": {"value": "width"},
                              "color": {"value": "var(--text)"}, "xOffset": {"value": 0}}},
            ],
        },
        "spacing": {"row": 14, "column": 16},
    }  # fmt: skip
