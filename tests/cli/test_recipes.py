"""The recipes that come with the project prune as they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from mwanda.pruning.recipe.yaml_file import load_recipe
from tests.cli.helpers import Bench
from tests.support import REPOSITORY

RECIPES = sorted((REPOSITORY / "recipes").glob("*.yaml"))


def test_there_are_recipes() -> None:
    assert "best-quality.yaml" in {path.name for path in RECIPES}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_prunes_and_is_recorded(bench: Bench, path: Path) -> None:
    made = bench.run(*bench.prune("--recipe", path, "--sparsity", 0.5, "--json")).json()
    assert abs(made["totals"]["sparsity"] - 0.5) < 0.02
    given = load_recipe(path)
    for part in ("criterion", "allocation", "reconstruction"):
        if part in given:
            options = {name: value for name, value in given[part].items() if name != "name"}
            assert made["recipe"][part]["name"] == given[part]["name"]
            assert made["recipe"][part]["options"] == options  # every constant is written out


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_takes_a_pattern(bench: Bench, path: Path) -> None:
    uniform = ("--allocation", "uniform", "--allocation-level", "block", "--pattern", "2:4")
    made = bench.run(*bench.prune("--recipe", path, *uniform, "--json")).json()
    assert made["recipe"]["pattern"] == "2:4"
    assert made["totals"]["sparsity"] == 0.5
