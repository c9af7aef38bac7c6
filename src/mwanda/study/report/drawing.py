"""Vega-Lite, by vl-convert, which holds it and asks for nothing over a network."""

from __future__ import annotations

import importlib.util
import json
import re

from mwanda.study.report.chart_parts import CONFIG, LIGHT
from mwanda.study.report.elements import Chart, Page

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
    """A chart of a page as an SVG file of its own, in light colours, its choices at their start."""
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
    whole["title"] = {"text": chart.title, "anchor": "start", "fontSize": 13, "offset": 12}
    return str(vl_convert.vegalite_to_svg(json.loads(_coloured(json.dumps(whole)))))


def pictures_of(page: Page) -> dict[str, str]:
    """File name -> SVG, of every chart."""
    return {f"{chart.id}.svg": picture(chart, page) for chart in page.charts}


def _coloured(text: str) -> str:
    return re.sub(r"var\(--(\w+)\)", lambda found: LIGHT[found[1]], text)
