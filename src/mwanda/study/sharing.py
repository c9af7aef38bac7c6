"""Which recipes of a study share which saved statistics."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from mwanda.pruning.calibration_text import left_open, weights_of
from mwanda.pruning.recipe.keywords import StatisticsFields
from mwanda.pruning.recipe.resolved import ResolvedRecipe
from mwanda.study.records import ModelRecord, key_of
from mwanda.text.languages import MULTIPLE
from mwanda.text.window_sizes import NO_BACKGROUND

LATER = {"background_weight", "language_weights", "include", "exclude", "skip_blocks"}
"""Of what says what is measured: what each prune may choose anew."""

FIELDS = {*StatisticsFields.__annotations__} - LATER
"""Of a recipe: what a pass over text depends on."""

Prints = dict[tuple[str, bool], str | None]
"""Hashes of calibration text, by language and ``keep_english``."""


class SharedStatistics:
    """Which saved statistics serve which recipes of a model.

    A recipe with a reconstruction needs Gram matrices, which fix the languages' weights; where
    there is such a file of the same text, recipes without one use it too.

    Args:
        recipes: all that are going to ask, their languages by name.
        prints: hashes of its calibration text.
        backgrounds: place of background text -> its hashes, by language.
    """

    def __init__(
        self,
        name: str,
        model: ModelRecord,
        dtype: str,
        prints: Prints,
        backgrounds: Mapping[str, Mapping[str, str | None]],
        recipes: Iterable[ResolvedRecipe],
    ) -> None:
        self._name = name
        self._decided = {"model": model.sha256, "compute_dtype": dtype}
        self._prints, self._backgrounds = prints, backgrounds
        self._grams: dict[str, dict[str, float]] = {}
        for recipe in recipes:
            if _saved(recipe) and "gram" in recipe.linear_needs:
                self._grams.setdefault(key_of(self._text(recipe)), _weights(recipe))

    def of(self, recipe: ResolvedRecipe) -> tuple[str, dict[str, Any]] | None:
        """Key of the statistics and what to take: the model's name, and arguments of
        ``collect_statistics``; None where the recipe uses no saved ones."""
        if not _saved(recipe):
            return None
        text = self._text(recipe)
        gram = _weights(recipe) if "gram" in recipe.linear_needs else self._grams.get(key_of(text))
        given = recipe.model_dump(mode="json", include=FIELDS.difference(left_open(recipe)))
        weights: dict[str, Any] = {}
        if gram is not None:
            weights = {"language_weights": {t: w for t, w in gram.items() if t != MULTIPLE}}
            weights |= {"background_weight": gram[MULTIPLE]} if MULTIPLE in gram else {}
        taken = {"model": self._name, "gram": gram is not None, **given, **weights}
        return key_of(text | {"gram": gram}), taken

    def _text(self, recipe: ResolvedRecipe) -> dict[str, Any]:
        given = recipe.model_dump(mode="json", include=FIELDS) | own_background(recipe)
        if recipe.background in self._backgrounds:  # its text says it, wherever it lies
            given["background"] = self._backgrounds[recipe.background]
        keep, tags = recipe.keep_english, recipe.languages or ()
        texts = {tag: self._prints.get((tag, keep)) for tag in tags}
        return {**self._decided, "texts": texts, **given}


def own_background(recipe: ResolvedRecipe) -> dict[str, None]:
    """Tells a recipe that leaves the background to a file of windows from one that wants none."""
    return {"background": None} if "background" in left_open(recipe) else {}


def _saved(recipe: ResolvedRecipe) -> bool:
    looks = recipe.needs_text and recipe.mode == "dense"
    return looks and recipe.probe is None and recipe.recover is None


def _weights(recipe: ResolvedRecipe) -> dict[str, float]:
    pool = [] if recipe.background == NO_BACKGROUND else [MULTIPLE]
    return weights_of(recipe, [*(recipe.languages or ()), *pool])
