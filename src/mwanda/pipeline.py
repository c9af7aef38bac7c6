"""The one visible loop over blocks. No maths in it: it joins statistics, scores and masks.

``sequential``: a block's statistics are taken on what the pruned blocks before it produce, then a
second pass gives the pruned outputs that feed the next block. ``dense``: one pass over the unpruned
model, whose statistics then serve every block. Allocations that differ by block need all blocks'
statistics first: in sequential mode that costs a dense pass more, in dense mode a second reading of
the weights.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch

from mwanda.errors import InputError
from mwanda.masks import MaskRecord, choose_mask, count_zeros, record
from mwanda.model.decoder import Decoder
from mwanda.model.structure import Block, Linear, Structure
from mwanda.options import RunOptions
from mwanda.passes import Passes, Visit
from mwanda.ranks import ALONE, Ranks
from mwanda.recipe import Method, Recipe
from mwanda.registry import (
    find_allocation,
    measure_block,
    options_of,
    statistics_needed,
)
from mwanda.statistics.capture import BlockSums
from mwanda.statistics.store import StatisticsStore
from mwanda.statistics.sums import InputStatistics, summarise

__all__ = ["Outcome", "Sink", "check_pattern", "prune_blocks"]

Sink = Callable[[Linear, torch.Tensor], torch.Tensor]
"""Given a linear and its pruned weight ``[out, in]`` in the source's dtype; returns what it wrote,
which another dtype may have given more zeros."""


@dataclass
class Outcome:
    """What pruning did.

    Attributes:
        records: linear name -> counts and hashes of its mask.
        sparsities: linear name -> sparsity the allocation gave it.
        signals: one value a block from the allocation's measure; empty without one.
        seconds: stage -> wall time.
        spilled: most bytes of activations that were on disk at once.
    """

    records: dict[str, MaskRecord] = field(default_factory=dict)
    sparsities: dict[str, float] = field(default_factory=dict)
    signals: list[float] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    spilled: int = 0

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - start


@dataclass
class _Run:
    """Everything one prune needs at every block."""

    decoder: Decoder
    chosen: Structure
    recipe: Recipe
    weights: Mapping[str, float]
    passes: Passes
    options: RunOptions
    ranks: Ranks
    sink: Sink
    outcome: Outcome = field(default_factory=Outcome)


@torch.no_grad()
def prune_blocks(
    decoder: Decoder,
    chosen: Structure,
    recipe: Recipe,
    windows: Mapping[str, torch.Tensor],
    weights: Mapping[str, float],
    sink: Sink,
    scratch: Path,
    options: RunOptions,
    ranks: Ranks = ALONE,
) -> Outcome:
    """Prune every chosen linear, block by block.

    Args:
        decoder: the model; its weights are masked in the copy the forward uses.
        chosen: the blocks with the linears to prune.
        recipe: resolved, see :meth:`Recipe.build`.
        windows: language -> token ids ``int64 [windows, length]``; empty where the recipe needs no
            text.
        weights: language -> weight.
        sink: is given every pruned weight, in every process.
        scratch: a folder for spilled activations and statistics.
        options: how to run.
        ranks: the processes that share the work; each is given the same of all the above.

    Raises:
        InputError: a pattern that does not fit a linear, or a family that cannot be streamed.
        DataError: values that are not finite.
    """
    check_pattern(chosen, recipe)
    if recipe.allocation is None or recipe.sparsity is None:
        raise InputError("recipe", expected="a resolved one", fix="make it with Recipe.build")
    allocation = find_allocation(recipe.allocation.name)
    criterion = recipe.criterion_row()
    needs = statistics_needed(criterion, allocation) if recipe.needs_text else ()
    windows = windows if needs else {}
    passes = Passes(decoder, chosen, windows, needs, scratch, options, ranks)
    run = _Run(decoder, chosen, recipe, weights, passes, options, ranks, sink)
    scored = bool(needs) and bool(criterion.needs)
    survey = bool(needs) and bool(allocation.needs)
    dense = scored and recipe.mode == "dense"
    store = StatisticsStore(scratch) if dense and survey else None
    if survey:
        with run.outcome.timed("dense pass"):
            _dense_pass(run, store)
    if allocation.measures_weights_only and recipe.sparsity:
        with run.outcome.timed("look at weights"):
            _look_at_weights(run)
    _allocate(run)
    with run.outcome.timed("prune"):
        if scored and recipe.mode == "sequential":
            _prune_sequentially(run)
        elif dense and not survey:
            _prune_in_one_pass(run)
        else:
            _prune_from(run, store)
    run.outcome.spilled = passes.spilled
    return run.outcome


def check_pattern(chosen: Structure, recipe: Recipe) -> None:
    """Refuse an N:M pattern whose M does not divide a linear's width.

    Raises:
        InputError: naming the first such linears.
    """
    group = recipe.pattern_row().group
    bad = [linear for linear in chosen.linears() if linear.columns % group]
    if bad:
        raise InputError(
            f"pattern {recipe.pattern}",
            expected=f"input widths divisible by {group}",
            found=f"{bad[0].name} with {bad[0].columns} inputs ({len(bad)} such linears)",
            fix="leave them out with --exclude, or use pattern unstructured",
        )


def _dense_pass(run: _Run, store: StatisticsStore | None) -> None:
    """Statistics of the unpruned model, block by block: measured, and kept if there is a store."""
    recipe, outcome = run.recipe, run.outcome
    if recipe.allocation is None:
        return
    allocation = recipe.allocation

    def look(visit: Visit) -> None:
        sums = run.passes.statistics(visit, keep_outputs=not visit.last)
        if visit.block.linears:
            outcome.signals.append(_measure(run, visit.block, sums, allocation))
        if store is not None:
            store.save(visit.block.index, sums)

    run.passes.visit("dense pass", look)


def _look_at_weights(run: _Run) -> None:
    """Signals of an allocation that needs no text: no forward."""
    if run.recipe.allocation is None:
        return
    row, options = find_allocation(run.recipe.allocation.name), run.recipe.allocation.options
    for block in run.chosen.blocks:
        if block.linears:
            weights = [run.decoder.source_weight(linear) for linear in block.linears]
            run.outcome.signals.append(measure_block(row, weights, [], options))


def _measure(run: _Run, block: Block, sums: BlockSums, allocation: Method) -> float:
    """One block's signal. A function of its own, so that no weight outlives its block."""
    return measure_block(
        find_allocation(allocation.name),
        [run.decoder.linear_weight(linear) for linear in block.linears],
        [summarise(sums[linear.name], run.weights) for linear in block.linears],
        allocation.options,
    )


