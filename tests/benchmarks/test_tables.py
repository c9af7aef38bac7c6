"""Tables of results that stand in the documentation."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

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


def test_the_table_of_modes_follows_from_its_comparisons(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(REPOSITORY / "benchmarks"))
    import modes

    text = (REPOSITORY / "benchmarks" / "results" / "modes.json").read_text(encoding="utf-8")
    data = json.loads(text)
    assert modes.table(data["comparisons"]) == data["table"]
