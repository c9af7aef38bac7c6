"""What an allocation sees of each block or linear, and the sparsities it makes of that."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch

from mwanda.errors import DataError
from mwanda.methods.allocation.comparison import (
    Curves,
    Probe,
    UnsolvedError,
    extended,
    removed_share,
)
from mwanda.methods.kinds import Signal, measure_block, options_of
from mwanda.model.run.structure import Block, Linear, Structure
from mwanda.pruning.block_pruner import BlockPruner
from mwanda.pruning.calibration_passes import Passes, Visit
from mwanda.pruning.statistics.capture import BlockSums
from mwanda.pruning.statistics.routed import inputs_of
from mwanda.pruning.units import units_of


class Surveyor:
    """Takes the allocation's signals, block by block, with masks chosen as for the prune itself."""

    def __init__(self, pruner: BlockPruner, passes: Passes) -> None:
        self.pruner, self.passes = pruner, passes
        self.decoder, self.recipe = pruner.task.decoder, pruner.task.recipe
        self.weights, self.ranks = pruner.task.evidence.weights, pruner.task.ranks
        self.row = self.recipe.allocation_row()

    def of_weights(self, block: Block) -> list[Signal]:
        """The signals of a block whose weights alone are looked at."""
        options = self.recipe.allocation.options
        return [
            measure_block(self.row, [self.decoder.source_weight(lin) for lin in unit], [], options)
            for unit in units_of(block, self.recipe)
        ]

    def look(self, visit: Visit, sums: BlockSums) -> list[Signal]:
        """The signals of a block whose weights are there: of it, or of each of its linears."""
        units, probe = units_of(visit.block, self.recipe), self.recipe.probe
        if probe is None:
            weight_of = self.decoder.linear_weight
            return [self._measure(linears, sums, weight_of) for linears in units]
        return [self._compare(visit, linears, sums, probe) for linears in units]

    def of_saved(self, block: Block, sums: BlockSums, dtype: torch.dtype) -> list[Signal]:
        """The signals of a block whose sums an earlier run has saved: no forward. That run's had
        its weights in ``dtype``."""
        source = self.decoder.source_weight
        units = units_of(block, self.recipe)
        return [self._measure(unit, sums, lambda one: source(one).to(dtype)) for unit in units]

    @staticmethod
    def filled(signals: Sequence[Signal]) -> list[Signal]:
        """Signals where those of nothing but experts that saw no token are the others' mean."""
        known = [s for s in signals if not isinstance(s, Curves) and math.isfinite(s)] or [0.0]
        mean = math.fsum(known) / len(known)
        return [s if isinstance(s, Curves) or math.isfinite(s) else mean for s in signals]

    def share_out(self, chosen: Structure, signals: Sequence[Signal]) -> dict[str, float]:
        """The sparsity of every linear, by name; no signals where the allocation looks at none."""
        units = [unit for block in chosen.blocks for unit in units_of(block, self.recipe)]
        values = [0.0] * len(units)
        if self.recipe.sparsity:
            sizes = [sum(linear.size for linear in unit) for unit in units]
            options = options_of(self.row.allocate, self.recipe.allocation.options)
            given = (signals or values, sizes, self.recipe.sparsity)
            try:
                values = self.row.allocate(*given, **options)
            except UnsolvedError as error:
                what = f"allocation {self.row.name}"
                expected = "a linear program that can be solved"
                fix = "use more calibration text, or another --allocation"
                raise DataError(what, expected=expected, found=str(error), fix=fix) from error
        pairs = zip(units, values, strict=True)
        return {linear.name: value for unit, value in pairs for linear in unit}

    def _measure(
        self,
        linears: Sequence[Linear],
        sums: BlockSums,
        weight_of: Callable[[Linear], torch.Tensor],
    ) -> float:
        """A signal of weights and inputs; not a number where only experts are in it that saw
        nothing. A function of its own, so that no weight outlives its block."""
        # Experts that saw too little say nothing, unless a whole block has only such.
        minima = (self.recipe.expert_tokens, 1)
        for minimum in minima[: 1 if self.recipe.allocation_level == "linear" else 2]:
            seen = [inputs_of(one.name, sums[one.name], self.weights, minimum) for one in linears]
            inputs = [one for one in seen if one is not None]
            if inputs:
                pairs = zip(linears, seen, strict=True)
                weights = [weight_of(linear) for linear, one in pairs if one is not None]
                return measure_block(self.row, weights, inputs, self.recipe.allocation.options)
        return math.nan

    def _compare(
        self, visit: Visit, linears: Sequence[Linear], sums: BlockSums, probe: Probe
    ) -> Curves:
        """Mask these linears of a block at one sparsity after the other, and see what its outputs
        lose by it, or at some what their own do; in the end every weight is what it was."""
        languages = self.passes.languages
        found = torch.zeros(len(probe.sparsities), len(languages), 2, dtype=torch.float64)
        shares = torch.zeros(len(probe.sparsities), dtype=torch.float64)
        places = {linear.name: place for place, linear in enumerate(visit.block.linears)}
        minimum = self.recipe.expert_tokens
        follows = len(probe.compared) < len(probe.sparsities)
        with self._restored(linears) as originals:
            for row, sparsity in enumerate(probe.sparsities):
                if not sparsity:
                    continue  # nothing goes, nothing is lost
                for linear in linears:
                    original, owner = originals[linear.name], self.ranks.owner(places[linear.name])
                    mask = torch.empty(original.shape, dtype=torch.bool, device=original.device)
                    if self.ranks.rank == owner:
                        entries = sums[linear.name]
                        inputs = inputs_of(linear.name, entries, self.weights, minimum)
                        mask = self.pruner.choose(linear, original, inputs, sparsity)
                        if follows and inputs is not None:
                            shares[row] += removed_share(original, ~mask, inputs)
                    if sparsity not in probe.compared:
                        continue
                    removed = ~self.ranks.send(mask, owner)
                    used = self.decoder.linear_weight(linear)
                    used.copy_(original).masked_fill_(removed, 0)
                if sparsity in probe.compared:
                    found[row] = self.passes.compare(visit)
        self.ranks.total([found, shares])
        if not bool(torch.isfinite(found).all()):
            what = f"block {visit.block.index}, allocation {self.row.name}"
            expected = "finite outputs of the masked block"
            fix = "compute in float32 with --compute-dtype float32"
            raise DataError(what, expected=expected, found="NaN or infinity", fix=fix)
        errors = (found[..., 0] / found[..., 1].clamp_min(1)).t().tolist()
        if follows:
            at = probe.sparsities.index(probe.compared[0])
            errors = [extended(curve[at], shares.tolist(), at) for curve in errors]
        return Curves(
            probe.sparsities,
            {tag: tuple(curve) for tag, curve in zip(languages, errors, strict=True)},
            {tag: self.weights[tag] for tag in languages},
        )

    @contextmanager
    def _restored(self, linears: Sequence[Linear]) -> Iterator[dict[str, torch.Tensor]]:
        """Copies of the weights ``[out, in]``, which are put back at the end, come what may."""
        originals = {linear.name: self.decoder.linear_weight(linear).clone() for linear in linears}
        try:
            yield originals
        finally:
            for linear in linears:
                self.decoder.linear_weight(linear).copy_(originals[linear.name])
