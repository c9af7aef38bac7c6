"""The fields of a recipe, and of a recovery, as keyword parameters of a function: for editors,
``help()`` and mypy."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypedDict, TypeVar, get_type_hints

from mwanda.errors import InputError, unknown_field
from mwanda.pruning.recipe.asked import Level, Mode, Recipe
from mwanda.pruning.recipe.recovery import Objective, Optimizer, Settings
from mwanda.pruning.recipe.resolved import ResolvedRecipe, resolve
from mwanda.pruning.recipe.values import validated

MethodGiven = str | Mapping[str, Any] | None
"""A name, or ``{"name": …, OPTION: …}``."""

Several = str | Sequence[str] | None
"""A list, or text with commas."""


class TextFields(TypedDict, total=False):
    """Those that say what is drawn of a text."""

    languages: Several
    language_weights: Mapping[str, float] | None
    windows: int | None
    window_length: int | None
    background: str | None
    background_weight: float | str | None
    background_windows: int | None
    seed: int | None
    keep_english: bool | None
    keep_repeated: bool | None


class RecoverFields(TextFields, total=False):
    """Those, what is written, and the settings of a recovery."""

    dtype: str | None
    steps: int | None
    learning_rate: float | None
    batch: int | None
    at_once: int | None
    held_out: int | None
    sampled: int | None
    train_embeddings: bool | None
    objective: Objective | None
    optimizer: Optimizer | None
    low_rank: int | None
    gradient_checkpointing: bool | None
    patience: int | None
    never_worse: bool | None
    report_to: Several


class StatisticsFields(TextFields, total=False):
    """Those that say what is measured."""

    include: Several
    exclude: Several
    skip_blocks: Sequence[int] | None
    skip_first_tokens: int | None


class SearchFields(StatisticsFields, total=False):
    """All but the sparsity, which a search looks for, and the recovery of what it finds."""

    pattern: str | None
    criterion: MethodGiven
    allocation: MethodGiven
    allocation_level: Level | None
    reconstruction: MethodGiven
    mode: Mode | None
    dtype: str | None
    expert_tokens: int | None


class RecipeFields(SearchFields, total=False):
    """All of them."""

    sparsity: float | str | None
    recover: bool | Mapping[str, Any] | None


def recovery_given(fields: Mapping[str, Any]) -> tuple[Settings, ResolvedRecipe]:
    """The settings of a recovery and the recipe of its text, out of :class:`RecoverFields`; one
    that is None is left open.

    Raises:
        InputError: naming every mistake at once.
    """
    known = get_type_hints(RecoverFields)
    given = {name: value for name, value in fields.items() if value is not None}
    problems = [
        f"recover: {name}: {unknown_field(name, known)}" for name in given if name not in known
    ]
    settings = recipe = None
    own = {name: value for name, value in given.items() if name in Settings.model_fields}
    rest = {name: given[name] for name in known if name in given and name not in own}
    try:
        settings = validated(Settings, own, "recover")
    except InputError as error:
        problems += error.problems
    try:
        recipe = Recipe.build(rest, "recover")
    except InputError as error:
        problems += error.problems
    if settings is None or recipe is None or problems:
        raise InputError.several(problems)
    return settings, resolve(recipe)


Function = TypeVar("Function", bound=Callable[..., Any])


def with_fields(fields: type[TextFields]) -> Callable[[Function], Function]:
    """A decorator of a function that takes ``**fields: Unpack[…]``: its signature and its docstring
    have each field, as a parameter that is None where it is left open."""

    def told(function: Function) -> Function:
        signature, kinds = inspect.signature(function), get_type_hints(fields)
        more: list[inspect.Parameter] = []
        lines = [inspect.cleandoc(function.__doc__ or "")]
        for title, model in (("Settings", Settings), ("Fields of a recipe", Recipe)):
            known = {name: one for name, one in model.model_fields.items() if name in kinds}
            lines += ["", f"{title}:"] if known else []
            lines += [f"    {name}: {field.description}" for name, field in known.items()]
            more += [
                inspect.Parameter(
                    name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=kinds[name]
                )
                for name in known
            ]
        own = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
        changed: Any = function
        changed.__signature__ = signature.replace(parameters=[*own, *more])
        changed.__doc__ = "\n".join(lines)
        return function

    return told
