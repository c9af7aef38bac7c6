"""What editors check a recipe by is what a recipe may be."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

import mwanda
from mwanda.methods.registry import ALLOCATIONS, CRITERIA, RECONSTRUCTIONS
from mwanda.pruning.recipe.asked import Recipe
from mwanda.pruning.recipe.by_name import FOLDER, SCHEMA, find_recipe, load_named, recipe_names
from mwanda.pruning.recipe.resolved import resolve
from mwanda.pruning.recipe.schema import recipe_schema, schema_text
from mwanda.pruning.recipe.yaml_file import load_recipe


def fits(value: Any, schema: Any) -> bool:
    """As much of JSON schema as a recipe's uses."""
    if "anyOf" in schema and not any(fits(value, form) for form in schema["anyOf"]):
        return False
    kinds: dict[str, Any] = {
        "object": dict, "array": list, "string": str, "integer": int, "number": (int, float),
        "boolean": bool,
    }  # fmt: skip
    if "type" in schema:
        if not isinstance(value, kinds[schema["type"]]):
            return False
        if isinstance(value, bool) and schema["type"] != "boolean":
            return False
    if "enum" in schema and value not in schema["enum"]:
        return False
    if isinstance(value, dict):
        known = schema.get("properties", {})
        if not {*schema.get("required", ())} <= value.keys():
            return False
        if schema.get("additionalProperties") is False and value.keys() - known.keys():
            return False
        return all(fits(item, known.get(name, {})) for name, item in value.items())
    return (
        value == schema.get("const", value)
        and not ("minimum" in schema and value < schema["minimum"])
        and not ("exclusiveMinimum" in schema and value <= schema["exclusiveMinimum"])
        and not ("exclusiveMaximum" in schema and value >= schema["exclusiveMaximum"])
        and not ("pattern" in schema and not re.search(schema["pattern"], value))
    )


def test_the_file_beside_the_recipes_is_the_schema() -> None:
    assert SCHEMA.read_text(encoding="utf-8") == schema_text(), "run make lists"
    assert "$ref" not in schema_text()


def test_every_field_and_method_is_in_it() -> None:
    properties = recipe_schema()["properties"]
    assert properties.keys() == {*Recipe.model_fields, "recipe"}
    for kind, table in (
        ("criterion", CRITERIA), ("allocation", ALLOCATIONS), ("reconstruction", RECONSTRUCTIONS),
    ):  # fmt: skip
        for name in table:
            assert fits(name, properties[kind])
            assert fits({"name": name}, properties[kind])


@pytest.mark.parametrize("name", recipe_names())
def test_recipes_by_name_fit_and_resolve(name: str) -> None:
    path = find_recipe(name)
    assert path.parent == FOLDER
    assert path.read_text(encoding="utf-8").startswith(
        "# yaml-language-server: $schema=recipe.schema.json\n"
    )
    fields = load_recipe(path)
    assert fits(json.loads(json.dumps(fields)), recipe_schema())
    assert resolve(Recipe.build(load_named(name), name)).needs_text


@pytest.mark.parametrize(
    ("fields", "good"),
    [
        ({"sparsity": "50%", "languages": "de,sw", "skip_blocks": 3}, True),
        ({"sparsity": 0.5, "languages": ["de"], "pattern": "8:16"}, True),
        ({"reconstruction": "none", "seed": 3, "keep_english": True}, True),
        ({"sparsity": 1.0}, False),
        ({"sparsity": "half"}, False),
        ({"criterion": "wando"}, False),
        ({"criterion": {"name": "wanda", "power": 1}}, False),
        ({"allocation": {"name": "cwl", "direction": "up"}}, False),
        ({"window": 3}, False),
        ({"windows": 0}, False),
        ({"mode": "fast"}, False),
        ({"recover": {"steps": 3, "report_to": "wandb"}}, True),
        ({"recover": {"train_embeddings": "no"}}, False),
        ({"recover": {"report_to": 5}}, False),
        ({"recover": {"steps": 0}}, False),
        ({"recover": {"learning_rate": 0}}, False),
        ({"recover": {"objective": "median"}}, False),
        ({"recover": {"background_weight": "30%"}}, True),
    ],
)
def test_what_fits_is_what_a_recipe_takes(fields: dict[str, Any], good: bool) -> None:
    assert fits(fields, recipe_schema()) is good
    if good:
        Recipe.build(fields)
    else:
        with pytest.raises(mwanda.InputError):
            Recipe.build(fields)


@pytest.mark.parametrize(
    ("written", "share"),
    [("50%", 0.5), ("7 %", 0.07), ("0.5", 0.5), ("12.5%", 0.125)],
)
def test_a_share_may_be_in_per_cent(written: Any, share: float) -> None:
    assert Recipe.build({"sparsity": written}).sparsity == share


def test_a_recipe_by_name_from_python() -> None:
    from mwanda.pruning.given_arguments import recipe_given

    made = recipe_given("quick", {"sparsity": "30%"}, "prune")
    assert (made.allocation and made.allocation.name, made.sparsity) == ("uniform", 0.3)
    with pytest.raises(mwanda.InputError, match="did you mean 'quick'"):
        recipe_given("quik", {}, "prune")
