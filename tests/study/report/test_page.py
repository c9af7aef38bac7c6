"""The page of a study: its finding in numbers, its charts' data, a script its policy knows."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest

from mwanda.methods.kinds import defaults_of
from mwanda.methods.registry import ALLOCATIONS, CRITERIA
from mwanda.study.report import drawing
from mwanda.study.report.chart_data import data_of, sizes
from mwanda.study.report.data import Group, load_results
from mwanda.study.report.headline import cite, from_today
from mwanda.study.report.page import page_html
from mwanda.study.report.study_page import page_of
from tests.study.report.helpers import ALL, GRID, LESS, NASTY, Page, study

LIBRARY = "window.vegaEmbed = null; // '</' + '<!--'"


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawing, "can_draw", lambda: True)
    monkeypatch.setattr(drawing, "script", lambda: LIBRARY)


def test_the_title_and_three_figures_say_what_was_found(tmp_path: Path) -> None:
    page = page_of(load_results(study(tmp_path, GRID)))
    assert page.title == (
        "At 50% sparsity 3 languages lose 11.7% on average with “second”, 23.3% with “first”"
    )
    assert page.terms[0] == ("“first”", "criterion wanda, allocation cwl, pattern unstructured, "
                             "text in 2 languages")  # fmt: skip
    assert [one.value for one in page.numbers] == ["+11.7%", "+20.0%", "−11.7 points"]
    assert page.numbers[0].bounds.startswith("95% interval +11.")
    assert page.numbers[1].says == "for Hindi, which loses most under “second”"
    assert page.numbers[2].says.endswith("significantly less in 3 of 3 languages")
    (said,) = page.lede  # the figures above compare the two
    assert said.startswith("A loss of 1% says that the pruned model foresees")


def test_the_best_is_told_against_the_next_and_what_each_read(tmp_path: Path) -> None:
    close = {tag: x + 0.001 for tag, x in ALL.items()} | {"de": 0.01}
    rises = {("first", 0.5, 0): {tag: 2 * x for tag, x in ALL.items()},
             ("best", 0.5, 0): ALL, ("near", 0.5, 0): close | {"hi": 0.26}}  # fmt: skip
    results = load_results(study(tmp_path, rises))
    cell = results.cells["cell2"]
    cell["settings"]["recipe"]["languages"] = ["de"]
    page = page_of(results)
    assert [meaning.split(", ")[-1] for _, meaning in page.terms] == [
        "text in 2 languages", "text in 2 languages", "text in German alone",
    ]  # fmt: skip
    _, against = page.lede
    assert against.startswith("“best” loses 0.7 points less than the second best, “near” (95% ")
    assert against.endswith(": significantly less in 2 of 3 languages, significantly more in 1.")


def test_one_method_alone_and_nothing_yet(tmp_path: Path) -> None:
    page = page_of(load_results(study(tmp_path, {("m", 0.5, 0): ALL})))
    assert page.title.endswith("lose 11.7% on average with “m”, Hindi most: 20.0%")
    assert page.numbers[2].value == "3"
    (tmp_path / "empty").mkdir()
    empty = page_of(load_results(study(tmp_path / "empty", GRID, dense=False)))
    assert (empty.charts, empty.numbers, empty.title) == (
        (), [], "What sparsity does to every language"
    )  # fmt: skip


def test_a_study_without_todays_default_says_so(tmp_path: Path) -> None:
    (notice,) = page_of(load_results(study(tmp_path, GRID))).notices
    assert "None of these methods is what mwanda prune does by default today" in notice
    assert "criterion (which weights go) “wanda”, today's is “m-wanda”" in notice
    assert "between blocks) “cwl”, today's is “measured”" in notice


def test_todays_default_differs_in_nothing_and_another_constant_is_named() -> None:
    recipe: dict[str, Any] = {
        "criterion": {"name": "m-wanda", "options": defaults_of(CRITERIA["m-wanda"])},
        "allocation": {"name": "measured", "options": defaults_of(ALLOCATIONS["measured"])},
        "reconstruction": None, "pattern": "unstructured", "mode": "dense",
    }  # fmt: skip
    assert from_today(recipe, 0.5) == []
    assert from_today(recipe, 0.3) == ["dense statistics, today's are sequential"]
    recipe["criterion"]["options"]["activity_weight"] = 9.0
    assert from_today(recipe, 0.5) == ["another activity_weight of the criterion “m-wanda”"]
    assert from_today(recipe | {"recover": {"steps": 5}}, 0.5)[1:] == ["a recovery"]


def test_rows_of_the_charts_have_the_studys_numbers(tmp_path: Path) -> None:
    data = data_of(load_results(study(tmp_path, GRID)))
    rises = {(r["method"], r["sparsity"], r["tag"]): r for r in data["rises"]}
    assert len(rises) == 2 * 2 * (1 + 3)
    hindi = rises["first", 0.5, "hi"]
    assert hindi["rise"] == pytest.approx(0.4, abs=1e-3)
    assert hindi["low"] < hindi["rise"] < hindi["high"]
    assert (hindi["standing"], rises["first", 0.5, "de"]["standing"]) == ("unseen", "seen")
    there = {(r["method"], r["second"], r["sparsity"], r["tag"]): r for r in data["against"]}
    for (first, second, sparsity, tag), row in there.items():
        back = there[second, first, sparsity, tag]
        assert row["difference"] == pytest.approx(-back["difference"], abs=1e-6)
        assert row["low"] == pytest.approx(-back["high"], abs=1e-6)
    assert {row["block"] for row in data["blocks"]} == {0, 1}
    json.dumps(data, allow_nan=False)


def test_every_form_of_the_model_is_among_the_bytes(tmp_path: Path) -> None:
    results = load_results(study(tmp_path, GRID))
    (model,) = results.models
    assert list(sizes(model)) == []
    told = {"bytes": 50, "source_bytes": 100, "tensors": 3, "kept": [], "weights": 50}
    cell = results.cells["cell0"] | {"quantised": told}
    model.quantised["Q8_0"] = Group("Q8_0", 0.0, {None: cell}, model.languages)
    rows = {(row["name"], row["sparsity"]): row for row in sizes(model)}
    assert rows["dense", 0.0]["bytes"] == pytest.approx(100 / 1e6)
    assert rows["dense in Q8_0", 0.0]["share"] == 0.5
    pruned = rows["first", 0.5]  # a quarter of all weights is gone, of half a bit is kept
    assert pruned["share"] == pytest.approx(0.75 + 0.5 * 50 / 8 / 100)
    assert {name: row["above"] for (name, _), row in rows.items() if not row["pruned"]} == {
        "dense": False, "dense in Q8_0": True,
    }  # fmt: skip
    instead = page_of(results).lede[1]
    assert instead.startswith("Smaller without pruning: “dense in Q8_0” takes 50% of the dense")
    assert instead.endswith("“second” takes 78%, as only 50% of all weights are in the matrices "
                            "it prunes.")  # fmt: skip
    assert "bytes" in [chart.id for chart in page_of(results).charts]
    assert page_of(results).terms[-1][0] == "Smaller without pruning"


def test_the_policy_knows_the_scripts_and_nothing_else(drawn: None, tmp_path: Path) -> None:
    rises = {(NASTY, 0.3, 0): ALL, ("</script><b>", 0.3, 0): LESS}
    page = page_of(load_results(study(tmp_path, rises, model=NASTY)))
    text = page_html(page)
    scripts = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    assert scripts[0] == LIBRARY
    known = re.findall(r"'sha256-([^']+)'", text.partition("</head>")[0])
    assert known == [
        base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts
    ]
    assert "unsafe-eval" not in text
    assert "https:" not in text.replace(scripts[1], "")
    (data,) = re.findall(
        r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL
    )
    assert {row["method"] for row in json.loads(data)["data"]["rises"]} == {NASTY, "</script><b>"}
    found = Page(re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL))
    assert not list(found.all("img"))
    assert not [tag for tag, _ in found.elements if tag == "b" and NASTY in tag]
    ids = [a["id"] for _, a in found.elements if "id" in a]
    assert len(ids) == len(set(ids))
    links = [a["href"] or "" for a in found.all("a")]
    assert all(link.removeprefix("#") in ids for link in links)


def test_without_the_library_there_is_no_script(tmp_path: Path) -> None:
    text = page_html(page_of(load_results(study(tmp_path, GRID))))
    assert "<script" not in text
    assert "script-src 'none'" in text


def test_bibtex_of_a_title_with_signs(tmp_path: Path) -> None:
    results = load_results(study(tmp_path, GRID, model="a_b {c}"))
    made = cite(results, "1")
    assert "At 50\\% sparsity" in made
    assert "a\\_b c" in made
    assert made.count("{") == made.count("}")
