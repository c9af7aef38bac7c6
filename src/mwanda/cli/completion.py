"""Names that a shell may complete: of methods, of recipes, and the words that an option takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, get_args

from mwanda.evaluation.runtimes.registry import RUNTIMES
from mwanda.methods.registry import ALLOCATIONS, CRITERIA, PATTERNS, RECONSTRUCTIONS
from mwanda.pruning.recipe.asked import Level, Mode
from mwanda.pruning.recipe.recovery import Objective, Optimizer
from mwanda.system.run_options import FLOATS

Names = Callable[[], Mapping[str, str]]
"""Gives every name and what it is."""


def completer(option: str) -> Callable[[str], list[tuple[str, str]]] | None:
    """What typer asks for an option's or argument's values; None where there is nothing to say."""
    names = _NAMES.get(option)
    if names is None:
        return None

    def complete(incomplete: str) -> list[tuple[str, str]]:
        return [row for row in names().items() if row[0].startswith(incomplete)]

    return complete


def _rows(table: Mapping[str, Any], **more: str) -> Names:
    return lambda: {name: row.when for name, row in table.items()} | more


def _words(*names: str) -> Names:
    return lambda: dict.fromkeys(names, "")


def _recipes() -> Mapping[str, str]:
    from mwanda.pruning.recipe.by_name import about, find_recipe, recipe_names

    return {name: about(find_recipe(name)) for name in recipe_names()}


_NAMES: Mapping[str, Names] = {
    "criterion": _rows(CRITERIA),
    "allocation": _rows(ALLOCATIONS),
    "pattern": _rows(PATTERNS),
    "reconstruction": _rows(RECONSTRUCTIONS, none="the default"),
    "recipe": _recipes,
    "mode": _words(*get_args(Mode)),
    "allocation_level": _words(*get_args(Level)),
    "objective": _words(*get_args(Objective)),
    "optimizer": _words(*get_args(Optimizer)),
    "dtype": _words("auto", *FLOATS),
    "compute_dtype": _words("auto", *FLOATS),
    "device": _words("auto", "cpu", "cuda", "mps", "xpu"),
    "runtime": _words(*RUNTIMES),
    "gate_on": _words("point", "upper"),
    "what": _words(
        "recipes", "criteria", "allocations", "patterns", "reconstructions", "methods", "models"
    ),
}
