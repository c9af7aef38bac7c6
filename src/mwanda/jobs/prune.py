"""Prune a model: from a folder to a folder, or a model in memory in place."""

from __future__ import annotations

import json
import logging
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mwanda.card import write_card
from mwanda.device import dtype_name, parse_dtype
from mwanda.errors import DataError, InputError
from mwanda.jobs.calibration import (
    CalibrationInput,
    get_windows,
    open_calibration,
    weights_of,
)
from mwanda.jobs.loading import open_decoder, source_dtype
from mwanda.manifest import (
    CalibrationRecord,
    LinearRecord,
    Manifest,
    Totals,
    versions,
    write_manifest,
)
from mwanda.model.decoder import Decoder, MemoryDecoder, StreamedDecoder
from mwanda.model.output import OutputFolder, check_disk_space, sha256_of
from mwanda.model.reader import Checkpoint
from mwanda.model.source import ModelSource, copy_companions, load_tokenizer, open_model
from mwanda.model.structure import Linear, Structure, as_matrix, choose_linears
from mwanda.model.writer import ShardWriter, plan_shards
from mwanda.options import RunOptions
from mwanda.pipeline import Outcome, check_pattern, prune_blocks
from mwanda.recipe import Recipe
from mwanda.text.windows import Windows

__all__ = ["PruneResult", "prune"]

log = logging.getLogger("mwanda")


@dataclass(frozen=True)
class PruneResult:
    """What a prune did.

    Attributes:
        folder: the model folder written; None for a model pruned in memory.
        manifest: what ``mwanda.json`` holds.
        windows: the calibration windows used; None where no text was needed.
        spilled: bytes of activations that went to disk.
    """

    folder: Path | None
    manifest: Manifest
    windows: Windows | None
    spilled: int


def prune(
    model: Any,
    *,
    out: str | Path | None = None,
    calibration: CalibrationInput | None = None,
    tokenizer: Any = None,
    recipe: Recipe | None = None,
    options: RunOptions | None = None,
    **fields: Any,
) -> PruneResult:
    """Prune a model for its languages.

    Args:
        model: a folder, GGUF file or hub id, which needs ``out``; or a transformers model in
            memory, whose weights are masked in place.
        out: the folder to write.
        calibration: text source, windows file, or :class:`Windows`.
        tokenizer: for a model in memory, unless ``calibration`` is windows.
        recipe: what to do; or give its fields by name: ``sparsity=0.5, languages=["de", "sw"]``.
        options: how to run.

    Raises:
        InputError: bad input, before anything is written.
        DataError: values that are not finite, or files that changed while being read.
    """
    if recipe is not None and fields:
        raise InputError("prune", expected="a recipe or its fields", found="both")
    recipe = Recipe.build(fields, "prune") if recipe is None else Recipe.build(recipe.model_dump())
    options = options or RunOptions()
    if isinstance(model, str | Path):
        if out is None:
            raise InputError("--out", expected="a folder to write", found="none")
        return _prune_folder(str(model), Path(out), calibration, recipe, options)
    if out is not None:
        raise InputError(
            "out", expected="none for a model in memory", found=str(out),
            fix="call model.save_pretrained afterwards",
        )  # fmt: skip
    return _prune_memory(model, tokenizer, calibration, recipe, options)


def _prune_memory(
    model: Any,
    tokenizer: Any,
    calibration: CalibrationInput | None,
    recipe: Recipe,
    options: RunOptions,
) -> PruneResult:
    decoder = MemoryDecoder(model)
    chosen = _chosen(decoder, recipe)
    opened = open_calibration(calibration, recipe)
    if opened is not None and not isinstance(opened, Windows) and tokenizer is None:
        raise InputError("tokenizer", expected="the model's tokenizer", found="none")
    windows = _windows(opened, tokenizer, decoder, recipe, options)
    weights = weights_of(recipe, windows.languages) if windows is not None else {}
    training = model.training
    model.eval()
    try:
        with tempfile.TemporaryDirectory(prefix="mwanda-") as scratch:
            outcome = prune_blocks(
                decoder,
                chosen,
                recipe,
                windows.tokens if windows is not None else {},
                weights,
                lambda linear, weight, mask: None,
                Path(scratch),
                options,
            )
    finally:
        model.train(training)
    manifest = _manifest(
        base=str(getattr(model.config, "_name_or_path", "") or type(model).__name__),
        decoder=decoder,
        recipe=recipe,
        windows=windows,
        weights=weights,
        outcome=outcome,
        model_weights=sum(p.numel() for p in model.parameters() if p.is_floating_point()),
        dtype=decoder.dtype,
        tensors={linear.name: linear.parameter for linear in chosen.linears()},
        chosen=chosen,
    )
    return PruneResult(None, manifest, windows, outcome.spilled)


