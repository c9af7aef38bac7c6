"""What a caller of the library gives beside a model: a recipe, a tokenizer, how to run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mwanda.errors import InputError
from mwanda.model.gguf.file import read_gguf
from mwanda.model.given import is_gguf
from mwanda.model.source import load_tokenizer
from mwanda.pruning.recipe.asked import Recipe
from mwanda.pruning.recipe.by_name import load_named, with_base
from mwanda.pruning.recipe.recovery import fields_over
from mwanda.system.run_options import RunOptions


def options_given(options: Any) -> RunOptions:
    """How to run."""
    if options is None:
        return RunOptions()
    if not isinstance(options, RunOptions):
        raise InputError(
            "options", expected="mwanda.RunOptions(…)", found=f"a {type(options).__name__}"
        )
    return options


def recipe_given(recipe: Any, fields: Mapping[str, Any], source: str) -> Recipe:
    """A recipe, out of the mapping or the file of one, and fields by name, which win over it; one
    that is None is left open."""
    given = {name: value for name, value in fields.items() if value is not None}
    if isinstance(recipe, Recipe):
        if not given:
            return recipe
        recipe = recipe.model_dump(exclude_unset=True)
    elif isinstance(recipe, str | Path):
        recipe = load_named(recipe)
    elif isinstance(recipe, Mapping):
        recipe = with_base(recipe, "recipe")
    elif recipe is not None:
        expected = "mwanda.Recipe.build(…), its fields, its name, or a YAML file"
        raise InputError("recipe", expected=expected, found=f"a {type(recipe).__name__}")
    return Recipe.build(fields_over(recipe or {}, given), source if given else "recipe")


def tokenizer_given(tokenizer: Any, options: RunOptions) -> Any:
    """A tokenizer, or that of the folder or GGUF file named; a processor's own."""
    if isinstance(tokenizer, str | Path):
        path = Path(tokenizer)
        if is_gguf(path):
            return read_gguf(path).tokenizer()
        if path.is_file():
            expected = "the folder that its files are in"
            raise InputError("tokenizer", expected=expected, found=str(path))
        return load_tokenizer(path, trust_remote_code=options.trust_remote_code)
    if not hasattr(tokenizer, "convert_tokens_to_ids"):
        tokenizer = getattr(tokenizer, "tokenizer", tokenizer)
    made = callable(tokenizer) and not isinstance(tokenizer, type)
    if not made or not hasattr(tokenizer, "convert_tokens_to_ids"):
        expected = "the model's tokenizer, as AutoTokenizer gives it, or its folder"
        found = "none" if tokenizer is None else f"a {type(tokenizer).__name__}"
        raise InputError("tokenizer", expected=expected, found=found)
    return tokenizer


def no_tokenizer(tokenizer: Any) -> None:
    """Refuse one beside a model on disk, which would not be used."""
    if tokenizer is not None:
        raise InputError(
            "tokenizer", expected="none for a model on disk, which has its own",
            found="one" if not isinstance(tokenizer, str | Path) else str(tokenizer),
        )  # fmt: skip
