"""From a command's options to the fields of a recipe."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mwanda.errors import InputError


def recipe_of(given: dict[str, Any], *, saved: bool) -> dict[str, Any]:
    """The fields of a recipe among a command's options, over those of its --recipe file.

    Args:
        saved: whether it goes with saved statistics, which have defaults of their own.
    """
    names = (
        "languages", "language_weights", "sparsity", "criterion", "criterion_option", "allocation",
        "allocation_option", "allocation_level", "reconstruction", "reconstruction_option",
        "pattern", "mode", "windows", "window_length", "include", "exclude",
        "skip_blocks", "seed", "keep_english", "keep_repeated", "skip_first_tokens", "dtype",
        "expert_tokens",
    )  # fmt: skip
    return recipe_fields(given["recipe"], saved=saved, **{name: given[name] for name in names})


def recipe_fields(
    recipe: Path | None,
    *,
    languages: str | None,
    language_weights: str | None,
    skip_blocks: str | None,
    criterion: str | None = None,
    criterion_option: Sequence[str] | None = None,
    allocation: str | None = None,
    allocation_option: Sequence[str] | None = None,
    reconstruction: str | None = None,
    reconstruction_option: Sequence[str] | None = None,
    saved: bool = False,
    **plain: Any,
) -> dict[str, Any]:
    """The fields of a recipe file, overridden by the options that were given."""
    from mwanda.methods.recipe.resolved import default_allocation
    from mwanda.methods.recipe.yaml_file import load_recipe

    fields: dict[str, Any] = {} if recipe is None else load_recipe(recipe)
    fields |= {name: value for name, value in plain.items() if value is not None}
    if languages is not None:
        fields["languages"] = [tag.strip() for tag in languages.split(",")]
    if language_weights is not None:
        fields["language_weights"] = _weights(language_weights)
    if skip_blocks is not None:
        fields["skip_blocks"] = _numbers(skip_blocks)
    for name, value, given, default in (
        ("criterion", criterion, criterion_option, "m-wanda"),
        ("allocation", allocation, allocation_option, default_allocation(saved=saved)),
        ("reconstruction", reconstruction, reconstruction_option, None),
    ):
        if value is not None:
            fields[name] = {"name": value}
        if given:
            base = fields.get(name, default)
            if base is None:
                raise InputError(f"--{name}-option", expected=f"a --{name} too", found="none")
            method = {"name": base} if isinstance(base, str) else base
            if isinstance(method, dict):  # anything else is for the recipe to refuse
                options = method.get("options")
                known = {"name": method.get("name"), **options} if options else method
                fields[name] = known | parse_method_options(given, f"--{name}-option")
    return fields


def parse_method_options(given: Sequence[str], option: str) -> dict[str, Any]:
    """``["width=0.04"]`` -> ``{"width": 0.04}``; digits alone are a whole number, and what is no
    number stays text."""
    found: dict[str, Any] = {}
    for item in given:
        name, equals, value = item.partition("=")
        if not equals or not name:
            raise InputError(option, expected="NAME=VALUE", found=item)
        found[name.strip().replace("-", "_")] = _number(value.strip())
    return found


def _number(text: str) -> Any:
    if text.isascii() and text.isdigit():
        return int(text)
    try:
        value = float(text)
    except ValueError:
        return text
    return value if math.isfinite(value) else text


def _weights(text: str) -> Mapping[str, Any]:
    found: dict[str, Any] = {}
    for item in text.split(","):
        tag, equals, value = (part.strip() for part in item.partition("="))
        if not equals or not tag or tag in found:
            raise InputError(
                "--language-weights", expected="each language once, like de=2,sw=1", found=text
            )
        found[tag] = _number(value)
    return found


def _numbers(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError as error:
        raise InputError("--skip-blocks", expected="numbers like 0,1,17", found=text) from error
