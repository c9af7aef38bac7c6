"""The charts of a report as the library itself draws them."""

from __future__ import annotations

import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from mwanda.study.report import drawing
from mwanda.study.report.data import Group, load_results
from mwanda.study.report.study_page import page_of
from tests.study.report.helpers import GRID, study

SVG = "{http://www.w3.org/2000/svg}"


def test_every_chart_is_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "vl_convert")
    pytest.importorskip("vl_convert")
    results = load_results(study(tmp_path, GRID))
    told = {"bytes": 50, "source_bytes": 100, "tensors": 3, "kept": [], "weights": 50}
    (model,) = results.models
    cell = results.cells["cell0"] | {"quantised": told}
    model.quantised["Q8_0"] = Group("Q8_0", 0.0, {None: cell}, model.languages)
    made = drawing.pictures_of(page_of(results))
    assert list(made) == ["losses.svg", "heatmap.svg", "bytes.svg", "differences.svg",
                          "block-sparsity.svg", "agreement.svg"]  # fmt: skip
    words = {}
    for name, text in made.items():
        assert "var(" not in text, name
        found = ElementTree.fromstring(text)
        words[name] = [one.text for one in found.iter(f"{SVG}text") if one.text]
        drawn = [path for path in found.iter(f"{SVG}path") if path.get("d", "").startswith("M")]
        assert len(drawn) > 10, name
    assert [w for w in words["losses.svg"] if w in ("Hindi ○", "Swahili", "German")] == [
        "Hindi ○", "Swahili", "German",
    ]  # fmt: skip
    assert {"first", "+23.3%", "second", "+11.7%", "Devanagari, unseen"} <= {*words["losses.svg"]}
    assert {"+40.0%", "+20.0%"} <= {*words["heatmap.svg"]}
    assert {"dense", "Q8_0", "first", "second"} <= {*words["bytes.svg"]}
    assert words["differences.svg"].count("German") == 1
    chosen = {name: [w for w in found if ": " in w] for name, found in words.items()}
    assert chosen["losses.svg"] == ["Sparsity: 50%"]
    assert chosen["heatmap.svg"] == ["Sparsity: 50%; Across: methods"]
    assert chosen["differences.svg"] == ["Of: second; Compared with: first"]
    assert not chosen["bytes.svg"]
