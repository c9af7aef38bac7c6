"""Prune from a model folder to a model folder, streaming."""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from pathlib import Path

from mwanda.errors import InputError
from mwanda.methods.recipe.resolved import ResolvedRecipe
from mwanda.model.identity import linears_sha256
from mwanda.model.opening import open_decoder, source_dtype
from mwanda.model.run.streamed import StreamedDecoder
from mwanda.model.run.structure import Structure
from mwanda.model.source import open_model
from mwanda.model.stored.container import saved_file
from mwanda.pruning.calibration_text import CalibrationInput
from mwanda.pruning.evidence import Evidence, Opened, folder_tokenizer, gather, open_evidence
from mwanda.pruning.fingerprint import keeps_journal, open_journal
from mwanda.pruning.folder.known_text import known_in_folder, records
from mwanda.pruning.folder.manifest import Manifest
from mwanda.pruning.folder.mask_file import MASKS, MaskWriter
from mwanda.pruning.folder.weight_sink import check_room, complete_folder, hashed, weight_sink
from mwanda.pruning.forecast.operations import Limit, count_work, disk_rates, matmul_rate
from mwanda.pruning.manifest_parts import (
    PruneResult,
    build_manifest,
    chosen_linears,
    ranks_for,
    weights_in,
)
from mwanda.pruning.pipeline import prune_blocks
from mwanda.pruning.schedule import Schedule
from mwanda.pruning.units import probed_tokens
from mwanda.system.device import DTYPES, parse_dtype
from mwanda.system.output import OutputFolder
from mwanda.system.ranks import Ranks, joined
from mwanda.system.run_options import RunOptions
from mwanda.system.unfinished import Partial, scratch_folder

log = logging.getLogger("mwanda")


def prune_folder(
    name: str,
    out: Path,
    calibration: CalibrationInput | None,
    statistics: str | Path | None,
    recipe: ResolvedRecipe,
    options: RunOptions,
) -> PruneResult:
    """Prune the model ``name`` into the folder ``out``; see :func:`mwanda.pruning.prune.prune`."""
    ranks = ranks_for(name)
    resume = keeps_journal(options, ranks)
    output = OutputFolder(out, overwrite=options.overwrite, resume=resume, restart=options.restart)
    if ranks.writes:
        output.check(source=Path(name) if Path(name).exists() else None)
    opened = open_evidence(calibration, statistics, recipe, options)
    if not ranks.writes:
        return _prune_elsewhere(name, opened, recipe, options)
    with output as folder:
        result = _prune(name, output.partial, folder, opened, recipe, options)
    log.info("wrote %s", out)
    return replace(result, folder=out)


def prune_to_masks(
    name: str,
    out: Path,
    calibration: CalibrationInput | None,
    statistics: str | Path | None,
    recipe: ResolvedRecipe,
    options: RunOptions,
) -> PruneResult:
    """Choose the masks of the model ``name`` and write them alone into the file ``out``."""
    if recipe.reconstruction is not None:
        raise InputError(
            "--masks-only",
            expected="no reconstruction, whose new weights would be lost",
            found=recipe.reconstruction.name,
            fix="leave one of the two out",
        )
    ranks = ranks_for(name)
    output = saved_file(
        out,
        MASKS,
        overwrite=options.overwrite,
        resume=keeps_journal(options, ranks),
        restart=options.restart,
    )
    if ranks.writes:
        output.check([] if statistics is None else [Path(statistics)])
    opened = open_evidence(calibration, statistics, recipe, options)
    if not ranks.writes:
        return _prune_elsewhere(name, opened, recipe, options)
    with output:
        result = _prune(name, output.partial, None, opened, recipe, options)
        if result.masks is not None:
            output.publish(result.masks)
    log.info("wrote %s", out)
    return replace(result, masks=out)


def _prune_elsewhere(
    name: str, opened: Opened, recipe: ResolvedRecipe, options: RunOptions
) -> PruneResult:
    """This process's share where another one writes."""
    return _prune(name, None, None, opened, recipe, options)


