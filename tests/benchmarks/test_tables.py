"""Tables of results that stand in the documentation."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mwanda.study.document import StudyDocument
from mwanda.study.grid import points
from tests.support import REPOSITORY


def test_a_marked_table_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(REPOSITORY / "benchmarks"))
    from performance_table import fill

    table = {"header": ["language", "rise"], "rows": [["de", "+1.0%"]]}
    (tmp_path / "modes.json").write_text(json.dumps({"table": table}))
    text = "before\n<!-- table: modes -->\nold\n<!-- end of table -->\nafter\n"
    made = fill(text, tmp_path)
    assert "old" not in made
    assert "| de | +1.0% |" in made
    assert made.startswith("before\n")
    assert made.endswith("\nafter\n")
    assert fill(made, tmp_path) == made


STUDIES = ("languages", "modes", "study", "translation", "tasks", "trimmed")


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_file_is_a_study(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(REPOSITORY / "benchmarks"))
    from studies import placed, read_file
    from study_tables import TABLES

    assert TABLES.keys() == {*STUDIES}
    document = StudyDocument.model_validate(placed(read_file(name), Path("data")))
    assert document.evaluation.text == "data/flores"
    grid, problems = points(document, name)
    assert not problems
    assert {point.method for point in grid} == set(document.methods)
