"""The report of one model: its numbers, and names that are markup."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from mwanda import Comparison, Gate
from mwanda.evaluation.generation import Continuation
from mwanda.study.report import one_model
from mwanda.study.report.elements import Table
from mwanda.study.report.one_model import Found, page_of, sections_of
from mwanda.study.report.page import page_html, page_markdown
from tests.evaluation.test_shown import COMPARED, DENSE, NASTY, PRUNED
from tests.study.report.helpers import Page

GATE = Gate("15%", {"sw": 0.05})


def tables(found: Found) -> dict[str, Table]:
    """Section -> its table."""
    return {
        section.id: part
        for section in sections_of(found)
        for _, parts in section.groups
        for part in parts
        if isinstance(part, Table)
    }


def test_the_gate_says_first_what_failed() -> None:
    rows = tables(Found(PRUNED, COMPARED, GATE))["gate"].rows
    assert [row[:3] for row in rows] == [
        ["hi Hindi", "FAIL", "+25.00%"],
        ["sw Swahili", "FAIL", "+10.00%"],
        ["de German", "pass", "-25.00%"],
    ]
    assert [row[4] for row in rows] == ["15.00%", "5.00%", "15.00%"]


def test_every_language_and_the_mean() -> None:
    table = tables(Found(PRUNED, COMPARED))["languages"]
    assert [[row[0], row[1]] for row in table.rows] == [
        ["de German", "-25.0%"], ["hi Hindi (unseen)", "+25.0%"], ["sw Swahili", "+10.0%"],
        ["mean", "+3.3%"],
    ]  # fmt: skip
    assert all(len(row) == len(table.header) for row in table.rows)
    assert "gate" not in tables(Found(PRUNED, COMPARED))


def test_where_no_scored_language_was_seen_none_is_said_to_be() -> None:
    for known, standing, mark in ((True, "unseen", " (unseen)"), (False, "seen", "")):
        model = replace(PRUNED, seen=(), calibrated=known)
        found = Found(model, Comparison.of(DENSE, model))
        assert {row["standing"] for row in page_of(found).data["rises"][1:]} == {standing}
        assert tables(found)["languages"].rows[0][0] == "de German" + mark


def test_in_short() -> None:
    text = page_markdown(page_of(Found(PRUNED, COMPARED, GATE, is_base=False)))
    for said in ("Mean of all 3 languages: +3.3%", "Mean of the 1 that did not: +25.0%",
                 "Worst: Hindi, +25.0%", "The gate is not met: Hindi, Swahili.",
                 "Too little text to be sure of any language",
                 "not the model that this one was pruned from"):  # fmt: skip
        assert said in text
    assert "The gate is met." in page_markdown(page_of(Found(PRUNED, COMPARED, Gate("900%"))))


def test_the_chart_has_every_language_its_standing_and_its_limit() -> None:
    page = page_of(Found(PRUNED, COMPARED, GATE))
    average, *rows = page.data["rises"]
    assert (average["tag"], average["rise"]) == ("", pytest.approx(0.1 / 3, abs=1e-6))
    found = [(r["tag"], r["rise"], r["standing"], r["limit"]) for r in rows]
    assert found == [
        ("de", -0.25, "seen", 0.15), ("hi", 0.25, "unseen", 0.15), ("sw", 0.1, "seen", 0.05)
    ]  # fmt: skip
    assert all("low" not in row for row in rows)  # one sentence has no interval
    assert page.title.endswith("loss +3.3% in the mean of 3 languages, Hindi +25.0%")
    assert [one.value for one in page.numbers] == ["+3.3%", "+25.0%", "2 of 3"]
    assert not page_of(Found(PRUNED)).charts


def test_one_model_alone() -> None:
    found = tables(Found(DENSE))
    assert list(found) == ["languages", "provenance"]
    assert found["languages"].rows[-1][2] == "36.67"


@pytest.mark.parametrize("alone", [True, False])
def test_no_name_is_markup(alone: bool) -> None:
    said = {"de": Continuation(NASTY, NASTY, repetitive=True)}
    model = replace(PRUNED, text=NASTY, continuations=said)
    compared = None if alone else Comparison.of(replace(DENSE, model=NASTY), model)
    shown = page_of(Found(model, compared, None if alone else GATE))
    page = Page(page_html(shown))
    assert not [*page.all("img"), *page.all("script")]
    assert NASTY in " ".join(page.words)
    assert "document" not in {a.get("id") for _, a in page.elements}
    assert "<img" not in page_markdown(shown)


def test_a_model_that_was_only_trimmed_says_by_what() -> None:
    trim = SimpleNamespace(languages=["de"], by="script", also_scripts=(), text=None, budget=None,
                           keep_texts=None, multiple=None, allow_loss=False,
                           after=None)  # fmt: skip
    manifest: Any = SimpleNamespace(
        base="m", linears={}, recipe={}, mask_file=None, recoveries=(), trims=(trim,), sha256=None,
        totals=SimpleNamespace(sparsity=0.0),
    )  # fmt: skip
    made = one_model._made(manifest)
    assert made["made by"] == "mwanda trim m --out TRIMMED --languages de --by script"
