"""A recipe's fields are keyword parameters that an editor, ``help()`` and a type checker see."""

from __future__ import annotations

import inspect
from typing import Any, get_args, get_type_hints

import pytest

import mwanda
from mwanda import InputError, Recipe
from mwanda.pruning.given_arguments import recipe_given
from mwanda.pruning.recipe.keywords import (
    RecipeFields,
    RecoverFields,
    SearchFields,
    StatisticsFields,
    recovery_given,
)
from mwanda.pruning.recipe.recovery import Settings

HINTS = get_type_hints(RecipeFields)


def test_every_field_of_a_recipe_is_there() -> None:
    assert HINTS.keys() == Recipe.model_fields.keys()
    assert HINTS.keys() - get_type_hints(SearchFields).keys() == {"sparsity", "recover"}
    assert get_type_hints(RecoverFields).keys() - HINTS.keys() == Settings.model_fields.keys()


@pytest.mark.parametrize("name", HINTS | get_type_hints(RecoverFields))
def test_a_plain_field_has_the_type_that_a_recipe_gives_it(name: str) -> None:
    kinds = set(get_args({**HINTS, **get_type_hints(RecoverFields)}[name]))
    kinds |= {type(word) for kind in kinds for word in get_args(kind)}
    assert type(None) in kinds
    for filled in (Recipe(), Recipe(sparsity=0.5), Settings()):
        value = getattr(filled, name, None)
        if isinstance(value, bool | int | float | str):
            assert type(value) in kinds


@pytest.mark.parametrize(
    ("name", "fields"),
    [("prune", RecipeFields), ("plan", RecipeFields), ("search_sparsity", SearchFields),
     ("collect_statistics", StatisticsFields), ("recover", RecoverFields)],
)  # fmt: skip
def test_a_function_shows_the_fields_that_it_takes(name: str, fields: Any) -> None:
    function = getattr(mwanda, name)
    shown = inspect.signature(function).parameters
    hints = get_type_hints(fields)
    known = {**Settings.model_fields, **Recipe.model_fields}
    assert list(shown)[-len(hints) :] == [one for one in known if one in hints]
    assert not any(one.kind is one.VAR_KEYWORD for one in shown.values())
    for field, kind in hints.items():
        assert (shown[field].default, shown[field].annotation) == (None, kind)
        assert f"{field}: {known[field].description}" in function.__doc__


def test_the_words_of_a_setting_are_those_that_it_may_have() -> None:
    own = get_type_hints(Settings)
    for name in ("objective", "optimizer"):
        assert get_type_hints(RecoverFields)[name] == own[name] | None


def test_settings_and_text_of_a_recovery_are_told_apart() -> None:
    settings, recipe = recovery_given(
        {"steps": 3, "batch": None, "report_to": "wandb,mlflow", "windows": 5, "seed": None}
    )
    assert (settings.steps, settings.batch, settings.report_to) == (3, 1, ("wandb", "mlflow"))
    assert (recipe.windows, recipe.model_fields_set & {"seed"}) == (5, set())


def test_all_that_is_wrong_with_a_recovery_is_told() -> None:
    with pytest.raises(InputError) as error:
        recovery_given({"stpes": 3, "steps": 0, "windows": 0, "sparsity": 0.5})
    unknown, misplaced, *rest = error.value.problems
    assert unknown.startswith("recover: stpes: unknown field; did you mean 'steps'? choose one of")
    assert misplaced.startswith("recover: sparsity: unknown field; choose one of at_once, ")
    assert rest == ["recover: steps: expected 1 or more, found 0",
                    "recover: windows: expected 1 or more, found 0"]  # fmt: skip


def test_the_public_names_are_listed() -> None:
    assert {"prune", "evaluate", "Recipe", "Gate"} <= {*dir(mwanda)} == {*mwanda.__all__}


def test_fields_by_name_win_over_a_recipe_and_none_leaves_it_as_it_is() -> None:
    given = {"sparsity": 0.3, "windows": None, "seed": 4}
    for recipe in ({"sparsity": 0.5, "windows": 7}, Recipe(sparsity=0.5, windows=7)):
        found = recipe_given(recipe, given, "prune")
        assert (found.sparsity, found.windows, found.seed) == (0.3, 7, 4)
        assert found.model_fields_set == {"sparsity", "windows", "seed"}
    whole = Recipe(sparsity=0.5)
    assert recipe_given(whole, {}, "prune") is whole
    assert recipe_given(None, {"windows": None}, "prune").model_fields_set == set()
    with pytest.raises(InputError, match=r"prune: sparsty: unknown field; did you mean 'sparsity'"):
        recipe_given(None, {"sparsty": 0.3}, "prune")
