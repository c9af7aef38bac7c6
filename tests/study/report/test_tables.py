"""Tables line up, survive Markdown, and say what they should."""

from __future__ import annotations

import re

import pytest

from mwanda.errors import InputError
from mwanda.evaluation.language import LanguageResult
from mwanda.evaluation.results import Comparison, Evaluation
from mwanda.study.report.side_by_side import method_rows
from mwanda.system.text_tables import markdown, plain


def evaluation(nll: dict[str, float], seen: tuple[str, ...] = (), text: str = "same") -> Evaluation:
    languages = {tag: LanguageResult(tag, (value, value), 10, 50) for tag, value in nll.items()}
    return Evaluation("m", languages, seen, "text", text)


DENSE = evaluation({"de": 20.0, "hi": 50.0, "sw": 40.0})
PRUNED = evaluation({"de": 21.0, "hi": 60.0, "sw": 39.0}, seen=("de", "sw"))


def test_columns_line_up() -> None:
    text = plain(["a", "bb"], [["long name", "1"], ["x", "22.5"]])
    assert text.splitlines() == [
        "a            bb",
        "---------  ----",
        "long name     1",
        "x          22.5",
    ]
    assert plain(["a"], []) == "a\n-"


def split_row(line: str) -> list[str]:
    """The cells that GitHub sees: a bar after an unpaired backslash belongs to its cell."""
    cells, cell, escaped = [], "", False
    for letter in line.strip()[1:-1]:
        if letter == "|" and not escaped:
            cells.append(cell.strip())
            cell = ""
        elif escaped or letter != "\\":
            cell += letter
        escaped = letter == "\\" and not escaped
    return [*cells, cell.strip()]


@pytest.mark.parametrize(
    "cell", ["plain", "a|b", "a\\|b", "a\\", "\\\\", "|", "a\\\\|b", "tail\\|"]
)
def test_a_cell_stays_one_cell(cell: str) -> None:
    lines = markdown(["h", "i"], [[cell, "1"]]).splitlines()
    assert lines[1] == "| --- | ---: |"
    assert split_row(lines[2]) == [cell, "1"]


@pytest.mark.parametrize("cell", ["a\nb", "a\r\nb", "a\rb", "a\u2028b"])
def test_a_cell_stays_on_its_line(cell: str) -> None:
    assert markdown(["h"], [[cell]]).splitlines()[2:] == ["| a b |"]


def test_a_cell_brings_no_markup() -> None:
    assert "<" not in markdown(["h"], [["<script>alert(1)</script>"]])


def test_one_model() -> None:
    lines = plain(*PRUNED.table()).splitlines()
    assert lines[0].split()[0] == "language"
    assert [line.split()[0] for line in lines[2:]] == ["de", "hi", "sw", "mean"]
    assert "(unseen)" in lines[3]
    assert "(unseen)" not in lines[2]
    assert lines[-1].split() == ["mean", "40.00"]
    assert "unseen" not in plain(*DENSE.table())  # a dense model has seen nothing in particular
    row = lines[2].split()
    assert row[-5:] == ["2", "21.00", "4.2000", "66.69", "1.2119"]


def test_against_a_baseline() -> None:
    header, rows = Comparison.of(DENSE, PRUNED).table()
    assert all(len(row) == len(header) for row in rows)
    by_name = {row[0].split()[0] if i < 3 else row[0]: row for i, row in enumerate(rows)}
    assert by_name["de"][1:5] == ["20.00", "21.00", "+1.00", "+5.0%"]
    assert by_name["sw"][3:5] == ["-1.00", "-2.5%"]
    assert by_name["mean"][3:5] == ["+3.33", "+7.5%"]
    assert by_name["mean seen"][3:5] == ["+0.00", "+1.2%"]
    assert by_name["mean unseen"][3:5] == ["+10.00", "+20.0%"]
    assert by_name["worst: hi"][3:5] == ["+10.00", "+20.0%"]
    assert "worst: hi" in plain(*Comparison.of(DENSE, PRUNED).table())


def test_methods_side_by_side() -> None:
    other = evaluation({"de": 22.0, "hi": 50.0, "sw": 48.0})
    header, rows = method_rows(DENSE, {"m-wanda": PRUNED, "wanda": other}, ["de", "sw"])
    assert header == ["language", "script", "dense", "m-wanda", "wanda"]
    assert all(len(row) == len(header) for row in rows)
    assert [row[0].split()[0] for row in rows[:3]] == ["de", "sw", "hi"]
    assert rows[2][0].endswith("(unseen)")
    assert rows[2][1:3] == ["Deva", "50.00"]
    assert rows[0][3:] == ["+5.0%", "+10.0%"]
    named = {row[0]: row[2:] for row in rows[3:]}
    assert named == {
        "mean": ["36.67", "+7.5%", "+10.0%"],
        "mean seen": ["30.00", "+1.2%", "+15.0%"],
        "mean unseen": ["50.00", "+20.0%", "+0.0%"],
        "worst": ["", "hi +20.0%", "sw +20.0%"],
    }
    with pytest.raises(InputError, match="the same texts"):
        method_rows(DENSE, {"x": evaluation({"de": 1.0}, text="other")}, [])


def test_sentences_are_those_that_were_scored() -> None:
    one = LanguageResult("de", (0.0, 6.0), 3, 4, unscored=1)
    table = plain(*Evaluation("m", {"de": one}, (), "text", "same").table())
    assert re.search(r"German +1 +6\.00", table)
