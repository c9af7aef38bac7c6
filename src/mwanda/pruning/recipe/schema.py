"""The JSON schema of a recipe file, for editors: what the file may have, as people write it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal, get_args, get_origin

from mwanda.methods.kinds import Method, defaults_of, option_types
from mwanda.methods.registry import ALLOCATIONS, CRITERIA, PATTERNS, RECONSTRUCTIONS
from mwanda.pruning.recipe.asked import Recipe
from mwanda.pruning.recipe.by_name import recipe_names
from mwanda.pruning.recipe.recovery import AfterPrune

TITLE = "mwanda recipe"
DRAFT = "https://json-schema.org/draft/2020-12/schema"
TYPES = {bool: "boolean", int: "integer", float: "number", str: "string"}

Schema = dict[str, Any]


def recipe_schema() -> Schema:
    """A schema of draft 2020-12, of pydantic's but for the forms that a file may have beside:
    a method by its name alone, a list as text with commas, a share as ``50%``."""
    made = Recipe.model_json_schema()
    properties = _properties(made)
    settings = _properties(made["$defs"][AfterPrune.__name__])
    properties["recover"] = {
        "description": properties["recover"]["description"],
        "anyOf": [
            {"type": "boolean"},
            {"type": "object", "additionalProperties": False, "properties": settings},
        ],
    }
    properties["recipe"] = {
        "description": "Name or file of a recipe to begin as; what else stands here wins.",
        "anyOf": [{"enum": recipe_names()}, {"type": "string"}],
    }
    rows: dict[str, Mapping[str, Method]] = {
        "criterion": CRITERIA,
        "allocation": ALLOCATIONS,
        "reconstruction": RECONSTRUCTIONS,
    }
    for name, table in rows.items():
        forms = [_method(row) for row in table.values()]
        names: list[str | None] = [*table]
        if name == "reconstruction":
            names.append("none")
        about = {"description": properties[name]["description"]}
        properties[name] = about | {"anyOf": [{"enum": names}, *forms]}
    return {
        "$schema": DRAFT,
        "title": TITLE,
        "type": "object",
        "additionalProperties": False,
        "properties": properties,
    }


def schema_text() -> str:
    """The schema as its file holds it."""
    return json.dumps(recipe_schema(), indent=1, ensure_ascii=False) + "\n"


def _properties(model: Schema) -> Schema:
    found = {}
    for name, field in model["properties"].items():
        kept = {key: field[key] for key in ("description", "default") if field.get(key) is not None}
        found[name] = kept | _written(name, _renamed(field))
    return found


def _written(name: str, field: Schema) -> Schema:
    rest = {key: value for key, value in field.items() if key not in _SAID}
    forms = [form for form in rest.get("anyOf", [rest]) if form.get("type") != "null"]
    if name in ("sparsity", "background_weight"):
        forms.append({"type": "string", "pattern": r"^\d+(\.\d+)?\s*%$"})
    elif name == "pattern":
        forms = [{"enum": [*PATTERNS]}, {"type": "string", "pattern": r"^\d{1,4}:\d{1,4}$"}]
    elif any(form.get("type") == "array" for form in forms):
        kinds = ("string",) if name == "report_to" else ("string", "integer")
        forms += [{"type": kind} for kind in kinds]
    return forms[0] if len(forms) == 1 else {"anyOf": forms}


def _renamed(part: Any) -> Any:
    """pydantic's own names of bounds, where a validator stands before them, in the schema's."""
    names = {"ge": "minimum", "gt": "exclusiveMinimum", "lt": "exclusiveMaximum", "le": "maximum"}
    if isinstance(part, dict):
        return {names.get(key, key): _renamed(value) for key, value in part.items()}
    return [_renamed(value) for value in part] if isinstance(part, list) else part


_SAID = ("description", "default", "title")


def _method(row: Method) -> Schema:
    """``{name: wanda, norms: raw}``."""
    defaults, options = defaults_of(row), {}
    for name, kind in option_types(row).items():
        form: Schema = {"type": TYPES.get(kind, "string")}
        if get_origin(kind) is Literal:
            form = {"enum": [*get_args(kind)]}
        elif kind in (int, float):
            form["minimum"] = 0
        options[name] = form | ({"default": defaults[name]} if name in defaults else {})
    return {
        "type": "object",
        "required": ["name"],
        "additionalProperties": False,
        "properties": {"name": {"const": row.name}, **options},
    }
