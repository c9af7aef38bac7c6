"""The search for constants: what it tries is the library's, and its tables follow."""

from __future__ import annotations

import json
import re
from argparse import Namespace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mwanda import Recipe
from mwanda.methods.kinds import defaults_of
from mwanda.methods.registry import ALLOCATIONS, CRITERIA, RECONSTRUCTIONS
from mwanda.pruning.recipe.by_name import find_recipe
from mwanda.pruning.recipe.resolved import resolve
from mwanda.pruning.recipe.yaml_file import load_recipe
from mwanda.study.document import StudyDocument
from mwanda.study.grid import points
from tests.support import REPOSITORY

ROOT = REPOSITORY / "benchmarks"


@pytest.fixture
def search(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT))
    import constants

    return constants


def without_name(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name != "name"}


def test_the_defaults_are_what_the_library_does(search: Any) -> None:
    """A changed default must be written into the file, or its cells would be the old one's."""
    methods = search.METHODS
    assert resolve(Recipe.build(methods["m-wanda, the defaults"])) == resolve(Recipe.build({}))
    saved = resolve(Recipe.build({}), saved=True)
    assert resolve(Recipe.build(methods["m-wanda, cwl"])) == saved
    admm = methods["admm"]["reconstruction"]
    assert without_name(admm) == defaults_of(RECONSTRUCTIONS["admm"])


@pytest.mark.parametrize("kind", ["0.3", "2:4"])
def test_every_method_is_a_recipe_with_nothing_left_open(search: Any, kind: str) -> None:
    rows = {"criterion": CRITERIA, "allocation": ALLOCATIONS, "reconstruction": RECONSTRUCTIONS}
    for fields in search.METHODS.values():
        made = fields | search.asked(kind)
        Recipe.build(made | {"languages": search.FILE["languages"]["fifteen"]})
        for part, table in rows.items():
            if (method := fields.get(part)) is not None:
                assert without_name(method).keys() == defaults_of(table[method["name"]]).keys()


def test_every_row_is_a_method_and_every_method_a_row(search: Any) -> None:
    asked = {method for rows in search.QUESTIONS.values() for method in rows.values()}
    assert asked == search.METHODS.keys()
    plain = [json.dumps(fields, sort_keys=True) for fields in search.METHODS.values()]
    assert len(set(plain)) == len(plain)  # none is run twice under two names


def test_a_study_has_every_method_of_its_questions_once(
    search: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "dense_model", lambda *_: "dense")
    given = Namespace(model="m", questions=["parts", "criterion"], text="udhr", sentences=None,
                      sparsities=["0.4", "2:4"], seeds=[0, 1], data=Path("data"),
                      work=Path("work"))  # fmt: skip
    name, fields = search.study(given)
    assert name == "m-udhr-48"
    assert fields["evaluation"]["text"] == "data/udhr"
    grid, problems = points(StudyDocument.model_validate(fields), "here")
    assert not problems
    found = {(point.method, point.seed) for point in grid}
    assert {("m-wanda, cwl, 0.4", seed) for seed in (0, 1)} < found
    # With a pattern every allocation is uniform: the first of them stands for all.
    assert ("m-wanda, the defaults, 2:4", 0) in found
    assert not any(method in ("m-wanda, cwl, 2:4", "wanda, cwl, 2:4") for method, _ in found)
    assert len(found) == 2 * (10 + 8) - 2  # magnitude reads no text: one cell for both seeds


def test_what_a_study_measured_joins_what_was_there(search: Any, tmp_path: Path) -> None:
    def found(*cells: tuple[str, int | None, float]) -> Any:
        entries = [SimpleNamespace(method=m, seed=s, key=f"{m}{s}") for m, s, _ in cells]
        rows = {
            f"{m}{s}": {"languages": {"de": {"sentence_nll": [nats, 2.00004]}}}
            for m, s, nats in cells
        }
        plan = SimpleNamespace(text_sha256="ab", ids=(3, 9), entries=entries)
        return SimpleNamespace(plan=plan, cells=rows)

    path = tmp_path / "new" / "m.json"
    search.Measured.of(path).add(found(("dense", None, 1.0), ("a, 0.5", 0, 1.1)))
    search.Measured.of(path).add(found(("dense", None, 1.0), ("a, 0.5", 1, 1.2)))
    made = search.Measured.of(path)
    assert made.ids == [3, 9]
    assert made.cells == {
        "dense": {"de": [1.0, 2.0]}, "a, 0.5, seed 0": {"de": [1.1, 2.0]},
        "a, 0.5, seed 1": {"de": [1.2, 2.0]},
    }  # fmt: skip
    assert len(path.read_text().splitlines()) == 5  # a cell a line