def _prune(
    name: str,
    partial: Partial | None,
    folder: Path | None,
    opened: Opened,
    recipe: ResolvedRecipe,
    options: RunOptions,
) -> PruneResult:
    """Prune, and write into ``folder``, or masks alone where there is none; nothing without a
    ``partial``, in a process that does not write."""
    start = time.perf_counter()
    with (
        scratch_folder(partial) as scratch,
        open_model(name, scratch, trust_remote_code=options.trust_remote_code) as source,
        open_decoder(source, options) as decoder,
        joined(decoder.device) as ranks,
    ):
        earlier = known_in_folder(source.folder)
        chosen = chosen_linears(decoder, recipe)
        tokenizer = folder_tokenizer(opened, source.folder, options)
        evidence = gather(opened, tokenizer, decoder, chosen, recipe, options)
        del tokenizer
        dtype = parse_dtype(recipe.dtype, "--dtype")
        work = None if partial is None else partial.work
        job = "masks" if folder is None else "model"
        journal = open_journal(job, work, source, decoder, recipe, evidence, options, ranks)
        if partial is not None and folder is not None:
            check_room(
                folder, decoder, chosen, recipe, dtype, evidence.windows, options, journal,
                partial.held if journal.resumed else 0,
            )  # fmt: skip
        masks = None if work is None or folder is not None else MaskWriter(work, journal)
        opening = time.perf_counter() - start
        with weight_sink(folder, decoder, chosen, dtype, options, journal) as sink:
            outcome = prune_blocks(
                decoder,
                chosen,
                recipe,
                evidence.tokens,
                evidence.weights,
                sink,
                scratch,
                options,
                ranks,
                evidence.saved,
                None if masks is None else masks.add,
                journal,
            )
            draining = time.perf_counter()
        outcome.seconds = {"open": opening, **outcome.seconds}
        outcome.seconds["finish writing"] = time.perf_counter() - draining
        manifest = build_manifest(
            base=source.name,
            decoder=decoder,
            recipe=recipe,
            evidence=evidence,
            outcome=outcome,
            model_weights=weights_in(decoder.checkpoint),
            dtype=dtype or source_dtype(decoder.checkpoint),
            places={linear.name: decoder.place(linear) for linear in chosen.linears()},
            chosen=chosen,
            earlier=records(earlier),
        )
        known = journal.fingerprint["model"] if journal.folder is not None else {}
        if folder is not None:
            manifest = complete_folder(folder, source, decoder.checkpoint, dtype, manifest, known)
        identity, made = None, None
        if masks is not None:
            manifest = hashed(source, decoder.checkpoint, manifest, time.perf_counter(), known)
            saved = evidence.saved  # whose model this is known to be
            identity = saved.record.model.linears_sha256 if saved else linears_sha256(decoder)
            made = masks.finish(manifest, identity)
        wall = time.perf_counter() - start
        # The rest of an earlier run says nothing about the time the whole would take.
        limit = None if journal.resumed else _limit(
            scratch, decoder, chosen, recipe, evidence, manifest, options, ranks, wall,
            masks=masks is not None,
        )  # fmt: skip
    return PruneResult(
        folder, manifest, evidence.windows, outcome.spilled, limit, made, linears_sha256=identity
    )


def _limit(
    scratch: Path,
    decoder: StreamedDecoder,
    chosen: Structure,
    recipe: ResolvedRecipe,
    evidence: Evidence,
    manifest: Manifest,
    options: RunOptions,
    ranks: Ranks,
    wall: float,
    *,
    masks: bool,
) -> Limit:
    """The work this run had to do, at rates measured now."""
    tokens = evidence.tokens
    length = max((ids.shape[1] for ids in tokens.values()), default=0)
    work = count_work(
        decoder,
        chosen,
        recipe,
        Schedule.of(recipe, saved=evidence.saved is not None),
        tokens=sum(ids.numel() for ids in tokens.values()),
        length=length,
        stored=source_dtype(decoder.checkpoint),
        written=DTYPES[manifest.dtype],
        probed=probed_tokens(recipe, [ids.shape for ids in tokens.values()]),
        masks=masks,
    )
    rows = max(length, options.batch_tokens)
    read, write = disk_rates(scratch, work)
    return Limit(
        flops=work.flops // ranks.size,
        bytes_read=work.bytes_read,
        bytes_written=work.bytes_written if ranks.writes else 0,
        matmul_rate=matmul_rate(work, rows, decoder.dtype, decoder.device),
        read_rate=read,
        write_rate=write,
        wall=wall,
    )
