"""The search for constants: its prunes are the library's, its cells are kept, its tables follow."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

import mwanda
from mwanda import InputError, Recipe, RunOptions
from mwanda.methods.kinds import defaults_of
from mwanda.methods.registry import ALLOCATIONS, CRITERIA, RECONSTRUCTIONS
from mwanda.pruning.recipe.by_name import find_recipe
from mwanda.pruning.recipe.resolved import resolve
from mwanda.pruning.recipe.yaml_file import load_recipe
from tests.pruning.pipeline.helpers import Tiny, windows_object
from tests.support import REPOSITORY

ROOT = REPOSITORY / "benchmarks"
NAMES = ("cells", "comparisons", "grids", "minimax", "pages", "runner")


@pytest.fixture
def search(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT))
    monkeypatch.syspath_prepend(str(ROOT / "constants"))
    found: dict[str, ModuleType] = {name: __import__(name) for name in NAMES}
    return SimpleNamespace(**found)


def without_name(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name != "name"}


def test_the_defaults_are_what_the_library_does(search: Any) -> None:
    """A changed default must be written into the grids, or its cells would be the old one's."""
    assert resolve(Recipe.build(search.grids.DEFAULTS)) == resolve(Recipe.build({}))
    assert resolve(Recipe.build(search.grids.BASE)) == resolve(Recipe.build({}), saved=True)
    assert without_name(search.grids.ADMM) == defaults_of(RECONSTRUCTIONS["admm"])


@pytest.mark.parametrize("fields", [{"sparsity": 0.3}, {"pattern": "2:4"}])
def test_every_variant_is_a_recipe_with_nothing_left_open(
    search: Any, fields: dict[str, Any]
) -> None:
    rows = {"criterion": CRITERIA, "allocation": ALLOCATIONS, "reconstruction": RECONSTRUCTIONS}
    lists = [*search.grids.QUESTIONS.values(), search.grids.FINALISTS]
    for variant in (variant for variants in lists for variant in variants.values()):
        cell = search.cells.Cell.of("m", search.cells.TUNING, variant, 0, **fields)
        Recipe.build(cell.settings["recipe"])
        for kind, table in rows.items():
            if method := cell.settings["recipe"].get(kind):
                assert without_name(method).keys() == defaults_of(table[method["name"]]).keys()


RECIPES: list[dict[str, Any]] = [
    {"criterion": "wanda", "allocation": "uniform"},
    {"criterion": {"name": "m-wanda", "activity": "sign", "norms": "normalised"}},
    {"criterion": "m-wanda", "allocation": "owl", "skip_first_tokens": 1, "sparsity": 0.4},
    {"criterion": "wanda", "allocation": "uniform", "language_weights": {"de": 3.0}},
    {"criterion": "wanda", "allocation": "cwl", "reconstruction": "admm", "mode": "dense"},
    {"criterion": "wanda", "allocation": {"name": "measured", "windows": 1}},
    {"criterion": "wanda", "allocation": {"name": "measured", "compare": "every"}},
    {"criterion": "wanda", "allocation": "measured", "allocation_level": "linear"},
    {"pattern": "2:4"},
]


def test_a_prune_from_kept_statistics_is_the_librarys(
    search: Any, tiny: Tiny, tmp_path: Path
) -> None:
    dense = AutoModelForCausalLM.from_pretrained(tiny("llama")).state_dict()
    options, windows = RunOptions(device="cpu"), windows_object()
    bench = search.runner.Bench(tiny("llama"), options)
    for fields in RECIPES:
        recipe = resolve(Recipe.build(fields))
        skip, gram = recipe.skip_first_tokens, recipe.reconstruction is not None
        evidence: dict[str, Any] = {"calibration": windows}
        if recipe.probe is None:
            path = tmp_path / f"statistics-{skip}-{gram}.safetensors"
            evidence = {"statistics": bench.measure(windows, path, skip=skip, gram=gram)}
        bench.prune(recipe, **evidence)
        plain = AutoModelForCausalLM.from_pretrained(tiny("llama")).eval()
        mwanda.prune(plain, calibration=windows_object(), recipe=recipe, options=options)
        for name, tensor in plain.state_dict().items():
            torch.testing.assert_close(bench.model.state_dict()[name], tensor, rtol=1e-4, atol=1e-6)
            assert torch.equal(bench.model.state_dict()[name] == 0, tensor == 0), (fields, name)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"statistics-{name}.safetensors" for name in ("0-False", "0-True", "1-False")
    ]
    bench.restore()
    found = bench.model.state_dict()
    assert all(torch.equal(found[name], tensor) for name, tensor in dense.items())


