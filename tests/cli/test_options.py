"""Options made from the fields of a recipe, and every command with all of its own."""

from __future__ import annotations

from typing import Any

import pytest
import typer

from mwanda.cli.commands.recovering import RECOVER
from mwanda.cli.options import OPTIONS, PRUNE
from mwanda.cli.program import COMMANDS, GROUPS, program
from mwanda.cli.recipe_fields import field_options, recipe_fields
from mwanda.pruning.recipe.asked import Recipe
from mwanda.pruning.recipe.recovery import Settings


def test_every_field_is_an_option_with_a_help() -> None:
    made = {name: told for name, _, told, _ in field_options()}
    assert all(made.values())
    assert made.keys() >= Recipe.model_fields.keys() | Settings.model_fields.keys()
    more = {"criterion_option", "allocation_option", "reconstruction_option"}
    assert made.keys() - Recipe.model_fields.keys() - Settings.model_fields.keys() == more
    assert Recipe.model_fields.keys() | more <= {*PRUNE}
    assert {*Settings.model_fields} <= {*RECOVER}
    assert {*PRUNE, *RECOVER} <= OPTIONS.keys()


@pytest.mark.parametrize(("group", "name"), [row[:2] for row in COMMANDS])
def test_every_command_says_what_it_takes(group: str, name: str) -> None:
    found = typer.main.get_command(program())
    for word in filter(None, (group, name)):
        found = found.commands[word]  # type: ignore[attr-defined]
    assert found.help
    for parameter in found.params:
        assert getattr(parameter, "help", "") or parameter.name == "help"


def test_a_group_means_a_command_of_its_own() -> None:
    for group, _, default in GROUPS:
        assert default is None or (group, default) in {row[:2] for row in COMMANDS}


def test_what_is_not_given_leaves_a_field_open() -> None:
    assert recipe_fields() == {}
    given: dict[str, Any] = dict.fromkeys(PRUNE)
    assert recipe_fields(**given) == {}
    given |= {"windows": 4, "language_weights": "de=2", "criterion_option": ["power=0.5"]}
    assert recipe_fields(**given) == {
        "windows": 4, "language_weights": {"de": 2}, "criterion": {"name": "m-wanda", "power": 0.5},
    }  # fmt: skip
