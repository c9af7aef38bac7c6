"""The one visible loop over blocks. No maths in it: it joins statistics, scores and masks.

``sequential``: a block's statistics are taken on what the pruned blocks before it produce, then a
second pass gives the pruned outputs that feed the next block. ``dense``: one pass over the unpruned
model, whose statistics then serve every block. Allocations that differ by block need all blocks'
statistics first: in sequential mode that costs a dense pass more, in dense mode a second reading of
the weights. Statistics saved from an earlier pass take the place of a dense one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from mwanda.errors import InputError
from mwanda.methods.input_statistics import Need
from mwanda.methods.recipe.asked import Recipe
from mwanda.methods.registry import find_allocation
from mwanda.model.run.decoder import Decoder
from mwanda.model.run.structure import Structure
from mwanda.pruning.block_pruner import BlockPruner
from mwanda.pruning.calibration_passes import Passes, Visit
from mwanda.pruning.journal import Journal
from mwanda.pruning.outcome import MaskSink, Outcome, Sink
from mwanda.pruning.sensitivity import Surveyor
from mwanda.pruning.statistics.capture import Capture
from mwanda.pruning.statistics.file import SavedStatistics
from mwanda.pruning.statistics.routed import routed_tokens
from mwanda.pruning.statistics.store import StatisticsStore
from mwanda.pruning.units import probe_of, units_of
from mwanda.system.device import DTYPES
from mwanda.system.heap import trim
from mwanda.system.ranks import ALONE, Ranks
from mwanda.system.run_options import RunOptions

__all__ = ["check_pattern", "prune_blocks"]


@dataclass
class _Run:
    """Everything one prune needs at every block."""

    decoder: Decoder
    chosen: Structure
    recipe: Recipe
    weights: Mapping[str, float]
    passes: Passes
    options: RunOptions
    outcome: Outcome
    pruner: BlockPruner
    surveyor: Surveyor
    journal: Journal


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
    saved: SavedStatistics | None = None,
    keep_mask: MaskSink | None = None,
    journal: Journal | None = None,
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
        saved: statistics of an earlier dense pass, which then is not made; no windows.
        keep_mask: is given every mask, in every process.
        journal: is told of every finished block, and says which an earlier run had finished.

    Raises:
        InputError: a pattern that does not fit a linear, or a family that cannot be streamed.
        DataError: values that are not finite.
    """
    check_pattern(chosen, recipe)
    if recipe.allocation is None or recipe.sparsity is None:
        raise InputError("recipe", expected="a resolved one", fix="make it with Recipe.build")
    allocation = find_allocation(recipe.allocation.name)
    needs = recipe.linear_needs if recipe.needs_text else ()
    survey = allocation.needs_text and recipe.needs_text
    windows = windows if needs or survey else {}
    skip, probe = recipe.skip_first_tokens, probe_of(recipe)
    probed = None if probe is None else probe.windows
    journal = journal or Journal()
    passes = Passes(
        decoder, chosen, windows, weights, scratch, options, ranks, skip, probed, journal
    )
    outcome = journal.known("outcome", Outcome.of_data, Outcome())
    journal.take_part("outcome", lambda: (outcome.as_data(), ()))
    pruner = BlockPruner(decoder, recipe, weights, ranks, sink, outcome, keep_mask)
    surveyor = Surveyor(decoder, recipe, recipe.allocation, weights, passes, pruner, ranks)
    run = _Run(
        decoder, chosen, recipe, weights, passes, options, outcome, pruner, surveyor, journal
    )
    scored = bool(needs)
    dense = scored and recipe.mode == "dense"
    store: StatisticsStore | SavedStatistics | None = saved if scored else None
    surveyed = journal.done("prune") > 0
    if survey and saved is not None and not surveyed:
        with run.outcome.timed("look at statistics"):
            _look_at_saved(run, saved)
    elif survey and saved is None:
        store = StatisticsStore(journal.folder or scratch) if dense else None
        if store is not None:
            journal.take_part("statistics", store.settle)
        with run.outcome.timed("dense pass"):
            wanted = (*needs, *surveyor.needs) if dense else surveyor.needs
            _dense_pass(run, store, tuple(dict.fromkeys(wanted)))
    if allocation.measures_weights_only and recipe.sparsity and not surveyed:
        with run.outcome.timed("look at weights"):
            _look_at_weights(run)
    outcome.signals = surveyor.filled(outcome.signals)
    outcome.sparsities |= surveyor.share_out(chosen, outcome.signals)
    with run.outcome.timed("prune"):
        if scored and recipe.mode == "sequential":
            _prune_sequentially(run)
        elif dense and not survey and saved is None:
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
    check_experts(chosen, recipe)
    group = recipe.pattern_row().group
    bad = [linear for linear in chosen.linears() if linear.columns % group]
    if bad:
        raise InputError(
            f"pattern {recipe.pattern}",
            expected=f"input widths divisible by {group}",
            found=f"{bad[0].name} with {bad[0].columns} inputs ({len(bad)} such linears)",
            fix="leave them out with --exclude, or use pattern unstructured",
        )


