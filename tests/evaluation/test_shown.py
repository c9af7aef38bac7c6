"""A result is one short line, a table in a notebook, and a data frame."""

from __future__ import annotations

import importlib.util
import inspect
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

import mwanda
from mwanda import Comparison, InputError
from mwanda.evaluation.language import LanguageResult
from mwanda.evaluation.results import Evaluation
from mwanda.system.shown import MOST_ROWS, Sheet, Shown, cell, in_short, sheet_html
from tests.pruning.pipeline.helpers import windows_file
from tests.support.folders_made import Tiny

NASTY = "<img src=x onerror=alert(1)>\"'&"


def evaluation(name: str, raised: float, texts: int = 1) -> Evaluation:
    """Three languages; German gains, Hindi and Swahili lose."""
    base = {"de": 20.0 - raised, "hi": 40.0 + 2 * raised, "sw": 50.0 + raised}
    rows = {tag: LanguageResult(tag, (nats,) * texts, 10, 40) for tag, nats in base.items()}
    return Evaluation(name, rows, ("de", "sw") if raised else (), "text", "same")


DENSE, PRUNED = evaluation("dense", 0.0), evaluation(NASTY, 5.0)
COMPARED = Comparison.of(DENSE, PRUNED)


@pytest.fixture(scope="module")
def pruned(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Any:
    root = tmp_path_factory.mktemp("pruned")
    return mwanda.prune(
        tiny("llama"), out=root / "out", calibration=windows_file(root), sparsity=0.5,
        criterion="wanda", allocation="uniform",
    )  # fmt: skip


def test_what_a_public_function_gives_shows_itself() -> None:
    """Models, paths and nothing at all have a repr of their own."""
    others = {"load_packed", "mask_linears", "keep_zeros", "write_report", "read_parallel",
              "trim_loss"}  # fmt: skip
    for name in mwanda.__all__:
        function = getattr(mwanda, name)
        if inspect.isfunction(function) and name not in others:
            given = inspect.unwrap(function)
            assert issubclass(given.__globals__[given.__annotations__["return"]], Shown), name


def test_a_repr_is_one_short_line(pruned: Any) -> None:
    many = evaluation("dense", 0.0, texts=10_000)
    found = [many, Comparison.of(many, many), many.languages["de"], pruned, pruned.manifest,
             pruned.windows, pruned.manifest.calibration, mwanda.verify(pruned.folder),
             mwanda.read_texts({"de": ["Satz"] * 5000})]  # fmt: skip
    for one in found:
        assert len(repr(one)) < 300
        assert "\n" not in repr(one)
        assert str(one) == repr(one)
    assert repr(many) == ("<Evaluation: dense on text, 3 languages, mean 36.67 nats per sentence>")
    assert "hi" not in repr(DENSE.languages["de"])
    assert "50.00% of" in repr(pruned)


def test_a_frame_has_a_row_for_every_language() -> None:
    frame = DENSE.to_frame()
    assert [*frame["language"]] == ["de", "hi", "sw"]
    assert [*frame["nll_per_sentence"]] == [20.0, 40.0, 50.0]
    lost = COMPARED.to_frame().set_index("language")
    assert lost["relative"].to_dict() == {"de": -0.25, "hi": 0.25, "sw": 0.1}
    assert lost["name"]["sw"] == "Swahili"
    assert lost["seen"].to_dict() == {"de": True, "hi": False, "sw": True}
    assert lost["low"].isna().all()  # one sentence has no interval
    assert lost.dtypes[["low", "high"]].tolist() == ["float64", "float64"]
    assert [*lost.columns[6:9]] == ["relative", "low", "high"]


def test_a_frame_of_several_comparisons_has_them_side_by_side() -> None:
    other = Comparison.of(DENSE, evaluation("some/where/other", 2.0))
    both = COMPARED.to_frame(other)["relative"]
    assert both["other"].to_dict() == {"de": -0.1, "hi": 0.1, "sw": 0.04}
    assert len(both.columns) == 2


@pytest.mark.parametrize("show", ["to_frame", "plot"])
def test_comparisons_with_other_baselines_do_not_stand_together(show: str) -> None:
    lost = evaluation("other", 2.0)
    near = {tag: replace(one, sentence_nll=(one.nll * (1 + 1e-6),))
            for tag, one in DENSE.languages.items()}  # fmt: skip
    moved = replace(DENSE, model="elsewhere/dense", languages=near)
    assert len(COMPARED.to_frame(Comparison.of(moved, lost))) == 3
    third = Comparison.of(evaluation("third", 0.1), lost)
    with pytest.raises(InputError, match="expected comparisons with one baseline, found dense and"):
        getattr(COMPARED, show)(third)


def test_a_swapped_comparison_is_warned_of(
    tiny: Tiny, pruned: Any, caplog: pytest.LogCaptureFixture
) -> None:
    dense, made = str(tiny("llama")), str(pruned.folder)
    of = {name: evaluation(name, raised) for name, raised in ((dense, 0.0), (made, 5.0))}
    assert "worst Hindi +25.0%" in repr(Comparison.of(of[dense], of[made]))
    assert not caplog.records
    Comparison.of(of[made], of[dense])
    assert "swap them" in caplog.text


def test_a_frame_of_a_prune_and_of_its_plan(tiny: Tiny, pruned: Any, tmp_path: Path) -> None:
    frame = pruned.to_frame()
    assert len(frame) == len(pruned.manifest.linears)
    assert (frame["rows"] * frame["columns"]).sum() == pruned.manifest.totals.weights
    assert frame.equals(pruned.manifest.to_frame())
    plan = mwanda.plan(tiny("llama"), calibration=windows_file(tmp_path), sparsity=0.25,
                       criterion="wanda", allocation="uniform")  # fmt: skip
    row = plan.to_frame().iloc[0]
    assert (len(plan.to_frame()), row["removed"] * 4) == (1, row["weights"])
    assert row["languages"] == ", ".join(plan.languages)
    method = "criterion: wanda, allocation: uniform, mode: sequential"
    for one in (plan, pruned):
        assert method.rpartition(" ")[0] in repr(one)
    assert plan.method == method
    shown = Cells(plan._repr_html_()).cells
    assert shown[:4] == ["method", method, "step 1", plan.steps[0]]
    assert shown[-1].endswith(" GB")


class Cells(HTMLParser):
    """Words of every cell, colours of bars, and tags."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.cells: list[str] = []
        self.bars: list[str] = []
        self.tags: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        style = dict(attrs).get("style") or ""
        if tag == "td":
            self.cells.append("")
        elif tag == "div" and style.startswith("width:"):
            self.bars.append(style.split(";")[0])

    def handle_data(self, data: str) -> None:
        if self.cells:
            self.cells[-1] += data


def test_a_notebook_shows_the_table_with_bars_and_no_markup_of_names() -> None:
    page = Cells(COMPARED._repr_html_())
    rows = COMPARED.table()[1]
    assert [one for one in page.cells if one] == [text for row in rows for text in row if text]
    assert page.bars == ["width:10.00em", "width:10.00em", "width:4.00em"]
    assert "img" not in page.tags
    assert len(Cells(DENSE._repr_html_()).bars) == 3


def test_colours_are_the_notebooks_own() -> None:
    """Light or dark: no text or ground has a colour of ours."""
    page = COMPARED._repr_html_()
    assert "color:inherit" in page
    assert "background:#fff" not in page
    assert "color:#" not in page.replace("background:#", "")


def test_a_prune_and_a_plan_in_a_notebook(tiny: Tiny, pruned: Any) -> None:
    page = Cells(pruned._repr_html_())
    assert page.cells[2::4] == ["50.00%"] * 3
    assert Sheet.of([{"a": 1, "b": None}]).rows == [["a", "1"], ["b", "–"]]


def test_a_long_table_says_what_it_leaves_out() -> None:
    sheet = Sheet(["n"], [[str(n)] for n in range(MOST_ROWS + 7)])
    assert "7 rows more" in sheet_html("t", sheet)
    assert len(Cells(sheet_html("t", sheet)).cells) == MOST_ROWS


CUT = "x" * 77 + "..."


@pytest.mark.parametrize(
    ("value", "short", "shown"),
    [(True, "True", "yes"), (1234567, "1234567", "1,234,567"), (float("nan"), "nan", "–"),
     (0.123456, "0.1235", "0.1235"), ((1, 2), "<2>", "<2>"), ("x" * 99, CUT, CUT)],
)  # fmt: skip
def test_values_in_words(value: Any, short: str, shown: str) -> None:
    assert (in_short(value), cell(value)) == (short, shown)


def test_without_pandas_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"to_frame: .*pip install 'mwanda\[notebook\]'"):
        DENSE.to_frame()
