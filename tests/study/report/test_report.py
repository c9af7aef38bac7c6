"""The report of a study: its numbers, its structure, and names that are markup."""

from __future__ import annotations

import csv
import re
from itertools import pairwise
from pathlib import Path

import pytest

from mwanda import InputError
from mwanda.study.report.cells import label_of
from mwanda.study.report.csv_files import ALWAYS, SOMETIMES, TASKS, language_rows
from mwanda.study.report.data import Group, load_results
from mwanda.study.report.elements import Table
from mwanda.study.report.language_families import families, family_of, script_name
from mwanda.study.report.other_sections import in_short, provenance
from mwanda.study.report.write import FILES, write_report
from mwanda.text.languages import canonical
from tests.study.report.helpers import ALL, GRID, LESS, NASTY, Page, html, page, study


def test_the_numbers(tmp_path: Path) -> None:
    (model,) = load_results(study(tmp_path, GRID)).models
    first = model.group("first", 0.3)
    second = model.group("second", 0.3)
    assert first is not None
    assert second is not None
    loss = model.loss(first)
    assert {tag: d.mean for tag, d in loss.languages.items()} == pytest.approx(ALL, abs=1e-3)
    assert loss.mean.mean == pytest.approx(0.35 / 3, abs=1e-3)
    assert loss.worst == "hi"
    assert loss.certain == 3
    assert model.loss(second).certain == 2  # Swahili's noise is none
    assert loss.over(["de", "sw"]) == pytest.approx(0.075, abs=1e-3)
    assert loss.over([]) is None
    apart = model.against(first, second)
    assert apart.languages["sw"].mean == pytest.approx(0.1, abs=1e-3)
    assert not apart.languages["hi"].significant
    assert (model.seen_by_any, model.unseen_by_all) == (("de", "sw"), ("hi",))
    assert first.blocks == {0: pytest.approx(0.2), 1: pytest.approx(0.4)}


def test_seeds_are_averaged_and_their_spread_told(tmp_path: Path) -> None:
    twice = {("m", 0.5, 0): ALL, ("m", 0.5, 1): {tag: 3 * x for tag, x in ALL.items()}}
    (model,) = load_results(study(tmp_path, twice)).models
    group = model.group("m", 0.5)
    assert group is not None
    assert model.loss(group).languages["hi"].mean == pytest.approx(0.4, abs=1e-3)
    assert model.seeds_apart(group) == pytest.approx((0.35 / 3, 0.35), abs=1e-3)


def test_the_page_is_well_formed_and_needs_nothing(tmp_path: Path) -> None:
    text = html(study(tmp_path, GRID))
    found = Page(text)
    assert next(found.all("html"))["lang"] == "en"
    ids = [a["id"] for _, a in found.elements if "id" in a]
    assert len(ids) == len(set(ids))
    assert not list(found.all("script"))
    for name in ("src", "href", "aria-labelledby"):
        for _, attributes in found.elements:
            value = attributes.get(name)
            if value is None:
                continue
            if name == "aria-labelledby" or value.startswith("#"):
                assert value.removeprefix("#") in ids
            else:
                assert value == "data:,"
    assert "http:" not in text.replace("http-equiv", "")
    assert "https:" not in text
    assert "url(" not in text
    assert re.search(r"prefers-color-scheme: dark", text)
    assert len(text.encode()) < 3_000_000


