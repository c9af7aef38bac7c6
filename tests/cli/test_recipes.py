"""The recipes that come with the library prune as they are, by their names."""

from __future__ import annotations

from pathlib import Path

import pytest

import mwanda
from mwanda import InputError
from mwanda.pruning.given_arguments import recipe_given
from mwanda.pruning.recipe.by_name import find_recipe, load_named, recipe_names
from mwanda.pruning.recipe.recovery import AfterPrune
from mwanda.pruning.recipe.yaml_file import load_recipe
from tests.cli.helpers import Bench


@pytest.mark.parametrize("name", recipe_names())
def test_a_recipe_prunes_and_is_recorded(bench: Bench, name: str) -> None:
    made = bench.run(*bench.prune("--recipe", name, "--no-recover", "--json")).json()
    assert abs(made["totals"]["sparsity"] - 0.5) < 0.02
    given = load_named(name)
    for part in ("criterion", "allocation", "reconstruction"):
        if isinstance(given.get(part), dict):
            options = {name: value for name, value in given[part].items() if name != "name"}
            assert made["recipe"][part]["name"] == given[part]["name"]
            assert made["recipe"][part]["options"] == options  # every constant is written out


def test_a_recipe_takes_a_pattern(bench: Bench) -> None:
    uniform = ("--allocation", "uniform", "--allocation-level", "block", "--pattern", "2:4")
    made = bench.run(*bench.prune("--recipe", "best-quality", *uniform, "--json")).json()
    assert made["recipe"]["pattern"] == "2:4"
    assert made["totals"]["sparsity"] == 0.5


def test_an_unknown_recipe_suggests(bench: Bench) -> None:
    bench.refuse(bench.prune("--recipe", "best-qualty"), "did you mean 'best-quality'?")
    bench.refuse(bench.prune("--recipe", "no/quick"), "no/quick", "a recipe file")
    bench.refuse(bench.prune("--recipe", "quick.yaml"), "quick.yaml", "a recipe file")
    bench.refuse(bench.prune("--recipe", "quick" * 99), "the name of a recipe", "low-memory")


def test_recipes_are_listed(bench: Bench) -> None:
    listed = bench.run("ls", "recipes", "--json").json()
    assert [row["name"] for row in listed] == [
        "2:4", "best-quality", "best-recovered", "low-memory", "m-wanda-paper", "quick",
    ]  # fmt: skip
    assert all(row["about"].endswith(".") for row in listed)
    shown = bench.run("ls", "recipes")
    assert shown.out.startswith("2:4\n    2:4, of each four")
    printed = bench.run("ls", "recipes", "m-wanda-paper").out
    assert "ours, because the paper's are not known to us" in printed
    mine = bench.recipe(printed)  # a copy is a recipe, and names its schema wherever it lies
    assert load_recipe(mine) == load_recipe(find_recipe("m-wanda-paper"))
    assert "$schema=file:///" in printed
    assert bench.run("ls", "recipes", "--schema", "--json").json()["title"] == "mwanda recipe"
    bench.refuse(["ls", "recipes", "qick"], "did you mean 'quick'?")
    bench.refuse(["ls", "models", "--schema"], "nothing after it")
    bench.refuse(["ls", "recipes", "quick", "--schema"], "a recipe's name or --schema, found both")


def test_the_best_recovered_is_the_best_with_a_recovery() -> None:
    best, recovered = map(load_named, ("best-quality", "best-recovered"))
    assert recovered.pop("recover")["windows"] > best["windows"]
    assert recovered == best


def test_a_recipe_begins_as_another(bench: Bench, tmp_path: Path) -> None:
    """What else stands there wins; a path is taken from the folder of the file that names it."""
    (tmp_path / "lib").mkdir()
    mine, top = tmp_path / "lib" / "mine.yaml", tmp_path / "lib" / "top.yaml"
    mine.write_text("recipe: quick\nwindows: 3\ncriterion: magnitude\nseed: null")
    top.write_text("recipe: mine.yaml\nwindows: 2")
    changed = {"windows": 2, "criterion": "magnitude", "seed": None}
    assert load_named(top) == load_named("quick") | changed
    made = bench.run(*bench.prune("--recipe", top, "--seed", 4, "--json")).json()["recipe"]
    assert (made["windows"], made["seed"], made["criterion"]["name"]) == (2, 4, "magnitude")
    listed = bench.run("ls", "recipes", "best-recovered", "--json").json()["fields"]
    assert listed["reconstruction"]["name"] == "admm-gradual"


def test_fields_from_python_begin_as_a_recipe() -> None:
    """And keep its recovery's settings where one is asked for; among keywords there is no such."""
    mapping = {"recipe": "best-recovered", "windows": 2}
    made = recipe_given(mapping, {"recover": True}, "prune")
    assert made.windows == 2
    assert made.recover is not None
    assert made.recover.steps == 300
    off = recipe_given({**mapping, "recover": False}, {"recover": True}, "prune").recover
    assert off == AfterPrune()
    with pytest.raises(InputError, match="recover: recipe: unknown field"):
        recipe_given(None, {"recipe": "best-recovered"}, "recover")
    with pytest.raises(InputError, match="recipe: unknown field"):  # of a manifest: names no file
        mwanda.Recipe.build({"recipe": "quick"})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("recipe: qick", ["here.yaml: ", "did you mean 'quick'?"]),
        ("recipe: [quick]", ["here.yaml: recipe", "a YAML file or the name of a recipe"]),
        ("recipe: here.yaml", ["here.yaml: recipe", "one that does not begin as itself"]),
        ("recipe: other.yaml", ["other.yaml: windws: unknown field; did you mean 'windows'?"]),
        ("recipe: none.yaml", ["none.yaml", "a recipe file"]),
        ("background_weight: 1e999999999999999%", ["background_weight", "1e999999999999999%"]),
    ],
)
def test_a_recipe_that_cannot_begin_so(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, said: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("here.yaml").write_text(text)
    Path("other.yaml").write_text("windws: 3")
    bench.refuse(bench.prune("--recipe", "here.yaml"), *said)


def test_a_sparsity_in_per_cent(bench: Bench) -> None:
    made = bench.run(
        *bench.prune("--sparsity", "25%", "--recipe", bench.recipe("sparsity: 30%"), "--json")
    ).json()
    assert made["recipe"]["sparsity"] == 0.25
    bench.refuse(bench.prune("--sparsity", "100%"), "such as 0.5 or 50%")