def _prune_folder(
    name: str,
    out: Path,
    calibration: CalibrationInput | None,
    recipe: Recipe,
    options: RunOptions,
) -> PruneResult:
    output = OutputFolder(out, overwrite=options.overwrite)
    output.check(source=Path(name) if Path(name).exists() else None)
    opened = open_calibration(calibration, recipe)
    start = time.perf_counter()
    with output as folder, tempfile.TemporaryDirectory(prefix=".work-", dir=folder) as work:
        scratch = Path(work)
        with open_model(name, scratch) as source, open_decoder(source, options) as decoder:
            chosen = _chosen(decoder, recipe)
            tokenizer = load_tokenizer(source.folder, trust_remote_code=options.trust_remote_code)
            windows = _windows(opened, tokenizer, decoder, recipe, options)
            weights = weights_of(recipe, windows.languages) if windows is not None else {}
            dtype = parse_dtype(recipe.dtype, "--dtype")
            _check_disk(folder, decoder, dtype, windows, options)
            opening = time.perf_counter() - start
            outcome = _write_model(
                folder, scratch, decoder, chosen, recipe, windows, weights, dtype, options
            )
            with outcome.timed("hashes and companions"):
                copy_companions(source.folder, folder)
                _write_config(source.folder, folder, dtype)
                manifest = _manifest(
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
                        "base_files": _base_hashes(source),
                        "dequantised": source.dequantised,
                        "files": {
                            path.name: sha256_of(path)
                            for path in sorted(folder.iterdir())
                            if path.is_file()
                        },
                    }
                )
        seconds = {"open": opening, **outcome.seconds}
        manifest = manifest.model_copy(update={"seconds": seconds})
        write_card(folder, manifest, source_readme=_readme(name))
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

        def sink(linear: Linear, weight: torch.Tensor, mask: torch.Tensor) -> None:
            stored = decoder.stored_name(linear)
            original = checkpoint.tensors[stored].dtype
            writer.write(stored, _cast(stored, as_matrix(weight, linear), original, dtype))
            pruned.add(stored)

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


def _chosen(decoder: Decoder, recipe: Recipe) -> Structure:
    chosen = choose_linears(
        decoder.structure,
        include=recipe.include,
        exclude=recipe.exclude,
        skip_blocks=recipe.skip_blocks,
    )
    check_pattern(chosen, recipe)
    return chosen


def _windows(
    opened: Any, tokenizer: Any, decoder: Decoder, recipe: Recipe, options: RunOptions
) -> Windows | None:
    if opened is None:
        return None
    return get_windows(
        opened,
        tokenizer,
        recipe,
        vocabulary=decoder.vocabulary,
        context=decoder.context_length,
        allow_short=options.allow_short,
    )


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


def _base_hashes(source: ModelSource) -> dict[str, str]:
    if source.kind == "gguf" and source.original is not None:
        return {source.original.name: sha256_of(source.original)}
    files = [*source.folder.glob("*.safetensors"), source.folder / "config.json"]
    return {path.name: sha256_of(path) for path in sorted(files)}


def _readme(name: str) -> str | None:
    path = Path(name) / "README.md"
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else None


def _manifest(
    *,
    base: str,
    decoder: Decoder,
    recipe: Recipe,
    windows: Windows | None,
    weights: Mapping[str, float],
    outcome: Outcome,
    model_weights: int,
    dtype: torch.dtype,
    tensors: Mapping[str, str],
    chosen: Structure,
) -> Manifest:
    linears = {}
    for block in chosen.blocks:
        for linear in block.linears:
            entry = outcome.records[linear.name]
            linears[linear.name] = LinearRecord(
                tensor=tensors[linear.name],
                block=block.index,
                shape=entry.shape,
                transposed=linear.transposed,
                sparsity=entry.sparsity,
                pruned=entry.pruned,
                zeros=entry.zeros,
                source_zeros=entry.source_zeros,
                mask_sha256=entry.mask_sha256,
                zeros_sha256=entry.zeros_sha256,
            )
    total, removed = outcome.weights, outcome.pruned
    resolved = recipe
    if windows is not None and recipe.languages is None:
        resolved = replace_languages(recipe, windows.languages)
    return Manifest(
        base=base,
        base_files={},
        dequantised=None,
        recipe=resolved.model_dump(mode="json"),
        statistics=recipe.mode if windows is not None else "none",
        device=str(decoder.device),
        compute_dtype=dtype_name(decoder.dtype),
        dtype=dtype_name(dtype),
        calibration=None if windows is None else CalibrationRecord.of(windows, weights),
        linears=linears,
        totals=Totals(
            linears=len(linears),
            weights=total,
            pruned=removed,
            sparsity=removed / total,
            source_zeros=sum(entry.source_zeros for entry in linears.values()),
            model_weights=model_weights,
            model_sparsity=removed / model_weights,
        ),
        signals=outcome.signals,
        files={},
        versions=versions(),
        seconds=outcome.seconds,
    )


def replace_languages(recipe: Recipe, languages: list[str]) -> Recipe:
    """The recipe with the languages that were found in the calibration text."""
    return recipe.model_copy(update={"languages": tuple(languages)})
