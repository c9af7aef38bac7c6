"""Prune from a model folder to a model folder, streaming."""

from __future__ import annotations

import json
import logging
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import torch

from mwanda.card import write_card
from mwanda.device import dtype_name, parse_dtype
from mwanda.errors import DataError
from mwanda.jobs.calibration import CalibrationInput, open_calibration, weights_of
from mwanda.jobs.loading import open_decoder, source_dtype
from mwanda.jobs.shared import PruneResult, build_manifest, chosen_linears, windows_for
from mwanda.manifest import write_manifest
from mwanda.model.decoder import StreamedDecoder
from mwanda.model.output import OutputFolder, check_disk_space, sha256_of
from mwanda.model.reader import Checkpoint
from mwanda.model.source import (
    ModelSource,
    check_model,
    copy_companions,
    copy_licences,
    load_tokenizer,
    open_model,
)
from mwanda.model.structure import Linear, Structure, as_matrix
from mwanda.model.writer import ShardWriter, plan_shards
from mwanda.options import RunOptions
from mwanda.pipeline import Outcome, prune_blocks
from mwanda.recipe import Recipe
from mwanda.text.windows import Windows

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
    output = OutputFolder(out, overwrite=options.overwrite)
    output.check(source=Path(name) if Path(name).exists() else None)
    opened = open_calibration(calibration, recipe)
    start = time.perf_counter()
    with output as folder, tempfile.TemporaryDirectory(prefix=".work-", dir=folder) as work:
        scratch = Path(work)
        with open_model(name, scratch) as source, open_decoder(source, options) as decoder:
            chosen = chosen_linears(decoder, recipe)
            tokenizer = load_tokenizer(source.folder, trust_remote_code=options.trust_remote_code)
            windows = windows_for(opened, tokenizer, decoder, recipe, options)
            weights = weights_of(recipe, windows.languages) if windows is not None else {}
            dtype = parse_dtype(recipe.dtype, "--dtype")
            _check_disk(folder, decoder, dtype, windows, options)
            opening = time.perf_counter() - start
            outcome = _write_model(
                folder, scratch, decoder, chosen, recipe, windows, weights, dtype, options
            )
            with outcome.timed("hashes and companions"):
                readme = _readme(source.folder)
                copy_companions(source.folder, folder)
                copy_licences(source, folder)
                _write_config(source.folder, folder, dtype)
                manifest = build_manifest(
                    base=source.name,
                    decoder=decoder,
                    recipe=recipe,
                    windows=windows,
                    weights=weights,
                    outcome=outcome,
                    model_weights=_weights_of(decoder.checkpoint),
                    dtype=dtype or source_dtype(decoder.checkpoint),
                    tensors={
                        linear.name: decoder.stored_name(linear) for linear in chosen.linears()
                    },
                    chosen=chosen,
                )
                manifest = manifest.model_copy(
                    update={
                        "base_files": _base_hashes(source, decoder.checkpoint),
                        "dequantised": source.dequantised,
                        "files": {
                            path.relative_to(folder).as_posix(): sha256_of(path)
                            for path in sorted(folder.rglob("*"))
                            if path.is_file() and not path.is_relative_to(scratch)
                        },
                    }
                )
        seconds = {"open": opening, **outcome.seconds}
        manifest = manifest.model_copy(update={"seconds": seconds})
        write_card(folder, manifest, source_readme=readme)
        write_manifest(folder, manifest)
    log.info("wrote %s", out)
    return PruneResult(out, manifest, windows, outcome.spilled)


def _write_model(
    folder: Path,
    scratch: Path,
    decoder: StreamedDecoder,
    chosen: Structure,
    recipe: Recipe,
    windows: Windows | None,
    weights: Mapping[str, float],
    dtype: torch.dtype | None,
    options: RunOptions,
) -> Outcome:
    checkpoint = decoder.checkpoint
    infos = checkpoint.tensors.values()
    shards = plan_shards(
        [(info.name, _written(info.dtype, dtype), info.shape) for info in infos],
        options.max_shard_size,
    )
    pruned: set[str] = set()
    with ShardWriter(folder, shards) as writer:

        def sink(linear: Linear, weight: torch.Tensor) -> torch.Tensor:
            stored = decoder.stored_name(linear)
            written = _cast(stored, weight, checkpoint.tensors[stored].dtype, dtype)
            writer.write(stored, as_matrix(written, linear))
            pruned.add(stored)
            return written

        outcome = prune_blocks(
            decoder,
            chosen,
            recipe,
            windows.tokens if windows is not None else {},
            weights,
            sink,
            scratch,
            options,
        )
        with outcome.timed("copy the rest"):
            for info in infos:
                if info.name in pruned:
                    continue
                if _written(info.dtype, dtype) == info.dtype:
                    writer.write_from(info.name, checkpoint)
                else:
                    weight = checkpoint.read(info.name)
                    writer.write(info.name, _cast(info.name, weight, info.dtype, dtype))
    return outcome


def _check_disk(
    folder: Path,
    decoder: StreamedDecoder,
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
    check_disk_space(folder, output + spill, "the pruned model and spilled activations")


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


def _base_hashes(source: ModelSource, checkpoint: Checkpoint) -> dict[str, str]:
    if source.kind == "gguf" and source.original is not None:
        return {source.original.name: sha256_of(source.original)}
    hashes = {path.name: checkpoint.sha256(path) for path in checkpoint.files}
    return hashes | {"config.json": sha256_of(source.folder / "config.json")}


def _readme(folder: Path) -> str | None:
    path = folder / "README.md"
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else None