def test_tables_can_be_read_by_ear(tmp_path: Path) -> None:
    found = page(study(tmp_path, GRID))
    tables = len(list(found.all("table")))
    assert tables == len(list(found.all("caption"))) >= 8
    assert all(a["scope"] in ("col", "row") for a in found.all("th"))
    regions = [a for a in found.all("div") if a.get("class") == "scroll"]
    assert len(regions) == tables
    assert all(a["tabindex"] == "0" and a["role"] == "region" for a in regions)
    levels = [int(tag[1]) for tag, _ in found.elements if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


def test_every_number_is_in_a_table(tmp_path: Path) -> None:
    words = page(study(tmp_path, GRID)).words
    for rise in ("+20.0%", "+40.0%", "+10.0%", "+5.0%", "+4.0%"):
        assert rise in words
    assert {"+0.0%°", "-0.0%°"} & {*words}  # Swahili under the second: not significant
    assert "not significant" in " ".join(words) or "loses less" in " ".join(words)
    assert "second loses less" in words


def test_a_row_of_a_csv_file_has_a_value_for_every_name_of_the_header(tmp_path: Path) -> None:
    results = load_results(study(tmp_path, GRID))
    (model,) = results.models
    checks = {"texts": 2, "empty": 0, "other_language": 0.0, "repetitive": 0.0}
    checked = {"outputs": checks, "references": checks}
    signatures = {"bleu": "x", "chrf++": "y"}
    sizes = {"bytes": 1, "source_bytes": 2, "tensors": 3, "kept": []}
    results.cells["cell0"] |= {
        "generated": {"de": checked},
        "translation": {"de-sw": checked | {"bleu": 1.0, "chrf++": 2.0, "signatures": signatures}},
        "tasks": {"xcopa": {"de": dict.fromkeys(TASKS, 1)}},
    }
    model.quantised["Q8_0"] = Group(
        "Q8_0", 0.0, {None: results.cells["cell0"] | {"quantised": sizes}}, model.languages
    )
    for name, (header, make) in (ALWAYS | SOMETIMES).items():
        rows = list(make(results))
        assert rows, f"add something for {name} above"
        assert {len(row) for row in rows} == {len(header)}, name


def test_steps_of_a_recovery_that_may_end_early_are_said_to_be_the_most(tmp_path: Path) -> None:
    results = load_results(study(tmp_path, GRID))
    results.cells["cell0"] |= {"recovery_steps": 5}
    recipe = results.cells["cell0"]["settings"]["recipe"]

    def told() -> list[str]:
        table = provenance(results).groups[0][1][-1]
        assert isinstance(table, Table)
        return [row[table.header.index("recovery")] for row in table.rows]

    assert told()[0] == "5 steps of 1 window"
    recipe["recover"] = {"patience": 2}
    assert told()[0] == "at most 5 steps of 1 window"


def test_a_table_whose_rows_do_not_fit_is_not_made() -> None:
    assert Table("t", ["a", "b"], [["x", "y"]], words=("b",)).words == ("b",)
    with pytest.raises(ValueError, match=r"t: .*'b'.* do not fit"):
        Table("t", ["a", "b"], [["x", "y"], ["z"]])
    with pytest.raises(ValueError, match="c"):
        Table("t", ["a", "b"], [["x", "y"]], words=("c",))


def test_names_that_are_markup_stay_names(tmp_path: Path) -> None:
    rises = {(NASTY, 0.3, 0): ALL, ("plain", 0.3, 0): LESS}
    folder = study(tmp_path, rises, model=NASTY)
    text = html(folder)
    found = Page(text)
    assert not list(found.all("img"))
    assert "onerror" in text
    assert all("onerror" not in attributes for _, attributes in found.elements)
    assert any(NASTY in word for word in found.words)
    written = (folder.path / "report" / "report.md").read_text(encoding="utf-8")
    body, _, document = written.partition("## The study as it was written")
    assert "<img" not in body
    assert document.count("```") == 2
    rows = [line for line in body.splitlines() if line.startswith("| ")]
    cells = {len(re.split(r"(?<!\\)\|", row)) for row in rows if "onerror" in row}
    assert min(cells) > 2


def test_csv_has_every_number_and_no_formula(tmp_path: Path) -> None:
    folder = study(tmp_path, {("=cmd()", 0.3, 0): ALL}, model="@m")
    write_report(folder.path, tmp_path / "out")
    with (tmp_path / "out" / "languages.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6
    hindi = next(r for r in rows if r["language"] == "hi" and r["method"] == "'=cmd()")
    assert float(hindi["relative_rise"]) == pytest.approx(0.2, abs=1e-3)
    assert (hindi["model"], hindi["script"], hindi["seen"]) == ("'@m", "Devanagari", "False")
    assert hindi["family"] == "Indo-European: Indo-Iranian"
    how = [hindi[name] for name in ("criterion", "allocation", "reconstruction", "recovery_steps",
                                    "calibration")]  # fmt: skip
    assert how == ["wanda", "cwl", "", "", "de sw"]
    assert {r["criterion"] for r in rows if r["method"] == "dense"} == {""}
    with (tmp_path / "out" / "differences.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [r["language"] for r in rows] == ["", "de", "hi", "sw"]
    assert {(r["first"], r["second"], r["significant"]) for r in rows} == {
        ("'=cmd()", "dense", "True")
    }
    assert float(rows[2]["low"]) < float(rows[2]["difference"]) < float(rows[2]["high"])
    with (tmp_path / "out" / "blocks.csv").open(encoding="utf-8", newline="") as file:
        assert [r["block_sparsity"] for r in csv.DictReader(file)] == ["0.19999999999999998", "0.4"]


def test_a_sparsity_has_the_digits_that_it_needs(tmp_path: Path) -> None:
    folder = study(tmp_path, {("3:8", 0.625, 0): ALL, ("5:8", 0.375, 0): ALL})
    write_report(folder.path, tmp_path / "out")
    written = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert "62.5%" in written
    assert not {"62%", "63%", "38%"} & set(re.findall(r"(?<![.\d])\d+%", written))


def test_languages_that_calibrate_need_not_be_scored(tmp_path: Path) -> None:
    folder = study(tmp_path, {("m", 0.5, 0): ALL})
    plan = folder.read_plan()
    found = folder.result("cell0") or {}
    found["settings"]["recipe"]["languages"] = ["zh-Hans", "sw"]
    folder.write_result("cell0", {**found, "seen": ["sw"]})
    folder.write_plan(plan)
    results = load_results(folder)
    (row,) = {row[8] for row in language_rows(results) if row[1] == "m"}
    assert row == "zh-Hans sw"
    marks = {tag: "unseen" in label_of(results.models[0], tag) for tag in ("zh-Hans", "sw", "fr")}
    assert marks == {"zh-Hans": False, "sw": False, "fr": True}


def test_a_background_is_that_of_every_seed(tmp_path: Path) -> None:
    folder = study(tmp_path, {("m", 0.5, 0): ALL, ("m", 0.5, 1): ALL})
    found = folder.result("cell1") or {}
    folder.write_result("cell1", {**found, "background": ["hi"]})
    assert load_results(folder).models[0].background_of_any == ("hi",)


def test_what_a_method_is_does_not_come_from_its_point_at_zero(tmp_path: Path) -> None:
    folder = study(tmp_path, {("m", 0.0, 0): ALL, ("m", 0.5, 1): ALL})
    found = folder.result("cell0") or {}
    found["settings"]["calibration"] = None
    folder.write_result("cell0", found)
    write_report(folder.path, tmp_path / "out")
    written = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert (
        "| m | wanda (norms=raw) | cwl | none | none | unstructured | dense | 2 × 32 |" in written
    )


def test_an_unfinished_study_says_so(tmp_path: Path) -> None:
    folder = study(tmp_path, GRID, left_out=("cell0", "cell3"))
    folder.write_failure("cell3", ["no <b>room</b>"])
    words = " ".join(page(folder).words)
    assert "are done, points of the grid that failed: 1, still to be computed: 1, so" in words
    assert "tiny, second, 0.5, seed 0" in words
    assert "no <b>room</b>" in words


def test_without_the_dense_model_nothing_is_compared(tmp_path: Path) -> None:
    folder = study(tmp_path, GRID, dense=False)
    assert "nothing can be compared" in " ".join(page(folder).words)
    (tmp_path / "empty").mkdir()
    none = study(tmp_path / "empty", GRID, left_out=("cell0", "cell1", "cell2", "cell3"))
    assert "No pruned model has a result yet." in page(none).words


def test_text_that_is_not_parallel_is_told(tmp_path: Path) -> None:
    words = " ".join(page(study(tmp_path, GRID, ids=False)).words)
    assert "not parallel" in words


def test_an_older_report_is_replaced_only_if_asked(tmp_path: Path) -> None:
    folder = study(tmp_path, GRID)
    out = tmp_path / "out"
    written = write_report(folder.path, out)
    assert [path.name for path in written] == [*FILES]
    assert all(path.is_file() for path in written)
    with pytest.raises(InputError, match="--overwrite"):
        write_report(folder.path, out)
    first = {path: path.read_bytes() for path in written}
    write_report(folder.path, out, overwrite=True)
    assert {path: path.read_bytes() for path in written} == first
    (out / "pictures").mkdir()
    (out / "pictures" / "mine.png").write_text("mine")
    with pytest.raises(InputError, match=r"pictures; choose another --out"):
        write_report(folder.path, out, overwrite=True)
    (out / "pictures" / "mine.png").unlink()
    (out / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match=r"mine\.txt; choose another --out"):
        write_report(folder.path, out, overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "study"]


def test_a_damaged_result_is_named(tmp_path: Path) -> None:
    folder = study(tmp_path, GRID)
    (folder.path / "cells" / "cell1.json").write_text("{")
    with pytest.raises(InputError, match=r"cell1\.json.*delete the file"):
        write_report(folder.path, tmp_path / "out")


def test_families_are_of_known_languages_and_told_with_scripts() -> None:
    table = families()
    assert len(table) > 100
    assert all(canonical(tag).split("-")[0] for tag in table)
    assert family_of("zh-Hant", table) == "Sino-Tibetan"
    assert family_of("sw", table) == "Atlantic-Congo"
    assert family_of("tlh", table) == "not listed"
    assert (script_name("ta"), script_name("de")) == ("Tamil", "Latin")


@pytest.mark.parametrize(("sentences", "said"), [
    (2, "too little text to be sure of a language"), (12, "languages significantly worse"),
])  # fmt: skip
def test_little_text_is_not_told_as_no_loss(tmp_path: Path, sentences: int, said: str) -> None:

    results = load_results(study(tmp_path, GRID, sentences=sentences, ids=False))
    assert str(in_short(results).groups).count(said) == 4