def _allocate(run: _Run) -> None:
    recipe = run.recipe
    if recipe.allocation is None or recipe.sparsity is None:
        return
    row = find_allocation(recipe.allocation.name)
    blocks = [block for block in run.chosen.blocks if block.linears]
    signals = run.outcome.signals or [0.0] * len(blocks)
    values = row.allocate(
        signals,
        [block.size for block in blocks],
        recipe.sparsity,
        **options_of(row.allocate, recipe.allocation.options),
    )
    for block, value in zip(blocks, values, strict=True):
        for linear in block.linears:
            run.outcome.sparsities[linear.name] = value


def _prune_sequentially(run: _Run) -> None:
    """Every block twice: its statistics on pruned inputs, then its pruned outputs."""

    def prune(visit: Visit) -> None:
        if visit.block.linears:
            _prune_block(run, visit.block, run.passes.statistics(visit, keep_outputs=False))
        if not visit.last:
            run.passes.advance(visit)

    run.passes.visit("prune", prune)


def _prune_in_one_pass(run: _Run) -> None:
    """Every block once: its outputs, which feed the next block, are made before it is pruned."""

    def prune(visit: Visit) -> None:
        sums = run.passes.statistics(visit, keep_outputs=not visit.last)
        _prune_block(run, visit.block, sums)

    run.passes.visit("prune", prune)


def _prune_from(run: _Run, store: StatisticsStore | None) -> None:
    """Prune with statistics at hand, or none at all: no forward."""
    blocks = run.chosen.blocks
    run.options.progress.stage("prune", len(blocks))
    for block in blocks:
        run.decoder.expect(block.linears)
        _prune_block(run, block, None if store is None else store.load(block.index))
        run.options.progress.block(0)


def _prune_block(run: _Run, block: Block, sums: BlockSums | None) -> None:
    """Choose, apply and hand on the masks of one block, each made by the process it belongs to."""
    for place, linear in enumerate(block.linears):
        weight = run.decoder.source_weight(linear)
        owner = run.ranks.owner(place)
        if run.ranks.rank == owner:
            inputs = None if sums is None else summarise(sums.pop(linear.name), run.weights)
            mask = _choose(run, linear, weight, inputs)
        else:
            mask = torch.empty(weight.shape, dtype=torch.bool)
        mask = run.ranks.send(mask, owner)
        source_zeros = count_zeros(weight)
        removed = ~mask.to(weight.device)
        weight.masked_fill_(removed, 0)
        run.decoder.mask_used(linear, weight, removed)
        run.outcome.records[linear.name] = record(mask, run.sink(linear, weight), source_zeros)


def _choose(
    run: _Run, linear: Linear, weight: torch.Tensor, inputs: InputStatistics | None
) -> torch.Tensor:
    recipe = run.recipe
    sparsity = run.outcome.sparsities[linear.name]
    pattern = recipe.pattern_row()
    if recipe.sparsity == 0 or not pattern.removed(linear.rows, linear.columns, sparsity):
        return torch.ones(weight.shape, dtype=torch.bool)
    return choose_mask(
        linear.name,
        weight,
        inputs,
        recipe.criterion_row(),
        recipe.criterion.options,
        pattern,
        sparsity,
    )