def test_statistics_of_another_kind_are_refused(search: Any, tiny: Tiny, tmp_path: Path) -> None:
    bench = search.runner.Bench(tiny("llama"), RunOptions(device="cpu"))
    file = bench.measure(windows_object(), tmp_path / "statistics.safetensors")
    for fields in (
        {"skip_first_tokens": 1},
        {"reconstruction": "admm"},
        {"mode": "sequential"},
        {"allocation": "measured"},
    ):
        recipe = resolve(Recipe.build({"allocation": "uniform", "mode": "dense"} | fields))
        with pytest.raises(InputError, match=r"statistics|looks at sums"):
            bench.prune(recipe, statistics=file)


def test_what_was_measured_is_not_measured_again(
    search: Any, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = search.runner.Bench(tiny("llama"), RunOptions(device="cpu"))
    path = tmp_path / "statistics.safetensors"
    first = bench.measure(windows_object(), path).read_bytes()
    monkeypatch.setattr(search.runner, "collect_statistics", None)
    assert bench.measure(windows_object(), path).read_bytes() == first
    path.unlink()
    with pytest.raises(TypeError):
        bench.measure(windows_object(), path)
    assert not path.exists()


def test_a_cell_is_named_by_all_that_decides_it(search: Any) -> None:
    cells, grids = search.cells, search.grids
    text = cells.TUNING
    base = cells.Cell.of("m", text, {}, 0, sparsity=0.5)
    same = cells.Cell.of("m", text, grids.criterion(activity_weight=0.5), 0, sparsity=0.5)
    assert base.key == same.key
    others = [
        cells.Cell.of("n", text, {}, 0, sparsity=0.5),
        cells.Cell.of("m", cells.confirming(8)[0], {}, 0, sparsity=0.5),
        cells.Cell.of("m", text, {}, 1, sparsity=0.5),
        cells.Cell.of("m", text, {}, 0, sparsity=0.6),
        cells.Cell.of("m", text, {"skip_first_tokens": 1}, 0, sparsity=0.5),
        cells.Cell.of("m", text, {"calibration": {"windows": 8}}, 0, sparsity=0.5),
        cells.Cell.dense("m", text),
    ]
    assert len({cell.key for cell in [base, *others]}) == 8


FOUND = {"ids": [1, 30], "languages": {"de": [1.0, 2.5], "sw": [3.0, 4.0]}, "sparsity": 0.5}


def test_cells_are_kept_whole_and_run_once(search: Any, tmp_path: Path) -> None:
    made = [search.cells.Cell.of("m", search.cells.TUNING, {}, seed) for seed in range(3)]
    runner, ran = search.runner.Runner(tmp_path, tmp_path, tmp_path / "results"), []
    runner._run = lambda cell, grams: (ran.append(cell.key), FOUND | {"seconds": {}})[1]
    assert runner.run(made[:2])
    assert runner.run(made)
    assert sorted(ran) == sorted(cell.key for cell in made)
    assert made[0].read(tmp_path / "results") == FOUND | {
        "seconds": {}, "settings": dict(made[0].settings),
    }  # fmt: skip
    runner.until = 0.0
    assert runner.run(made)
    assert not runner.run([search.cells.Cell.of("m", search.cells.TUNING, {}, 9)])
    assert {path.suffix for path in (tmp_path / "results").iterdir()} == {".json"}


def test_weights_move_to_those_that_lose_most(search: Any) -> None:
    first = search.minimax.moved({}, {"de": 0.1, "sw": 0.3})
    assert sum(first.values()) == pytest.approx(2, rel=1e-3)
    assert first["sw"] / first["de"] == pytest.approx(2.718281828 ** (0.5 * (1.5 - 0.5)), rel=1e-3)
    second = search.minimax.moved(first, {"de": 0.2, "sw": 0.2})
    assert second == pytest.approx(first, rel=1e-3)


def write(search: Any, folder: Path, cell: Any, factor: float) -> None:
    """As if every sentence of every language had cost ``factor`` times 100 nats."""
    tags = cell.settings["text"]["languages"]
    languages = {tag: [100.0 * factor] * 6 for tag in tags}
    cell.write(folder, {"ids": [1, 30, 60, 90, 120, 150], "languages": languages, "seconds": {}})


def test_a_page_shows_what_the_cells_say(search: Any, tmp_path: Path) -> None:
    cells, grids = search.cells, search.grids
    text, results = cells.TUNING, tmp_path / "results"
    write(search, results, cells.Cell.dense("gemma3-270m", text), 1.0)
    for seed, factor in ((0, 1.2), (1, 1.4)):
        made = cells.Cell.of("gemma3-270m", text, grids.REFERENCE, seed, sparsity=0.5)
        write(search, results, made, factor)
    write(search, results, cells.Cell.of("gemma3-270m", text, {}, 0, sparsity=0.5), 1.1)
    page = tmp_path / "page.md"
    page.write_text(
        "a\n<!-- constants: parts -->\nold\n<!-- end of constants -->\n"
        "<!-- constants: parts sparsity=0.6 -->\n<!-- end of constants -->\n"
    )
    search.pages.write_page(page, results)
    rows = [line.split(" | ") for line in page.read_text().splitlines() if " | " in line]
    assert rows[2][:4] == ["| wanda, uniform", "0 1", "+30.00%", "1.000 (1.000 to 1.000)"]
    assert rows[3][:4] == ["| m-wanda, cwl", "0", "+10.00%", "0.500 (0.500 to 0.500)"]
    assert rows[3][6] == "en +10.00%"
    assert len(rows) == 4
    assert "old" not in page.read_text()
    text_found = page.read_text()
    assert text_found.count("Not measured: ") == 2
    assert "wanda, cwl; m-wanda without activity, cwl; m-wanda, uniform." in text_found
    assert "Not measured: wanda, uniform; " in text_found  # at 60 % there is nothing
    json.loads(next(results.iterdir()).read_text())


def test_under_a_pattern_allocations_are_alike(search: Any) -> None:
    grids, distinct = search.grids, search.cells.distinct
    variants = grids.QUESTIONS["defaults"]
    assert distinct(variants, {"sparsity": 0.5}) == variants
    found = distinct(variants, {"pattern": "2:4"})
    assert list(found) == [
        "wanda, uniform", "m-wanda, the defaults", "the same, normalised", "wanda, normalised",
        "wanda, first token left out", "wanda, English, 60 windows", "ria, a = 1, uniform",
        "magnitude, uniform", "best quality",
    ]  # fmt: skip
    assert list(distinct(grids.QUESTIONS["cwl"], {"pattern": "2:4"})) == ["uniform"]


TABLES = ("constants-tables.md", "constants-at-other-sparsities.md")


@pytest.mark.parametrize("name", TABLES)
def test_the_page_says_what_the_results_say(search: Any, tmp_path: Path, name: str) -> None:
    page = ROOT.parent / "docs" / name
    copy = Path(shutil.copy(page, tmp_path / "page.md"))
    search.pages.write_page(copy, ROOT / "constants" / "results")
    assert copy.read_text(encoding="utf-8") == page.read_text(encoding="utf-8")


def test_every_number_of_the_findings_stands_in_a_table() -> None:
    docs = ROOT.parent / "docs"
    tables = "".join((docs / name).read_text(encoding="utf-8") for name in TABLES)
    told = re.findall(r"\d\.\d{3}", (docs / "constants.md").read_text(encoding="utf-8"))
    assert told
    assert [number for number in told if number not in tables] == []


def test_the_best_recipe_is_what_was_confirmed(search: Any) -> None:
    fields = dict(search.grids.BEST)
    calibration = search.grids.CALIBRATION | fields.pop("calibration", {})
    given = load_recipe(find_recipe("best-quality"))
    assert (given.pop("windows"), given.pop("window_length")) == (
        calibration["windows"], calibration["length"],
    )  # fmt: skip
    one, other = (Recipe.build(r) for r in ({"mode": "dense"} | fields, given))
    assert resolve(one) == resolve(other)
