"""Prune from a model folder to a model folder, or to a file of masks, streaming."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from mwanda.errors import InputError
from mwanda.model.identity import linears_sha256
from mwanda.model.opening import source_dtype
from mwanda.model.run.structure import Linear
from mwanda.model.stored.container import saved_file
from mwanda.pruning.calibration_text import CalibrationInput
from mwanda.pruning.evidence import Opened, open_evidence
from mwanda.pruning.folder.manifest_records import weights_in
from mwanda.pruning.folder.mask_file import MASKS, MaskWriter
from mwanda.pruning.folder.weight_sink import (
    cast_only,
    check_room,
    complete_folder,
    hashed,
    weight_sink,
)
from mwanda.pruning.forecast.operations import Limit, count_work, disk_rates, matmul_rate
from mwanda.pruning.manifest_parts import PruneResult, build_manifest
from mwanda.pruning.outcome import Sink
from mwanda.pruning.pipeline import prune_blocks
from mwanda.pruning.recipe.resolved import ResolvedRecipe
from mwanda.pruning.task import FolderTask, keeps_journal, open_task, ranks_for
from mwanda.system.output import OutputFolder
from mwanda.system.run_options import RunOptions
from mwanda.system.unfinished import Partial

log = logging.getLogger("mwanda")


class _Writer:
    """Where a prune's result goes. This one is for a process beside the one that writes."""

    job = "model"
    output: Any = nullcontext()
    """Context in which it is made, and appears."""
    partial: Partial | None = None

    def begin(self, task: FolderTask) -> None:
        """Make ready, before the first block."""

    def sink(self, task: FolderTask) -> AbstractContextManager[Sink]:
        """What takes the pruned weights."""
        return nullcontext(cast_only(task))

    def keep_mask(self, linear: Linear, mask: torch.Tensor) -> None:
        """One linear's keep mask ``bool [out, in]``."""

    def finish(self, task: FolderTask, made: PruneResult, known: Mapping[str, str]) -> PruneResult:
        """Write what goes with the weights, or masks; ``known`` are hashes of source files."""
        return made

    def publish(self) -> None:
        """Give it its name, where leaving the context does not."""


class _FolderWriter(_Writer):
    """Writes a model folder."""

    def __init__(self, out: Path, resume: bool, options: RunOptions) -> None:
        self.output = OutputFolder(
            out, overwrite=options.overwrite, resume=resume, restart=options.restart
        )
        self.partial, self._out = self.output.partial, out
        self._folder = self.partial.output

    def begin(self, task: FolderTask) -> None:
        held = self.output.partial.held if task.journal.resumed else 0
        check_room(self._folder, task, held)

    def sink(self, task: FolderTask) -> AbstractContextManager[Sink]:
        return weight_sink(self._folder, task)

    def finish(self, task: FolderTask, made: PruneResult, known: Mapping[str, str]) -> PruneResult:
        manifest = complete_folder(self._folder, task, made.manifest, known)
        return replace(made, folder=self._out, manifest=manifest)


class _MaskFileWriter(_Writer):
    """Writes nothing but masks."""

    job = "masks"

    def __init__(self, out: Path, resume: bool, options: RunOptions) -> None:
        self.output = saved_file(
            out, MASKS, overwrite=options.overwrite, resume=resume, restart=options.restart
        )
        self.partial, self._out = self.output.partial, out

    def begin(self, task: FolderTask) -> None:
        self._masks = MaskWriter(self.output.partial.work, task.journal)

    def keep_mask(self, linear: Linear, mask: torch.Tensor) -> None:
        self._masks.add(linear, mask)

    def finish(self, task: FolderTask, made: PruneResult, known: Mapping[str, str]) -> PruneResult:
        manifest = hashed(task, made.manifest, time.perf_counter(), known)
        saved = task.evidence.saved
        # Of saved statistics it is known whose they are.
        identity = saved.record.model.linears_sha256 if saved else linears_sha256(task.decoder)
        self._made = self._masks.finish(manifest, identity)
        return replace(made, manifest=manifest, masks=self._out, linears_sha256=identity)

    def publish(self) -> None:
        self.output.publish(self._made)


def prune_folder(
    name: str,
    out: Path,
    calibration: CalibrationInput | None,
    statistics: str | Path | None,
    recipe: ResolvedRecipe,
    options: RunOptions,
    *,
    masks_only: bool,
) -> PruneResult:
    """Prune the model ``name`` into the folder, or the masks alone into the file, ``out``; see
    :func:`mwanda.pruning.prune.prune_once`."""
    if masks_only and recipe.reconstruction is not None:
        raise InputError(
            "--masks-only",
            expected="no reconstruction, whose new weights would be lost",
            found=recipe.reconstruction.name,
            fix="leave one of the two out",
        )
    ranks = ranks_for(name)
    writer, resume = _Writer(), keeps_journal(options, ranks)
    if ranks.writes and masks_only:
        writer = _MaskFileWriter(out, resume, options)
        writer.output.check([] if statistics is None else [Path(statistics)])
    elif ranks.writes:
        writer = _FolderWriter(out, resume, options)
        writer.output.check(Path(name))
    opened = open_evidence(calibration, statistics, recipe, options)
    with writer.output:
        made = _prune(name, writer, opened, recipe, options)
        writer.publish()
    if ranks.writes:
        log.info("wrote %s", out)
    return made


def _prune(
    name: str, writer: _Writer, opened: Opened, recipe: ResolvedRecipe, options: RunOptions
) -> PruneResult:
    start = time.perf_counter()
    with open_task(writer.job, name, writer.partial, opened, recipe, options) as task:
        writer.begin(task)
        opening = time.perf_counter() - start
        with writer.sink(task) as sink:
            outcome = prune_blocks(task, sink, writer.keep_mask)
            draining = time.perf_counter()
        outcome.seconds = {"open": opening, **outcome.seconds}
        outcome.seconds["finish writing"] = time.perf_counter() - draining
        checkpoint, journal = task.decoder.checkpoint, task.journal
        dtype = task.dtype or source_dtype(checkpoint)
        weights, place = weights_in(checkpoint), task.decoder.place
        manifest = build_manifest(task, outcome, task.source.name, weights, dtype, place)
        known = journal.fingerprint["model"] if journal.folder is not None else {}
        made = PruneResult(None, manifest, task.evidence.windows, outcome.spilled)
        made = writer.finish(task, made, known)
        # The rest of an earlier run says nothing about the time the whole would take.
        if journal.resumed:
            return made
        wall = time.perf_counter() - start
        try:
            return replace(made, limit=_limit(task, dtype, wall, masks=writer.job == "masks"))
        except OSError as error:  # no room for the bytes that are tried: the prune is whole
            log.info("the disk's rates could not be measured: %s", error)
            return made


def _limit(task: FolderTask, written: torch.dtype, wall: float, *, masks: bool) -> Limit:
    """The work this run had to do, at rates measured now."""
    decoder, shapes = task.decoder, [ids.shape for ids in task.evidence.tokens.values()]
    stored = source_dtype(decoder.checkpoint)
    work = count_work(
        decoder, task.chosen, task.recipe, task.schedule, shapes, stored, written, masks=masks
    )
    rows = max(task.options.batch_tokens, *(length for _, length in shapes), 0)
    read, write = disk_rates(task.scratch, work)
    return Limit(
        flops=work.flops // task.ranks.size,
        bytes_read=work.bytes_read,
        bytes_written=work.bytes_written if task.ranks.writes else 0,
        matmul_rate=matmul_rate(work, rows, decoder.dtype, decoder.device),
        read_rate=read,
        write_rate=write,
        wall=wall,
    )
