"""The one visible loop over blocks. No maths in it: it joins statistics, scores and masks.

What is done in which order is a :class:`mwanda.pruning.schedule.Schedule`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import torch

from mwanda.methods.input_statistics import FeatureSums, Need
from mwanda.pruning.block_pruner import BlockPruner
from mwanda.pruning.calibration_passes import Passes, Visit
from mwanda.pruning.forecast.operations import blocks_after_look
from mwanda.pruning.outcome import OUTCOME, MaskSink, Outcome, Sink
from mwanda.pruning.schedule import LOOK, PRUNE, Schedule
from mwanda.pruning.sensitivity import Surveyor
from mwanda.pruning.statistics.capture import Capture
from mwanda.pruning.statistics.file import SavedStatistics, StatisticsSpill
from mwanda.pruning.statistics.routed import routed_tokens
from mwanda.pruning.task import Task
from mwanda.pruning.units import probe_runs
from mwanda.system.device import DTYPES
from mwanda.system.heap import trim


@dataclass
class _Run:
    """Everything one prune needs at every block; the store holds sums that were put aside."""

    task: Task
    schedule: Schedule
    passes: Passes
    outcome: Outcome
    pruner: BlockPruner
    surveyor: Surveyor
    store: StatisticsSpill | SavedStatistics | None


@torch.no_grad()
def prune_blocks(
    task: Task, sink: Sink, keep_mask: MaskSink = lambda _linear, _mask: None
) -> Outcome:
    """Prune every chosen linear, block by block. Sink and mask sink are given all weights and all
    masks, in every process."""
    schedule, journal = task.schedule, task.journal
    windows = task.evidence.tokens if schedule.visits else {}

    probe = schedule.probe
    passes = Passes(task, windows, None if probe is None else probe.windows)
    outcome = journal.known("outcome", OUTCOME.validate_python, Outcome())
    journal.take_part("outcome", lambda: (OUTCOME.dump_python(outcome), ()))
    pruner = BlockPruner(task, sink, outcome, keep_mask)
    surveyor = Surveyor(pruner, passes)
    store: StatisticsSpill | SavedStatistics | None = task.evidence.saved
    if schedule.masks == "kept":
        parts = FeatureSums.parts_of(schedule.look_needs)
        store = StatisticsSpill(journal.folder or task.scratch, list(windows), parts, journal)
    run = _Run(task, schedule, passes, outcome, pruner, surveyor, store)
    _look(run)
    outcome.signals = surveyor.filled(outcome.signals)
    sparsities = surveyor.share_out(task.chosen, outcome.signals)
    with outcome.timed("prune"):
        if schedule.masks in ("once", "twice"):
            _prune_on_text(run, sparsities, twice=schedule.masks == "twice")
        else:
            _prune_from_store(run, sparsities)
    outcome.spilled = passes.spilled
    return outcome


def _look(run: _Run) -> None:
    """The allocation's look at all blocks; not again where some are pruned already."""
    look, outcome = run.schedule.look, run.outcome
    if look == "text":
        with outcome.timed(LOOK):
            _look_at_text(run)
    elif run.task.journal.done(PRUNE):
        return
    elif look == "saved" and isinstance(run.store, SavedStatistics):
        with outcome.timed("look at statistics"):
            _look_at_saved(run, run.store)
    elif look == "weights":
        with outcome.timed("look at weights"):
            for block in run.task.chosen.blocks:
                outcome.signals += run.surveyor.of_weights(block)


def _look_at_text(run: _Run) -> None:
    """Statistics of the unpruned model, block by block: measured, and kept if there is a store."""
    probing = run.schedule.probe is not None

    def look(visit: Visit) -> int:
        needs = run.schedule.look_needs
        seen = _statistics(run, visit, needs, keep_outputs=probing or not visit.last)
        run.outcome.signals += run.surveyor.look(visit, seen.sums)
        if isinstance(run.store, StatisticsSpill):
            run.store.add(visit.block, seen.sums, seen.grams)
        return probe_runs(visit.block, run.task.recipe) * run.passes.probed_tokens

    task, shapes = run.task, [ids.shape for ids in run.task.evidence.tokens.values()]
    after = blocks_after_look(task.decoder, task.chosen, task.recipe, run.schedule, shapes)
    run.passes.visit(LOOK, look, probing=probing, after=after)


def _look_at_saved(run: _Run, saved: SavedStatistics) -> None:
    """The signals that the pass would have given whose statistics were saved: no forward."""
    dtype = DTYPES[saved.record.compute_dtype]
    for block in run.task.chosen.blocks:
        sums = saved.load(block.index)
        run.outcome.routing |= routed_tokens(sums)
        run.task.decoder.expect(block.linears)
        run.outcome.signals += run.surveyor.of_saved(block, sums, dtype)
        trim()


def _statistics(run: _Run, visit: Visit, needs: tuple[Need, ...], *, keep_outputs: bool) -> Capture:
    seen = run.passes.statistics(visit, needs, keep_outputs=keep_outputs)
    run.outcome.routing |= routed_tokens(seen.sums)
    return seen


def _prune_on_text(run: _Run, sparsities: Mapping[str, float], *, twice: bool) -> None:
    """Every block after the text has gone through it: once, and its outputs, which feed the next
    block, are those before it is pruned; or twice, its inputs and then its outputs pruned ones."""

    def prune(visit: Visit) -> int:
        if visit.block.linears or not twice:
            keep = not twice and not visit.last
            seen = _statistics(run, visit, run.schedule.needs, keep_outputs=keep)
            run.pruner.prune(visit.block, sparsities, seen.sums, seen.grams.get)
        if twice and not visit.last:
            run.passes.advance(visit)
        return 0

    run.passes.visit(PRUNE, prune)


def _prune_from_store(run: _Run, sparsities: Mapping[str, float]) -> None:
    """Prune with statistics at hand, or by the weights alone: no forward."""
    blocks, journal, progress = run.task.chosen.blocks, run.task.journal, run.task.options.progress
    store = None if run.schedule.masks == "weights" else run.store
    done = journal.done(PRUNE)
    progress.stage(PRUNE, len(blocks), done)
    for block in blocks[done:]:
        run.task.decoder.expect(block.linears)
        if store is None:
            run.pruner.prune(block, sparsities, None, lambda _name: None)
        else:
            find, sums = partial(store.load_gram, block.index), store.load(block.index)
            run.outcome.routing |= routed_tokens(sums)
            run.pruner.prune(block, sparsities, sums, find)
        trim()
        journal.finished(PRUNE, block.index + 1, None, last=block.index == len(blocks) - 1)
        progress.block(0)