def test_a_page_shows_what_the_cells_say(search: Any, tmp_path: Path) -> None:
    tags = search.FILE["texts"]["tuning"]["languages"]
    factors = {"dense": 1.0, "wanda, uniform, 0.5, seed 0": 1.2, "wanda, uniform, 0.5, seed 1": 1.4,
               "m-wanda, cwl, 0.5, seed 0": 1.1}  # fmt: skip
    cells = {key: dict.fromkeys(tags, [100.0 * factor] * 6) for key, factor in factors.items()}
    file = tmp_path / "gemma3-270m-tuning-12-bfloat16.json"
    ids = [1, 30, 60, 90, 120, 150]
    file.write_text(json.dumps({"text_sha256": "", "ids": ids, "cells": cells}))
    text = search.filled(
        "a\n<!-- constants: parts -->\nold\n<!-- end of constants -->\n"
        "<!-- constants: parts sparsity=0.6 -->\n<!-- end of constants -->\n",
        tmp_path,
    )
    rows = [line.split(" | ") for line in text.splitlines() if " | " in line]
    assert rows[2][:4] == ["| wanda, uniform", "0 1", "+30.00%", "1.000 (1.000 to 1.000)"]
    assert rows[3][:4] == ["| m-wanda, cwl", "0", "+10.00%", "0.500 (0.500 to 0.500)"]
    assert rows[3][6] == "en +10.00%"
    assert len(rows) == 4
    assert "old" not in text
    assert text.count("Not measured: ") == 2
    assert "wanda, cwl; m-wanda without activity, cwl; m-wanda, uniform." in text
    assert "Not measured: wanda, uniform; " in text  # at 60 % there is nothing


def test_under_a_pattern_allocations_are_alike(search: Any) -> None:
    def distinct(question: str, kind: str) -> list[str]:
        return list({search.alike(m, kind): None for m in search.QUESTIONS[question].values()})

    assert distinct("defaults", "0.5") == list(search.QUESTIONS["defaults"].values())
    assert distinct("defaults", "2:4") == [
        "wanda, uniform", "m-wanda, the defaults", "m-wanda, the defaults, normalised",
        "wanda, normalised", "wanda, first token left out", "wanda, English, 60 windows",
        "ria, a = 1, uniform", "magnitude, uniform", "best quality",
    ]  # fmt: skip
    assert distinct("cwl", "2:4") == ["m-wanda, the defaults"]


TABLES = ("constants-tables.md", "constants-at-other-sparsities.md")


def test_the_pages_say_what_the_results_say(search: Any) -> None:
    for name in TABLES:
        page = (ROOT.parent / "docs" / name).read_text(encoding="utf-8")
        assert search.filled(page, ROOT / "results" / "constants") == page


def test_every_number_of_the_findings_stands_in_a_table() -> None:
    docs = ROOT.parent / "docs"
    tables = "".join((docs / name).read_text(encoding="utf-8") for name in TABLES)
    told = re.findall(r"\d\.\d{3}", (docs / "constants.md").read_text(encoding="utf-8"))
    assert told
    assert [number for number in told if number not in tables] == []


TEXT = {
    "windows": 12, "background": "udhr", "background_windows": 315, "background_weight": 0.4,
}  # fmt: skip
"""What benchmarks/recovery.py was run with."""


def test_the_best_recipe_is_what_was_confirmed(search: Any) -> None:
    given = load_recipe(find_recipe("best-quality"))
    made = {"mode": "dense", **search.FILE["recipe"], **search.METHODS["best quality"], **TEXT}
    one, other = (resolve(Recipe.build(fields)) for fields in (made, given))
    assert one == other
