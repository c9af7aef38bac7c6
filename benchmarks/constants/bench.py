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
from mwanda.method_kinds import measure_block, options_of
from mwanda.model.decoder import MemoryDecoder
from mwanda.options import RunOptions
from mwanda.outcome import Outcome
from mwanda.passes import Passes, Visit
from mwanda.pipeline import check_pattern
from mwanda.ranks import ALONE
from mwanda.recipe import Recipe
from mwanda.registry import find_allocation
from mwanda.statistics.routed import inputs_of
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
        row, options = find_allocation(recipe.allocation.name), recipe.allocation.options
        if row.probe is not None or recipe.allocation_level != "block":
            raise ValueError("expected an allocation that statistics of a block are enough for")
        blocks = [block for block in structure.blocks if block.linears]
        outcome = Outcome()
        for block in blocks:
            sums = measured.store.load(block.index)
            known = [
                (self._decoder.linear_weight(linear), inputs)
                for linear in block.linears
                if (inputs := inputs_of(linear.name, sums[linear.name], weights, 1)) is not None
            ]
            matrices, seen = [weight for weight, _ in known], [inputs for _, inputs in known]
            outcome.signals.append(measure_block(row, matrices, seen, options))
        sizes, own = [block.size for block in blocks], options_of(row.allocate, options)
        sparsities = row.allocate(outcome.signals, sizes, recipe.sparsity, **own)
        for block, sparsity in zip(blocks, sparsities, strict=True):
            outcome.sparsities |= {linear.name: sparsity for linear in block.linears}
        pruner = BlockPruner(self._decoder, recipe, weights, ALONE, lambda _, w: w, outcome)
        for block in blocks:
            find = partial(measured.store.load_gram, block.index)
            pruner.prune(block, measured.store.load(block.index), find)
        return outcome
