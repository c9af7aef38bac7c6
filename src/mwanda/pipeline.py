"""The one visible loop over blocks. No maths in it: it joins statistics, scores and masks.

``sequential``: a block's statistics are taken on what the pruned blocks before it produce, then a
second pass gives the pruned outputs that feed the next block. ``dense``: one pass over the unpruned
model, whose statistics then serve every block. Allocations that differ by block need all blocks'
statistics first, so they cost a dense pass in either mode.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch

from mwanda.activations import ActivationStore
from mwanda.errors import InputError
from mwanda.masks import MaskRecord, choose_mask, count_zeros, record
from mwanda.model.decoder import Decoder
from mwanda.model.structure import Block, Linear, Structure
from mwanda.options import RunOptions
from mwanda.patterns.unstructured import pruned_per_row
from mwanda.recipe import Method, Recipe
from mwanda.registry import (
    find_allocation,
    measure_block,
    options_of,
    statistics_needed,
)
from mwanda.statistics.capture import BlockSums, Capture
from mwanda.statistics.store import StatisticsStore
from mwanda.statistics.sums import InputStatistics, Need, summarise

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


@dataclass(frozen=True)
class _Batch:
    language: str
    input_ids: torch.Tensor


@dataclass
class _Run:
    """Everything one prune needs at every block."""

    decoder: Decoder
    chosen: Structure
    recipe: Recipe
    weights: Mapping[str, float]
    batches: list[_Batch]
    needs: tuple[Need, ...]
    scratch: Path
    options: RunOptions
    outcome: Outcome

    @property
    def tokens(self) -> int:
        return sum(batch.input_ids.numel() for batch in self.batches)


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
) -> Outcome:
    """Prune every chosen linear, block by block.

    Args:
        decoder: the model; its weights are masked in the copy the forward uses.
        chosen: the blocks with the linears to prune.
        recipe: resolved, see :meth:`Recipe.build`.
        windows: language -> token ids ``int64 [windows, length]``; empty where the recipe needs no
            text.
        weights: language -> weight.
        sink: is given every pruned weight.
        scratch: a folder for spilled activations and statistics.
        options: how to run.

    Raises:
        InputError: a pattern that does not fit a linear, or a family that cannot be streamed.
        DataError: values that are not finite.
    """
    check_pattern(chosen, recipe)
    if recipe.allocation is None or recipe.sparsity is None:
        raise InputError("recipe", expected="a resolved one", fix="make it with Recipe.build")
    allocation = find_allocation(recipe.allocation.name)
    needs = statistics_needed(recipe.criterion_row(), allocation) if recipe.needs_text else ()
    batches = _batches(windows, options.batch_tokens) if needs else []
    run = _Run(decoder, chosen, recipe, weights, batches, needs, scratch, options, Outcome())
    dense = recipe.mode == "dense"
    scored = bool(needs) and bool(recipe.criterion_row().needs)
    store = StatisticsStore(scratch) if scored and dense else None
    if needs and (dense or allocation.measure is not None):
        with run.outcome.timed("dense pass"):
            _dense_pass(run, store)
    _allocate(run)
    with run.outcome.timed("prune"):
        if scored and not dense:
            _prune_sequentially(run, sink)
        else:
            _prune_from(run, store, sink)
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
    """Statistics of the unpruned model, block by block: kept in ``store``, measured, dropped."""
    recipe, outcome = run.recipe, run.outcome
    if recipe.allocation is None:
        return
    allocation = find_allocation(recipe.allocation.name)
    blocks = run.chosen.blocks
    run.options.progress.stage("dense pass", len(blocks))
    with _embedded(run) as activations:
        for block in blocks:
            last = block.index == len(blocks) - 1
            with run.decoder.block(block.index) as module:
                sums = _statistics(run, block, module, activations, keep_outputs=not last)
                if allocation.measure is not None and block.linears:
                    outcome.signals.append(_measure(run, block, sums, recipe.allocation))
            if store is not None:
                store.save(block.index, sums)
            run.options.progress.block(run.tokens)


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


def _prune_sequentially(run: _Run, sink: Sink) -> None:
    blocks = run.chosen.blocks
    run.options.progress.stage("prune", len(blocks))
    with _embedded(run) as activations:
        for block in blocks:
            last = block.index == len(blocks) - 1
            with run.decoder.block(block.index) as module:
                if block.linears:
                    sums = _statistics(run, block, module, activations, keep_outputs=False)
                    for linear in block.linears:
                        inputs = summarise(sums.pop(linear.name), run.weights)
                        _prune_linear(run, linear, inputs, sink)
                if not last:
                    _advance(run, block, module, activations)
            run.options.progress.block(run.tokens)


def _prune_from(run: _Run, store: StatisticsStore | None, sink: Sink) -> None:
    """Prune with statistics at hand, or none at all: no forward."""
    run.options.progress.stage("prune", len(run.chosen.blocks))
    for block in run.chosen.blocks:
        sums = store.load(block.index) if store is not None else {}
        for linear in block.linears:
            known = sums.get(linear.name)
            inputs = summarise(known, run.weights) if known is not None else None
            _prune_linear(run, linear, inputs, sink)
        run.options.progress.block(0)


def _prune_linear(run: _Run, linear: Linear, inputs: InputStatistics | None, sink: Sink) -> None:
    recipe = run.recipe
    weight = run.decoder.source_weight(linear)
    sparsity = run.outcome.sparsities[linear.name]
    pattern = recipe.pattern_row()
    if recipe.sparsity == 0 or (
        pattern.fixed is None and not pruned_per_row(linear.columns, sparsity)
    ):
        mask = torch.ones(weight.shape, dtype=torch.bool)
    else:
        mask = choose_mask(
            linear.name,
            weight,
            inputs,
            recipe.criterion_row(),
            recipe.criterion.options,
            pattern,
            sparsity,
        )
    source_zeros = count_zeros(weight)
    removed = ~mask.to(weight.device)
    weight.masked_fill_(removed, 0)
    run.decoder.mask_used(linear, weight, removed)
    run.outcome.records[linear.name] = record(mask, sink(linear, weight), source_zeros)


def _statistics(
    run: _Run,
    block: Block,
    module: torch.nn.Module,
    activations: ActivationStore,
    *,
    keep_outputs: bool,
) -> BlockSums:
    names = [linear.name for linear in block.linears]
    with Capture(run.decoder.model, names, run.needs) as capture:
        for index, batch in enumerate(run.batches):
            capture.language = batch.language
            output = run.decoder.run_block(block.index, module, activations[index])
            if keep_outputs:
                activations[index] = output
    capture.check(block.index)
    return capture.sums


def _advance(
    run: _Run, block: Block, module: torch.nn.Module, activations: ActivationStore
) -> None:
    for index in range(len(run.batches)):
        activations[index] = run.decoder.run_block(block.index, module, activations[index])


@contextmanager
def _embedded(run: _Run) -> Iterator[ActivationStore]:
    """The first block's inputs of every batch."""
    limit = run.options.activation_memory
    with ActivationStore(limit, run.scratch, run.decoder.device) as activations:
        with run.decoder.outside(head=False):
            for batch in run.batches:
                activations.append(run.decoder.embed(batch.input_ids))
        run.outcome.spilled = max(run.outcome.spilled, activations.spilled)
        yield activations


def _batches(windows: Mapping[str, torch.Tensor], batch_tokens: int) -> list[_Batch]:
    batches = []
    for language, ids in windows.items():
        step = max(1, batch_tokens // ids.shape[1])
        batches += [_Batch(language, part) for part in ids.split(step)]
    return batches
