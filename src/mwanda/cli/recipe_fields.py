"""From the fields of a recipe, and of a recovery, to a command's options, and back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_type_hints

from mwanda.errors import InputError
from mwanda.pruning.recipe.asked import Recipe
from mwanda.pruning.recipe.method_choice import Method
from mwanda.pruning.recipe.recovery import Settings, fields_over
from mwanda.pruning.recipe.resolved import default_allocation
from mwanda.pruning.recipe.written import named_values, written_as

FIELDS = {**Recipe.model_fields, **Settings.model_fields}
TYPES = {**get_type_hints(Recipe), **get_type_hints(Settings)}
WRITTEN = {name: written_as(field) for name, field in FIELDS.items()}


def field_options() -> Iterator[tuple[str, Any, str, str]]:
    """Name, type, help and flags of every option that a field is written with."""
    for name, field in FIELDS.items():
        written = WRITTEN[name]
        plain = next((kind for kind in (bool, int, float) if _is(name, kind)), str)
        plain = bool if written.flags else str if written.read else plain
        yield name, list[str] if written.repeated else plain, field.description or "", written.flags
        if _is(name, Method):
            yield f"{name}_option", list[str], f"NAME=VALUE of the {name}; may be repeated.", ""


def recipe_fields(
    recipe: str | Path | None = None, *, saved: bool = False, **given: Any
) -> dict[str, Any]:
    """The fields of a recipe, by its name or file, overridden by those among a command's options;
    and the settings of a recovery among these.

    Args:
        saved: whether it goes with saved statistics, which have defaults of their own.
    """
    from mwanda.pruning.recipe.by_name import load_named

    asked: dict[str, Any] = {}
    for name, written in WRITTEN.items():
        value = given.get(name)
        if value is not None:
            asked[name] = value if written.read is None else written.read(value)
    fields = fields_over({} if recipe is None else load_named(recipe), asked)
    for name in WRITTEN:
        if given.get(f"{name}_option"):
            _add_constants(fields, name, given[f"{name}_option"], saved)
    return fields


def _add_constants(fields: dict[str, Any], name: str, given: list[str], saved: bool) -> None:
    option, default = f"--{name}-option", Recipe.model_fields[name].default
    if name == "allocation":
        default = Method(name=default_allocation(saved=saved))
    method = fields.get(name, default and default.name)
    if method is None:
        raise InputError(option, expected=f"a --{name} too", found="none")
    if isinstance(method, str):
        method = {"name": method}
    if isinstance(method, dict):  # anything else is for the recipe to refuse
        options = method.get("options")
        known = {"name": method.get("name"), **options} if options else method
        fields[name] = known | named_values(given, option)


def _is(name: str, kind: Any) -> bool:
    return TYPES[name] in (kind, kind | None)
