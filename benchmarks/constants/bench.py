"""A model in memory that is pruned again and again from statistics taken once."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from harness import kept
from mwanda.methods.allocation.comparison import Curves
from mwanda.methods.input_statistics import Need
from mwanda.methods.kinds import Signal
from mwanda.methods.recipe.resolved import ResolvedRecipe
from mwanda.model.run.decoder import MemoryDecoder
from mwanda.pruning.block_pruner import BlockPruner
from mwanda.pruning.calibration_passes import Passes, Visit
from mwanda.pruning.calibration_text import weights_of
from mwanda.pruning.outcome import Outcome
from mwanda.pruning.sensitivity import Surveyor
from mwanda.pruning.statistics.record import InputRecord
from mwanda.pruning.statistics.spill import StatisticsSpill
from mwanda.pruning.task import check_pattern
from mwanda.system.ranks import ALONE
from mwanda.system.run_options import RunOptions


@dataclass(frozen=True)
class Measured:
    """Statistics of the dense model.

    Attributes:
        store: of every block: sums by language, and Gram matrices of all languages alike.
        folder: where the store is, and the curves of what was probed.
        windows: language -> token ids ``int64 [windows, length]`` that were measured.
        skip: first tokens of a window that do not count.
        gram: whether there are Gram matrices.
    """

    store: StatisticsSpill
    folder: Path
    windows: Mapping[str, torch.Tensor]
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
        if folder.is_dir():
            return Measured(_spill(folder, windows), folder, windows, skip, gram)
        self.restore()
        unfinished = folder.with_name(f"{folder.name}.partial")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        store = _spill(unfinished, windows)
        needs: tuple[Need, ...] = ("square", "activity", "activity-sign")
        needs = (*needs, "gram") if gram else needs
        structure = self._decoder.structure
        alike = dict.fromkeys(windows, 1.0)
        passes = Passes(
            self._decoder, structure, windows, alike, unfinished, self._options, ALONE, skip
        )

        def look(visit: Visit) -> int:
            seen = passes.statistics(visit, needs, keep_outputs=not visit.last)
            store.add(visit.block, seen.sums, seen.grams)
            return 0

        passes.visit("dense pass", look)
        inputs = {name: entry.model_dump() for name, entry in store.inputs.items()}
        store.settle()
        (unfinished / "inputs.json").write_text(json.dumps(inputs), encoding="utf-8")
        unfinished.rename(folder)
        return Measured(_spill(folder, windows), folder, windows, skip, gram)

    @torch.no_grad()
    def prune(self, recipe: ResolvedRecipe, measured: Measured) -> Outcome:
        """Prune by a resolved recipe in dense mode: a forward only where masked blocks are to be
        compared with dense ones, and that once for all that compare the same.

        Raises:
            ValueError: the statistics are not those that the recipe asks for.
        """
        languages = list(measured.windows)
        alike = len({recipe.language_weights.get(tag, 1.0) for tag in languages}) == 1
        gram = "gram" in recipe.linear_needs
        if recipe.skip_first_tokens != measured.skip or (gram and not (measured.gram and alike)):
            raise ValueError(f"not measured for this recipe: {recipe}")
        if recipe.mode != "dense":
            raise ValueError("expected a recipe in dense mode")
        structure = self._decoder.structure
        check_pattern(structure, recipe)
        self.restore()
        weights = weights_of(recipe, languages)
        outcome = Outcome()
        pruner = BlockPruner(self._decoder, recipe, weights, ALONE, lambda _, w: w, outcome)
        probe = recipe.probe
        shown = {} if probe is None else _first(measured.windows, probe.windows)
        passes = Passes(
            self._decoder, structure, shown, weights, measured.folder, self._options, ALONE,
            measured.skip, None if probe is None else 0,
        )  # fmt: skip
        surveyor = Surveyor(pruner, passes)
        if probe is not None:
            outcome.signals += self._curves(recipe, measured, surveyor)
        else:
            for block in structure.blocks:
                sums = measured.store.load(block.index)
                outcome.signals += surveyor.of_saved(block, sums, self._decoder.dtype)
        outcome.signals = surveyor.filled(outcome.signals)
        sparsities = surveyor.share_out(structure, outcome.signals)
        for block in structure.blocks:
            find = partial(measured.store.load_gram, block.index)
            pruner.prune(block, sparsities, measured.store.load(block.index), find)
        return outcome

    def _curves(
        self, recipe: ResolvedRecipe, measured: Measured, surveyor: Surveyor
    ) -> list[Signal]:
        """What masking the linears does to their blocks; read back where it was seen before."""
        asked = recipe.model_dump(
            mode="json",
            include={"sparsity", "pattern", "criterion", "allocation", "allocation_level"},
        )
        asked["weights"] = dict(surveyor.weights)
        key = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:16]
        path = measured.folder / f"curves-{key}.json"

        def measure() -> dict[str, Any]:
            found: list[Signal] = []

            def look(visit: Visit) -> int:
                surveyor.passes.statistics(visit, ("square",), keep_outputs=True)
                found.extend(surveyor.look(visit, measured.store.load(visit.block.index)))
                return surveyor.compared(visit.block)

            surveyor.passes.visit("curves", look, probing=True)
            return {"curves": [asdict(one) for one in found if isinstance(one, Curves)]}

        return [Curves(**{**one, "sparsities": tuple(one["sparsities"])})
                for one in kept(path, measure)["curves"]]  # fmt: skip


def _spill(folder: Path, languages: Iterable[str]) -> StatisticsSpill:
    """Statistics put aside in a folder, with what an earlier pass left there."""
    found, known = StatisticsSpill(folder, list(languages)), folder / "inputs.json"
    if known.is_file():
        entries = json.loads(known.read_text(encoding="utf-8"))
        found.inputs = {name: InputRecord.model_validate(one) for name, one in entries.items()}
    return found


def _first(windows: Mapping[str, torch.Tensor], count: int) -> dict[str, torch.Tensor]:
    """The first ``count`` windows of every language; 0: all."""
    return {tag: ids[: count or len(ids)] for tag, ids in windows.items()}