def check_experts(chosen: Structure, recipe: Recipe) -> None:
    """Refuse a reconstruction of experts: too few tokens reach most of them for a Gram matrix.

    Raises:
        InputError: naming the first.
    """
    experts = [linear.name for linear in chosen.linears() if linear.expert is not None]
    if recipe.reconstruction is not None and experts:
        raise InputError(
            f"reconstruction {recipe.reconstruction.name}",
            expected="linears that every token goes through",
            found=f"{experts[0]} and {len(experts) - 1} more of experts",
            fix=r"leave experts out with --exclude '\.experts\.', or use no reconstruction",
        )


def _dense_pass(run: _Run, store: StatisticsStore | None, needs: tuple[Need, ...]) -> None:
    """Statistics of the unpruned model, block by block: measured, and kept if there is a store."""
    probing = run.surveyor.probe is not None

    def look(visit: Visit) -> None:
        seen = _statistics(run, visit, needs, keep_outputs=probing or not visit.last)
        run.outcome.signals += run.surveyor.look(visit, seen.sums)
        if store is not None:
            store.save(visit.block.index, seen.sums, seen.grams, seen.leaders)

    run.passes.visit("dense pass", look, probing=probing)


def _look_at_saved(run: _Run, saved: SavedStatistics) -> None:
    """The signals that the pass would have given whose statistics were saved: no forward."""
    dtype = DTYPES[saved.record.compute_dtype]
    for block in run.chosen.blocks:
        sums = saved.load(block.index)
        run.outcome.routing |= routed_tokens(sums)
        run.decoder.expect(block.linears)
        run.outcome.signals += run.surveyor.of_saved(block, sums, dtype)
        trim()


def _statistics(run: _Run, visit: Visit, needs: tuple[Need, ...], *, keep_outputs: bool) -> Capture:
    seen = run.passes.statistics(visit, needs, keep_outputs=keep_outputs)
    run.outcome.routing |= routed_tokens(seen.sums)
    return seen


def _look_at_weights(run: _Run) -> None:
    """Signals of an allocation that needs no text: no forward."""
    for block in run.chosen.blocks:
        for linears in units_of(block, run.recipe):
            run.outcome.signals.append(run.surveyor.of_weights(linears))


def _prune_sequentially(run: _Run) -> None:
    """Every block twice: its statistics on pruned inputs, then its pruned outputs."""

    def prune(visit: Visit) -> None:
        if visit.block.linears:
            needs = run.recipe.linear_needs
            _prune_seen(run, visit, _statistics(run, visit, needs, keep_outputs=False))
        if not visit.last:
            run.passes.advance(visit)

    run.passes.visit("prune", prune)


def _prune_in_one_pass(run: _Run) -> None:
    """Every block once: its outputs, which feed the next block, are made before it is pruned."""

    def prune(visit: Visit) -> None:
        needs = run.recipe.linear_needs
        _prune_seen(run, visit, _statistics(run, visit, needs, keep_outputs=not visit.last))

    run.passes.visit("prune", prune)


def _prune_seen(run: _Run, visit: Visit, seen: Capture) -> None:
    """Prune a block with statistics just taken, each dropped after its last use."""
    run.pruner.prune(visit.block, seen.sums, lambda name: seen.grams.pop(name, None))


def _prune_from(run: _Run, store: StatisticsStore | SavedStatistics | None) -> None:
    """Prune with statistics at hand, or none at all: no forward."""
    blocks, done = run.chosen.blocks, run.journal.done("prune")
    run.options.progress.stage("prune", len(blocks) - done)
    for block in blocks[done:]:
        run.decoder.expect(block.linears)
        if store is None:
            run.pruner.prune(block, None, lambda _name: None)
        else:
            find, sums = partial(store.load_gram, block.index), store.load(block.index)
            run.outcome.routing |= routed_tokens(sums)
            run.pruner.prune(block, sums, find)
        trim()
        run.journal.finished("prune", block.index + 1, None, last=block.index == len(blocks) - 1)
        run.options.progress.block(0)
