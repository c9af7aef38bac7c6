"""A recipe as options of a command line, and read from them again."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import typer

from mwanda.cli.program import program
from mwanda.cli.recipe_fields import recipe_fields
from mwanda.pruning.folder.made_with import commands_of
from mwanda.pruning.recipe.asked import Recipe
from mwanda.pruning.recipe.resolved import resolve
from tests.support.recipes import EVERY_FIELD


def again(recipe: Recipe, *, source: str = "some/text") -> Recipe:
    """What the command in the card asks for, of a folder pruned by this recipe."""
    drawn = SimpleNamespace(windows=recipe.windows, tokens=recipe.windows * recipe.window_length)
    text = SimpleNamespace(
        source=source, named=dict.fromkeys(recipe.languages or (), drawn),
        seed=resolve(recipe).seed, background_source=None,
    )  # fmt: skip
    manifest: Any = SimpleNamespace(
        base="some/model", linears={"x": None}, mask_file=None, statistics_file=None,
        calibration=text, recoveries=(), trims=(),
        recipe=resolve(recipe).model_dump(mode="json"),
    )  # fmt: skip
    command: Any = typer.main.get_command(program())
    prune = command.commands["prune"]
    given = prune.make_context("prune", commands_of(manifest)[0][2:]).params
    return Recipe.build(recipe_fields(**given))


def test_every_field_has_a_value_that_is_not_its_default() -> None:
    assert {*EVERY_FIELD} == {*Recipe.model_fields}, "add the field to tests/support/recipes.py"
    made = Recipe.build(EVERY_FIELD)
    assert not [name for name in EVERY_FIELD if getattr(made, name) == getattr(Recipe(), name)]


def test_the_command_of_a_card_has_every_field() -> None:
    asked = Recipe.build({**EVERY_FIELD, "recover": False})  # its command is one of its own
    found = again(asked)
    assert resolve(found) == resolve(asked)


@pytest.mark.parametrize("pattern", ["unstructured", "unstructured-matrix", "2:4"])
def test_it_has_a_sparsity_where_the_pattern_has_none(pattern: str) -> None:
    asked = Recipe.build({"pattern": pattern, "languages": ["de"]} | (
        {} if pattern == "2:4" else {"sparsity": 0.3}))  # fmt: skip
    found = again(asked)
    assert found.sparsity == asked.sparsity
    assert resolve(found).sparsity == resolve(asked).sparsity


def test_switches_that_are_off_are_written_too() -> None:
    found = again(Recipe.build({"languages": ["de"]}))
    assert {"keep_english", "keep_repeated"} <= found.model_fields_set
    assert not found.keep_english
