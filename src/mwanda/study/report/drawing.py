"""Vega-Lite, by vl-convert, which holds it and asks for nothing over a network."""

from __future__ import annotations

import importlib.util
import json
import re

from mwanda.study.report.chart_parts import CONFIG, LIGHT
from mwanda.study.report.elements import Chart, Choice, Page

LIBRARY, EXTRA = "vl_convert", "figures"
WIDTH, ROOM = 640, 24
"""Pixels of a picture, and of what is left free at either side."""


def can_draw() -> bool:
    """Whether the library is there."""
    return importlib.util.find_spec(LIBRARY) is not None


def script() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script for a page, which then has ``vegaEmbed``."""
    import vl_convert

    made = str(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed"))
    return made.replace("</script", "<\\/script")


def picture(chart: Chart, page: Page) -> str:
    """A chart of a page as an SVG file of its own, in light colours, its choices at their start,
    which it names."""
    import vl_convert

    spec = json.loads(json.dumps(chart.spec))
    for parameter in spec.get("params", ()):
        if (choice := page.choices.get(parameter["name"])) is not None:
            parameter["value"] = choice.start
    if "facet" not in spec:
        spec["width"] = WIDTH
    datasets = {name: list(rows) for name, rows in page.data.items()}
    whole = spec | {"datasets": datasets, "config": CONFIG, "background": LIGHT["ground"]}
    # Names are measured in another font than the reader's, which may be wider.
    whole["padding"] = {"left": ROOM, "right": ROOM, "top": 5, "bottom": 5}
    choices = [page.choices[name] for name in chart.chosen]
    whole["title"] = {
        "text": chart.title,
        "anchor": "start",
        "fontSize": 13,
        "offset": 12,
        "subtitle": "; ".join(_started(choice) for choice in choices if len(choice.options) > 1),
    }
    return str(vl_convert.vegalite_to_svg(json.loads(_coloured(json.dumps(whole)))))


def _started(choice: Choice) -> str:
    return f"{choice.label}: {dict(choice.options)[choice.start]}"


def pictures_of(page: Page) -> dict[str, str]:
    """File name -> SVG, of every chart."""
    return {f"{chart.id}.svg": picture(chart, page) for chart in page.charts}


def _coloured(text: str) -> str:
    return re.sub(r"var\(--(\w+)\)", lambda found: LIGHT[found[1]], text)
