"""The one visible loop over blocks. No maths in it: it joins statistics, scores and masks.

What is done in which order is a :class:`mwanda.pruning.schedule.Schedule`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from mwanda.errors import InputError
from mwanda.methods.input_statistics import FeatureSums, Need
from mwanda.methods.recipe.resolved import ResolvedRecipe
from mwanda.model.run.decoder import Decoder
from mwanda.model.run.structure import Structure
from mwanda.pruning.block_pruner import BlockPruner
from mwanda.pruning.calibration_passes import Passes, Visit
from mwanda.pruning.journal import Journal
from mwanda.pruning.outcome import MaskSink, Outcome, Sink
from mwanda.pruning.schedule import LOOK, PRUNE, Schedule
from mwanda.pruning.sensitivity import Surveyor
from mwanda.pruning.statistics.capture import Capture
from mwanda.pruning.statistics.file import SavedStatistics
from mwanda.pruning.statistics.routed import routed_tokens
from mwanda.pruning.statistics.spill import StatisticsSpill
from mwanda.system.device import DTYPES
from mwanda.system.heap import trim
from mwanda.system.ranks import ALONE, Ranks
from mwanda.system.run_options import RunOptions


@dataclass
class _Run:
    """Everything one prune needs at every block."""

    decoder: Decoder
    chosen: Structure
    schedule: Schedule
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
    recipe: ResolvedRecipe,
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
        recipe: what to do.
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
    """
    check_pattern(chosen, recipe)
    schedule = Schedule.of(recipe, saved=saved is not None)
    windows = windows if schedule.passes_text else {}
    probed = None if schedule.probe is None else schedule.probe.windows
    journal = journal or Journal()
    passes = Passes(
        decoder, chosen, windows, weights, scratch, options, ranks,
        recipe.skip_first_tokens, probed, journal,
    )  # fmt: skip
    outcome = journal.known("outcome", Outcome.of_data, Outcome())
    journal.take_part("outcome", lambda: (outcome.as_data(), ()))
    pruner = BlockPruner(decoder, recipe, weights, ranks, sink, outcome, keep_mask)
    surveyor = Surveyor(decoder, recipe, weights, passes, pruner, ranks)
    run = _Run(decoder, chosen, schedule, passes, options, outcome, pruner, surveyor, journal)
    store: StatisticsSpill | SavedStatistics | None = saved
    if schedule.masks == "kept":
        parts = FeatureSums.parts_of(schedule.look_needs)
        store = StatisticsSpill(journal.folder or scratch, list(windows), parts, journal)
    _look(run, store)
    outcome.signals = surveyor.filled(outcome.signals)
    sparsities = surveyor.share_out(chosen, outcome.signals)
    with outcome.timed("prune"):
        if schedule.masks == "twice":
            _prune_twice(run, sparsities)
        elif schedule.masks == "once":
            _prune_once(run, sparsities)
        else:
            _prune_from(run, None if schedule.masks == "weights" else store, sparsities)
    outcome.spilled = passes.spilled
    return outcome


def check_pattern(chosen: Structure, recipe: ResolvedRecipe) -> None:
    """Refuse an N:M pattern whose M does not divide a linear's width."""
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


def check_experts(chosen: Structure, recipe: ResolvedRecipe) -> None:
    """Refuse a reconstruction of experts: too few tokens reach most of them for a Gram matrix."""
    experts = [linear.name for linear in chosen.linears() if linear.expert is not None]
    if recipe.reconstruction is not None and experts:
        raise InputError(
            f"reconstruction {recipe.reconstruction.name}",
            expected="linears that every token goes through",
            found=f"{experts[0]} and {len(experts) - 1} more of experts",
            fix=r"leave experts out with --exclude '\.experts\.', or use no reconstruction",
        )


def _look(run: _Run, store: StatisticsSpill | SavedStatistics | None) -> None:
    """The allocation's look at all blocks; not again where some are pruned already."""
    look, outcome = run.schedule.look, run.outcome
    if look == "text":
        with outcome.timed(LOOK):
            _look_at_text(run, store if isinstance(store, StatisticsSpill) else None)
    elif run.journal.done(PRUNE):
        return
    elif look == "saved" and isinstance(store, SavedStatistics):
        with outcome.timed("look at statistics"):
            _look_at_saved(run, store)
    elif look == "weights":
        with outcome.timed("look at weights"):
            for block in run.chosen.blocks:
                outcome.signals += run.surveyor.of_weights(block)


def _look_at_text(run: _Run, store: StatisticsSpill | None) -> None:
    """Statistics of the unpruned model, block by block: measured, and kept if there is a store."""
    probing = run.schedule.probe is not None

    def look(visit: Visit) -> int:
        needs = run.schedule.look_needs
        seen = _statistics(run, visit, needs, keep_outputs=probing or not visit.last)
        run.outcome.signals += run.surveyor.look(visit, seen.sums)
        if store is not None:
            store.add(visit.block, seen.sums, seen.grams)
        return run.surveyor.compared(visit.block)

    run.passes.visit(LOOK, look, probing=probing)


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


def _prune_twice(run: _Run, sparsities: Mapping[str, float]) -> None:
    """Every block twice: its statistics on pruned inputs, then its pruned outputs."""

    def prune(visit: Visit) -> int:
        if visit.block.linears:
            seen = _statistics(run, visit, run.schedule.needs, keep_outputs=False)
            run.pruner.prune(visit.block, sparsities, seen.sums, seen.grams.get)
        if not visit.last:
            run.passes.advance(visit)
        return 0

    run.passes.visit(PRUNE, prune)


def _prune_once(run: _Run, sparsities: Mapping[str, float]) -> None:
    """Every block once: its outputs, which feed the next block, are made before it is pruned."""

    def prune(visit: Visit) -> int:
        seen = _statistics(run, visit, run.schedule.needs, keep_outputs=not visit.last)
        run.pruner.prune(visit.block, sparsities, seen.sums, seen.grams.get)
        return 0

    run.passes.visit(PRUNE, prune)


def _prune_from(
    run: _Run,
    store: StatisticsSpill | SavedStatistics | None,
    sparsities: Mapping[str, float],
) -> None:
    """Prune with statistics at hand, or none at all: no forward."""
    blocks, done = run.chosen.blocks, run.journal.done(PRUNE)
    run.options.progress.stage(PRUNE, len(blocks) - done)
    for block in blocks[done:]:
        run.decoder.expect(block.linears)
        if store is None:
            run.pruner.prune(block, sparsities, None, lambda _name: None)
        else:
            find, sums = partial(store.load_gram, block.index), store.load(block.index)
            run.outcome.routing |= routed_tokens(sums)
            run.pruner.prune(block, sparsities, sums, find)
        trim()
        run.journal.finished(PRUNE, block.index + 1, None, last=block.index == len(blocks) - 1)
        run.options.progress.block(0)
