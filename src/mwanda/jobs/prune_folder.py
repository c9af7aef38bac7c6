"""Prune from a model folder to a model folder, streaming."""

from __future__ import annotations

import json
import logging
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch

from mwanda.card import write_card
from mwanda.device import DTYPES, dtype_name, parse_dtype
from mwanda.errors import DataError, InputError
from mwanda.jobs.calibration import CalibrationInput, open_calibration, weights_of
from mwanda.jobs.loading import open_decoder, source_dtype
from mwanda.jobs.shared import PruneResult, build_manifest, chosen_linears, windows_for
from mwanda.manifest import Manifest, write_manifest
from mwanda.model.decoder import StreamedDecoder
from mwanda.model.gguf import is_gguf
from mwanda.model.layout import TensorInfo
from mwanda.model.output import OutputFolder, check_disk_space, hash_files
from mwanda.model.overlap import WriteBehind
from mwanda.model.pieces import first_element
from mwanda.model.reader import Checkpoint
from mwanda.model.source import (
    ModelSource,
    check_model,
    copy_companions,
    copy_licences,
    load_tokenizer,
    open_model,
)
from mwanda.model.structure import Linear, Structure
from mwanda.model.writer import ShardWriter, plan_shards
from mwanda.options import RunOptions
from mwanda.pipeline import Sink, prune_blocks
from mwanda.ranks import Ranks, joined, launched
from mwanda.recipe import Recipe
from mwanda.report.experts import experts_section
from mwanda.text.sources import TextSource
from mwanda.text.windows import Windows
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
            _check_disk(folder, decoder, chosen, recipe, dtype, windows, options)
        opening = time.perf_counter() - start
        with _sink(folder, decoder, chosen, dtype, options) as sink:
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
            manifest = _complete(folder, scratch, source, decoder.checkpoint, dtype, manifest)
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


def _complete(
    folder: Path,
    scratch: Path,
    source: ModelSource,
    checkpoint: Checkpoint,
    dtype: torch.dtype | None,
    manifest: Manifest,
) -> Manifest:
    """Write what goes with the weights: companions, config, card, and the manifest with hashes."""
    start = time.perf_counter()
    readme = _readme(source.folder)
    copy_companions(source.folder, folder)
    copy_licences(source, folder)
    _write_config(source.folder, folder, dtype)
    written = [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.is_relative_to(scratch)
    ]
    hashes = hash_files([*written, *_base_files(source, checkpoint)])
    checkpoint.check_unchanged()
    seconds = {**manifest.seconds, "hashes and companions": time.perf_counter() - start}
    manifest = manifest.model_copy(
        update={
            "base_files": {path.name: hashes[path] for path in _base_files(source, checkpoint)},
            "dequantised": source.dequantised,
            "files": {path.relative_to(folder).as_posix(): hashes[path] for path in written},
            "seconds": seconds,
        }
    )
    experts = "" if manifest.experts is None else experts_section(manifest.experts)
    write_card(folder, manifest, source_readme=readme, experts=experts)
    write_manifest(folder, manifest)
    return manifest


