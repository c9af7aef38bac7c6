"""Prune from a model folder to a model folder, streaming."""

from __future__ import annotations

import logging
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from mwanda.device import DTYPES, parse_dtype
from mwanda.errors import InputError
from mwanda.jobs.calibration import CalibrationInput, open_calibration, weights_of
from mwanda.jobs.folder_output import check_room, complete_folder, weight_sink
from mwanda.jobs.loading import open_decoder, source_dtype
from mwanda.jobs.shared import PruneResult, build_manifest, chosen_linears, windows_for
from mwanda.manifest import Manifest
from mwanda.model.gguf import is_gguf
from mwanda.model.output import OutputFolder
from mwanda.model.reader import Checkpoint
from mwanda.model.source import ModelSource, check_model, load_tokenizer, open_model
from mwanda.model.streamed import StreamedDecoder
from mwanda.model.structure import Structure
from mwanda.options import RunOptions
from mwanda.pipeline import prune_blocks
from mwanda.ranks import Ranks, joined, launched
from mwanda.recipe import Recipe
from mwanda.text.sources import TextSource
from mwanda.text.windows import Windows
from mwanda.units import probed_tokens
from mwanda.work import Limit, count_work, disk_rates, matmul_rate

__all__ = ["prune_folder"]

log = logging.getLogger("mwanda")


def prune_folder(
    name: str,
    out: Path,
    calibration: CalibrationInput | None,
    recipe: Recipe,
    options: RunOptions,
) -> PruneResult:
    """Prune the model ``name`` into the folder ``out``; see :func:`mwanda.jobs.prune.prune`."""
    check_model(name)
    ranks = launched()
    if ranks.size > 1 and is_gguf(Path(name)):
        raise InputError(
            name,
            expected="a model folder, when several processes share the work",
            found="a GGUF file, which each of them would convert whole in memory",
            fix="convert it first: mwanda prune FILE --out FOLDER --sparsity 0",
        )
    output = OutputFolder(out, overwrite=options.overwrite)
    if ranks.writes:
        output.check(source=Path(name) if Path(name).exists() else None)
    opened = open_calibration(calibration, recipe)
    if not ranks.writes:
        with tempfile.TemporaryDirectory(prefix="mwanda-") as work:
            return _prune(name, None, Path(work), opened, recipe, options)
    with output as folder, tempfile.TemporaryDirectory(prefix=".work-", dir=folder) as work:
        result = _prune(name, folder, Path(work), opened, recipe, options)
    log.info("wrote %s", out)
    return replace(result, folder=out)


def _prune(
    name: str,
    folder: Path | None,
    scratch: Path,
    opened: TextSource | Windows | None,
    recipe: Recipe,
    options: RunOptions,
) -> PruneResult:
    """Prune, and write into ``folder`` unless another process does that."""
    start = time.perf_counter()
    with (
        open_model(name, scratch) as source,
        open_decoder(source, options) as decoder,
        joined(decoder.device) as ranks,
    ):
        chosen = chosen_linears(decoder, recipe)
        windows = _windows(opened, source, decoder, recipe, options)
        weights = weights_of(recipe, windows.languages) if windows is not None else {}
        dtype = parse_dtype(recipe.dtype, "--dtype")
        if folder is not None:
            check_room(folder, decoder, chosen, recipe, dtype, windows, options)
        opening = time.perf_counter() - start
        with weight_sink(folder, decoder, chosen, dtype, options) as sink:
            outcome = prune_blocks(
                decoder,
                chosen,
                recipe,
                windows.tokens if windows is not None else {},
                weights,
                sink,
                scratch,
                options,
                ranks,
            )
            draining = time.perf_counter()
        outcome.seconds = {"open": opening, **outcome.seconds}
        outcome.seconds["finish writing"] = time.perf_counter() - draining
        manifest = build_manifest(
            base=source.name,
            decoder=decoder,
            recipe=recipe,
            windows=windows,
            weights=weights,
            outcome=outcome,
            model_weights=_weights_of(decoder.checkpoint),
            dtype=dtype or source_dtype(decoder.checkpoint),
            places={linear.name: decoder.place(linear) for linear in chosen.linears()},
            chosen=chosen,
        )
        if folder is not None:
            manifest = complete_folder(folder, scratch, source, decoder.checkpoint, dtype, manifest)
        wall = time.perf_counter() - start
        limit = _limit(scratch, decoder, chosen, recipe, windows, manifest, options, ranks, wall)
    return PruneResult(folder, manifest, windows, outcome.spilled, limit)


def _windows(
    opened: TextSource | Windows | None,
    source: ModelSource,
    decoder: StreamedDecoder,
    recipe: Recipe,
    options: RunOptions,
) -> Windows | None:
    """The windows; a tokenizer, which can be large, is there only where text is cut into them."""
    tokenizer = None
    if opened is not None and not isinstance(opened, Windows):
        tokenizer = load_tokenizer(source.folder, trust_remote_code=options.trust_remote_code)
    return windows_for(opened, tokenizer, decoder, recipe, options)


def _limit(
    scratch: Path,
    decoder: StreamedDecoder,
    chosen: Structure,
    recipe: Recipe,
    windows: Windows | None,
    manifest: Manifest,
    options: RunOptions,
    ranks: Ranks,
    wall: float,
) -> Limit:
    """The work this run had to do, at rates measured now."""
    tokens = {} if windows is None else windows.tokens
    length = max((ids.shape[1] for ids in tokens.values()), default=0)
    work = count_work(
        decoder,
        chosen,
        recipe,
        tokens=sum(ids.numel() for ids in tokens.values()),
        length=length,
        stored=source_dtype(decoder.checkpoint),
        written=DTYPES[manifest.dtype],
        probed=probed_tokens(recipe, [ids.shape for ids in tokens.values()]),
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


def _weights_of(checkpoint: Checkpoint) -> int:
    infos = checkpoint.tensors.values()
    return sum(i.nbytes // i.dtype.itemsize for i in infos if i.dtype.is_floating_point)
