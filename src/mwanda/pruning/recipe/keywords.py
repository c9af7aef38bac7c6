"""The fields of a recipe as keyword parameters of a function: for editors, ``help()`` and mypy."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypedDict, TypeVar, get_type_hints

from mwanda.pruning.recipe.asked import Level, Mode, Recipe

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
    """Those, and what is written."""

    dtype: str | None


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


Function = TypeVar("Function", bound=Callable[..., Any])


def with_fields(fields: type[TextFields]) -> Callable[[Function], Function]:
    """A decorator of a function that takes ``**fields: Unpack[…]``: its signature and its docstring
    have each field, as a parameter that is None where it is left open."""

    def told(function: Function) -> Function:
        signature, kinds = inspect.signature(function), get_type_hints(fields)
        own = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
        in_order = [name for name in Recipe.model_fields if name in kinds]
        more = [
            inspect.Parameter(
                name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=kinds[name]
            )
            for name in in_order
        ]
        lines = [f"    {name}: {Recipe.model_fields[name].description}" for name in in_order]
        changed: Any = function
        changed.__signature__ = signature.replace(parameters=[*own, *more])
        doc = inspect.cleandoc(function.__doc__ or "")
        changed.__doc__ = "\n".join([doc, "", "Fields of a recipe:", *lines])
        return function

    return told
