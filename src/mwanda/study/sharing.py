"""Which recipes of a study share which saved statistics, and how keys are made."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from mwanda.methods.recipe.resolved import ResolvedRecipe
from mwanda.pruning.calibration_text import loose_sizes, weights_of

FIELDS = ("languages", "windows", "window_length", "seed", "skip_first_tokens")
"""Of a recipe: what a pass over text depends on."""

Prints = dict[tuple[str, bool], str | None]
"""Hashes of calibration text, by language and ``keep_english``."""


class SharedStatistics:
    """Which saved statistics serve which recipes of a model.

    A recipe with a reconstruction needs Gram matrices, which fix the languages' weights; where
    there is such a file of the same text, recipes without one use it too.
    """

    def __init__(self, model: str, sha256: str, dtype: str, prints: Prints) -> None:
        self._model = model
        self._sha256 = sha256
        self._dtype = dtype
        self._prints = prints
        self._grams: dict[str, dict[str, float]] = {}

    def note(self, recipe: ResolvedRecipe) -> None:
        """A recipe that will ask."""
        if self._saved(recipe) and "gram" in recipe.linear_needs:
            self._grams.setdefault(key_of(self._text(recipe)), self._weights(recipe))

    def key(self, recipe: ResolvedRecipe) -> str | None:
        if not self._saved(recipe):
            return None
        return key_of(self._text(recipe) | {"gram": self._gram(recipe)})

    def fields(self, recipe: ResolvedRecipe) -> dict[str, Any]:
        """What to take: the model's name, and arguments of ``collect_statistics``."""
        fields = set(FIELDS).difference(loose_sizes(recipe))
        given = recipe.model_dump(mode="json", include=fields)
        gram = self._gram(recipe)
        weights = {} if gram is None else {"language_weights": gram}
        return {"model": self._model, "gram": gram is not None, **given, **weights}

    def _saved(self, recipe: ResolvedRecipe) -> bool:
        return recipe.needs_text and recipe.mode == "dense" and recipe.probe is None

    def _text(self, recipe: ResolvedRecipe) -> dict[str, Any]:
        given = recipe.model_dump(mode="json", include=set(FIELDS))
        tags = recipe.languages or ()
        texts = {tag: self._prints.get((tag, recipe.keep_english)) for tag in tags}
        return {"model": self._sha256, "compute_dtype": self._dtype, "texts": texts, **given}

    def _gram(self, recipe: ResolvedRecipe) -> dict[str, float] | None:
        if "gram" in recipe.linear_needs:
            return self._weights(recipe)
        return self._grams.get(key_of(self._text(recipe)))

    def _weights(self, recipe: ResolvedRecipe) -> dict[str, float]:
        return weights_of(recipe, list(recipe.languages or ()))


def key_of(settings: Mapping[str, Any]) -> str:
    """The key of what is decided by these settings."""
    text = json.dumps(settings, sort_keys=True, ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
