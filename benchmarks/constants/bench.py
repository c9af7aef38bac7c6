"""A model in memory that is pruned again and again from statistics taken once."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from mwanda.blocks import BlockPruner
from mwanda.jobs.calibration import weights_of
from mwanda.model.decoder import MemoryDecoder
from mwanda.options import RunOptions
from mwanda.outcome import Outcome
from mwanda.passes import Passes, Visit
from mwanda.pipeline import check_pattern
from mwanda.ranks import ALONE
from mwanda.recipe import Recipe
from mwanda.signals import Surveyor
from mwanda.statistics.store import StatisticsStore
from mwanda.statistics.sums import Need


@dataclass(frozen=True)
class Measured:
    """Statistics of the dense model.

    Attributes:
        store: of every block: sums by language, and Gram matrices of all languages alike.
        languages: that were measured.
        skip: first tokens of a window that do not count.
        gram: whether there are Gram matrices.
    """

    store: StatisticsStore
    languages: list[str]
    skip: int = 0
    gram: bool = False


class Bench:
    """Prunes one model in place, from its dense weights every time.

    Args:
        model: a transformers model in memory; its weights when given are the dense ones.
    """

    def __init__(self, model: Any, options: RunOptions) -> None:
        self.model = model
        self._options = options
        self._decoder = MemoryDecoder(model)
        names = {linear.parameter for linear in self._decoder.structure.linears()}
        self._dense = {name: model.get_parameter(name).detach().clone() for name in names}

    @torch.no_grad()
    def restore(self) -> None:
        """The dense model again."""
        for name, weight in self._dense.items():
            self.model.get_parameter(name).copy_(weight)

    @torch.no_grad()
    def measure(
        self,
        windows: Mapping[str, torch.Tensor],
        folder: Path,
        *,
        skip: int = 0,
        gram: bool = False,
    ) -> Measured:
        """One pass of windows ``{language: int64 [windows, length]}`` over the dense model.

        Args:
            folder: where the statistics go; what a complete pass left there is used again.
        """
        made = Measured(StatisticsStore(folder), list(windows), skip, gram)
        if folder.is_dir():
            return made
        self.restore()
        unfinished = folder.with_name(f"{folder.name}.partial")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        store = StatisticsStore(unfinished)
        needs: tuple[Need, ...] = ("square", "activity", "activity-sign")
        needs = (*needs, "gram") if gram else needs
        structure = self._decoder.structure
        alike = dict.fromkeys(windows, 1.0)
        passes = Passes(
            self._decoder, structure, windows, alike, unfinished, self._options, ALONE, skip
        )

        def look(visit: Visit) -> None:
            seen = passes.statistics(visit, needs, keep_outputs=not visit.last)
            store.save(visit.block.index, seen.sums, seen.grams, seen.leaders)

        passes.visit("dense pass", look)
        unfinished.rename(folder)
        return made

    @torch.no_grad()
    def prune(self, recipe: Recipe, measured: Measured) -> Outcome:
        """Prune by a resolved recipe in dense mode, without a forward.

        Raises:
            ValueError: the statistics are not those that the recipe asks for.
        """
        alike = len({recipe.language_weights.get(tag, 1.0) for tag in measured.languages}) == 1
        gram = "gram" in recipe.linear_needs
        if recipe.skip_first_tokens != measured.skip or (gram and not (measured.gram and alike)):
            raise ValueError(f"not measured for this recipe: {recipe}")
        if recipe.allocation is None or recipe.sparsity is None or recipe.mode != "dense":
            raise ValueError("expected a resolved recipe in dense mode")
        structure = self._decoder.structure
        check_pattern(structure, recipe)
        self.restore()
        weights = weights_of(recipe, measured.languages)
        outcome = Outcome()
        pruner = BlockPruner(self._decoder, recipe, weights, ALONE, lambda _, w: w, outcome)
        none = Passes(self._decoder, structure, {}, weights, Path(), self._options, ALONE)
        surveyor = Surveyor(self._decoder, recipe, recipe.allocation, weights, none, pruner, ALONE)
        if surveyor.probe is not None:
            raise ValueError("expected an allocation that statistics are enough for")
        for block in structure.blocks:
            sums = measured.store.load(block.index)
            outcome.signals += surveyor.of_saved(block, sums, self._decoder.dtype)
        outcome.signals = surveyor.filled(outcome.signals)
        outcome.sparsities |= surveyor.share_out(structure, outcome.signals)
        for block in structure.blocks:
            find = partial(measured.store.load_gram, block.index)
            pruner.prune(block, measured.store.load(block.index), find)
        return outcome