@contextmanager
def _sink(
    folder: Path | None,
    decoder: StreamedDecoder,
    chosen: Structure,
    dtype: torch.dtype | None,
    options: RunOptions,
) -> Iterator[Sink]:
    """What writes pruned weights, with all other tensors copied along; without a folder, nothing.

    Writing goes on behind the work; when the block ends, everything is written.
    """
    checkpoint = decoder.checkpoint

    def cast(linear: Linear, weight: torch.Tensor) -> torch.Tensor:
        stored = decoder.place(linear).stored
        return _cast(stored, weight, checkpoint.tensors[stored].dtype, dtype)

    if folder is None:
        yield cast
        return
    shards = plan_shards(
        [(i.name, _written(i.dtype, dtype), i.shape) for i in checkpoint.tensors.values()],
        options.max_shard_size,
    )
    # A tensor of which linears are parts is copied first, and then written over part by part.
    places = [decoder.place(linear) for linear in chosen.linears()]
    pruned = {place.stored for place in places if place.box is None}
    with ShardWriter(folder, shards) as writer, WriteBehind(writer) as behind:
        for info in checkpoint.tensors.values():
            if info.name not in pruned and _written(info.dtype, dtype) == info.dtype:
                behind.copy(info.name, checkpoint)

        def convert(info: TensorInfo) -> None:
            weight = checkpoint.read(info.name)
            behind.write(info.name, _cast(info.name, weight, info.dtype, dtype))

        parted = {place.stored for place in places if place.box is not None}
        for name in parted:
            info = checkpoint.tensors[name]
            if _written(info.dtype, dtype) != info.dtype:
                convert(info)

        def sink(linear: Linear, weight: torch.Tensor) -> torch.Tensor:
            written, place = cast(linear, weight), decoder.place(linear)
            turned = written.t() if place.transposed else written
            if linear.fused is not None:
                turned = turned.clone()  # a slice would keep all experts while it waits
            if place.box is None:
                behind.write(place.stored, turned)
            else:
                shape = checkpoint.tensors[place.stored].shape
                behind.overwrite(place.stored, first_element(shape, place.box), turned)
            return written

        yield sink
        for info in checkpoint.tensors.values():
            if info.name not in pruned | parted and _written(info.dtype, dtype) != info.dtype:
                convert(info)


def _check_disk(
    folder: Path,
    decoder: StreamedDecoder,
    chosen: Structure,
    recipe: Recipe,
    dtype: torch.dtype | None,
    windows: Windows | None,
    options: RunOptions,
) -> None:
    output = sum(
        info.nbytes // info.dtype.itemsize * _written(info.dtype, dtype).itemsize
        for info in decoder.checkpoint.tensors.values()
    )
    width = int(decoder.model.get_input_embeddings().weight.shape[1])
    tokens = windows.total_tokens if windows is not None else 0
    spill = max(0, tokens * width * decoder.dtype.itemsize - options.activation_memory)
    if recipe.keeps_statistics and "gram" in recipe.linear_needs:
        wide = max(decoder.dtype.itemsize, torch.float32.itemsize)
        spill += sum(linear.columns**2 for linear in chosen.linears()) * wide
    check_disk_space(folder, output + spill, "the pruned model and what is spilled on the way")


def _written(stored: torch.dtype, wanted: torch.dtype | None) -> torch.dtype:
    return wanted if wanted is not None and stored.is_floating_point else stored


def _cast(
    name: str, weight: torch.Tensor, stored: torch.dtype, wanted: torch.dtype | None
) -> torch.Tensor:
    made = weight.to(_written(stored, wanted))
    if made.dtype != weight.dtype and not bool(torch.isfinite(made).all()):
        raise DataError(
            f"tensor {name}",
            expected=f"values that fit {dtype_name(made.dtype)}",
            found="an overflow",
            fix="write another dtype with --dtype",
        )
    return made


def _write_config(source: Path, folder: Path, dtype: torch.dtype | None) -> None:
    config = json.loads((source / "config.json").read_text(encoding="utf-8"))
    if dtype is not None:
        config.pop("torch_dtype", None)
        config["dtype"] = dtype_name(dtype)
    text = json.dumps(config, indent=2, ensure_ascii=False)
    (folder / "config.json").write_text(text + "\n", encoding="utf-8")


def _weights_of(checkpoint: Checkpoint) -> int:
    infos = checkpoint.tensors.values()
    return sum(i.nbytes // i.dtype.itemsize for i in infos if i.dtype.is_floating_point)


def _base_files(source: ModelSource, checkpoint: Checkpoint) -> list[Path]:
    if source.kind == "gguf" and source.original is not None:
        return [source.original]
    return [*checkpoint.files, source.folder / "config.json"]


def _readme(folder: Path) -> str | None:
    path = folder / "README.md"
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else None
