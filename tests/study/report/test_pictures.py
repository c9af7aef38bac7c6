"""The figures of a report as files of their own."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

from mwanda.study.report.charts import panel, scale_of
from mwanda.study.report.data import load_results
from mwanda.study.report.elements import Figure, Section
from mwanda.study.report.pictures import picture_svg, pictures_of
from mwanda.study.report.write import sections_of
from tests.study.report.helpers import GRID, LANGUAGES, NASTY, study

SVG = "{http://www.w3.org/2000/svg}"


def figure(panels: int, methods: tuple[str, ...] = ("first", "second")) -> Figure:
    scale = scale_of([0.0, 1.0])
    lines = {name: (style, [(0.0, 0.0), (1.0, 0.5)]) for style, name in enumerate(methods)}
    made = [panel(f"panel {n}", "label", lines, scale, scale) for n in range(panels)]
    legend = [(name, style) for style, name in enumerate(methods)]
    return Figure("rise", "What it shows & more", made, legend, "sparsity", "rise, %")


def test_every_language_is_a_panel_and_every_method_a_line_in_the_legend(tmp_path: Path) -> None:
    sections = sections_of(load_results(study(tmp_path, GRID)))
    root = ElementTree.fromstring(pictures_of(sections)["rise.svg"])
    panels = root.findall(f"{SVG}svg")
    assert len(panels) == len(LANGUAGES)
    assert all(len(p.findall(f"{SVG}g/{SVG}polyline")) == 2 for p in panels)
    words = [text.text for text in root.findall(f"{SVG}text")]
    assert words == ["first", "second", "German", "Hindi", "Swahili",
                     "Across: sparsity. Up: rise, %."]  # fmt: skip


def test_it_needs_nothing_else_and_no_variables() -> None:
    text = picture_svg(figure(1))
    assert "var(" not in text
    assert set(re.findall(r"https?://[^\"]+", text)) == {"http://www.w3.org/2000/svg"}
    marks = set(re.findall(r'href="#(\w+)"', text))
    assert marks <= set(re.findall(r'id="(\w+)"', text))
    assert all(f".s{style} {{ color: #" in text for style in range(8))
    light, dark = text.split("@media (prefers-color-scheme: dark)")
    ground = re.search(r"\.ground { fill: (#\w+); }", dark)
    assert ground
    assert ground[1] not in light
    assert all(f".s{style} {{ color: #" in dark for style in range(8))


def test_panels_and_legend_stay_within_the_picture_and_apart() -> None:
    names = tuple(f"a method with a long name {n}" for n in range(9))
    for count in (1, 3, 4, 5, 23):
        root = ElementTree.fromstring(picture_svg(figure(count, names)))
        width, height = float(root.attrib["width"]), float(root.attrib["height"])
        boxes = [
            (float(p.attrib["x"]), float(p.attrib["y"]),
             float(p.attrib["x"]) + float(p.attrib["width"]),
             float(p.attrib["y"]) + float(p.attrib["height"]))
            for p in root.findall(f"{SVG}svg")
        ]  # fmt: skip
        legend = max(float(t.attrib["y"]) for t in root.findall(f"{SVG}text")[:9])
        assert len(set(boxes)) == count
        assert all(a >= 0 and c <= width and b > legend and d < height for a, b, c, d in boxes)


def test_names_are_text_and_files_have_names_of_their_own() -> None:
    sections = [Section("a", "A", [(NASTY, [figure(1, (NASTY,))]), ("m/1", [figure(1)]),
                                   ("m 1", [figure(1)])])]  # fmt: skip
    made = pictures_of(sections)
    assert list(made) == ["rise-img-src-x-onerror-alert-1-a-amp.svg", "rise-m-1.svg",
                          "rise-m-1-2.svg"]  # fmt: skip
    root = ElementTree.fromstring(next(iter(made.values())))
    assert root.find(f"{SVG}text").text == NASTY
    assert root.find(f"{SVG}title").text == "What it shows & more"
