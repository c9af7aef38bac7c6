"""What a prune would do and need, read off config and headers: nothing is computed or written."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Unpack

import torch

from mwanda.model.gguf.file import Gguf, read_gguf
from mwanda.model.gguf.weights import PIECE
from mwanda.model.given import check_model, is_gguf
from mwanda.model.opening import open_decoder, source_dtype
from mwanda.model.run.decoder import Decoder, MemoryDecoder
from mwanda.model.run.skeleton import build_skeleton
from mwanda.model.run.streamed import StreamedDecoder
from mwanda.model.source import load_tokenizer, open_model
from mwanda.pruning.calibration_text import (
    CalibrationInput,
    calibration_languages,
    get_windows,
    sizes_of,
    text_or_first_try,
)
from mwanda.pruning.evidence import open_evidence
from mwanda.pruning.folder.card import allotted_by, chosen_by
from mwanda.pruning.forecast.footprint import Prune, apart, on_host
from mwanda.pruning.forecast.forward_memory import ForwardMemory, count_forward
from mwanda.pruning.forecast.memory import RUNTIME_MAPPED, journal_bytes, process_memory
from mwanda.pruning.forecast.operations import count_work, matmul_rate
from mwanda.pruning.forecast.planned import Plan
from mwanda.pruning.given_arguments import options_given, recipe_given
from mwanda.pruning.recipe.asked import Recipe
from mwanda.pruning.recipe.keywords import RecipeFields, with_fields
from mwanda.pruning.recipe.resolved import ResolvedRecipe, resolve
from mwanda.pruning.schedule import Schedule
from mwanda.pruning.statistics.file import SavedStatistics
from mwanda.pruning.statistics.fit import check_names
from mwanda.pruning.task import chosen_linears
from mwanda.pruning.units import probed_tokens
from mwanda.system.arguments import path_given
from mwanda.system.device import (
    HOST,
    choose_compute_dtype,
    choose_device,
    computes_on_host,
    dtype_name,
    parse_dtype,
)
from mwanda.system.run_options import RunOptions
from mwanda.system.speaking import speaking
from mwanda.system.surroundings import undisturbed
from mwanda.text.text_source import TextSource
from mwanda.text.window_files import Windows
from mwanda.text.window_sizes import BACKGROUND_LENGTH, NO_BACKGROUND, Sizes

TOKEN_BYTES, MADE_BYTES = 1200, 16
"""Bytes a token while a GGUF file's tokenizer is built, and a weight while it is made; measured."""


@speaking
@undisturbed()
@with_fields(RecipeFields)
def plan(
    model: str | Path,
    *,
    recipe: Recipe | Mapping[str, Any] | str | Path | None = None,
    calibration: CalibrationInput | None = None,
    statistics: str | Path | None = None,
    options: RunOptions | None = None,
    **fields: Unpack[RecipeFields],
) -> Plan:
    """Describe a prune without doing it.

    Args:
        model: a folder, GGUF file or hub id.
        recipe, calibration, statistics, options, fields: those of the prune, see
            :func:`mwanda.prune`.

    Raises:
        InputError: whatever the prune itself would refuse before it starts, but for weights that
            are not those the statistics were made of: they are not read here.
    """
    options = options_given(options)
    resolved = resolve(recipe_given(recipe, fields, "plan"), saved=statistics is not None)
    if statistics is None:
        calibration, options = text_or_first_try(calibration, resolved, options)
    schedule = Schedule.of(resolved, saved=statistics is not None)
    check_model(path_given("model", model))
    opened = open_evidence(calibration, statistics, resolved, options)
    saved = opened if isinstance(opened, SavedStatistics) else None
    text = None if isinstance(opened, SavedStatistics) else opened
    languages = [*saved.languages] if saved else []
    if text is not None:
        languages = calibration_languages(text, resolved)
    device = choose_device(options.device)
    with _opened(str(model), options, device) as (decoder, stored, gguf):
        shapes = shapes_of(gguf, text, languages, decoder, resolved, options)
        tokens = sum(map(math.prod, shapes))
        length = max((length for _, length in shapes), default=resolved.window_length)
        count = max((count for count, _ in shapes), default=resolved.windows)
        chosen = chosen_linears(decoder, resolved)
        if saved is not None:
            tokens = sum(saved.record.calibration.languages[tag].tokens for tag in languages)
            check_names(saved, decoder, chosen, resolved)
        written = parse_dtype(resolved.dtype, "--dtype") or stored
        total = sum(parameter.numel() for parameter in decoder.model.parameters())
        work = count_work(decoder, chosen, resolved, schedule, shapes, stored, written)
        batch = length * min(count, max(1, options.batch_tokens // length))
        rate = matmul_rate(work, batch, decoder.dtype, device) if work.flops else None
        memory = process_memory()
        counted = None
        if work.tokens:
            trusted, shape = options.trust_remote_code, (max(1, batch // length), length)
            counted = count_forward(decoder, shape, trust_remote_code=trusted)
        sized = Prune(
            decoder, chosen, resolved, schedule, work, stored, batch, options.activation_memory,
            languages=max(1, len(shapes) or len(languages)), probes=probed_tokens(resolved, shapes),
            whole=_converting(decoder.model) if gguf else 0, counted=counted or ForwardMemory(),
        )  # fmt: skip
        footprint = on_host(sized) if computes_on_host(device) else apart(sized)
        asked = resolved.model_dump(mode="json")
        weights, linears = sum(block.size for block in chosen.blocks), [*chosen.linears()]
        # If every block had the target; an allocation moves it by a weight a row.
        goes, sparsity = resolved.pattern_row().removed, resolved.sparsity
        removed = sum(goes(linear.rows, linear.columns, sparsity) for linear in linears)
        return Plan(
            model=str(model),
            method=f"{chosen_by(asked)}, {allotted_by(asked)}, mode: {resolved.mode}",
            blocks=len(chosen.blocks),
            linears=len(linears),
            weights=weights,
            removed=removed,
            model_weights=total,
            languages=tuple(languages),
            tokens=tokens,
            passes=work.passes,
            compared=work.compared,
            steps=schedule.lines(),
            flops=work.flops,
            matmul_rate=rate,
            compute_seconds=work.flops / rate if rate else 0.0,
            bytes_read=work.bytes_read,
            bytes_written=work.bytes_written,
            disk=total * written.itemsize
            + footprint.spilled
            + (total * stored.itemsize if gguf else 0)
            + (journal_bytes(decoder, work.tokens, chosen) if options.journal else 0),
            anonymous=memory.anonymous + footprint.anonymous,
            high_water=memory.resident + footprint.anonymous + RUNTIME_MAPPED,
            device_memory=None if computes_on_host(device) else footprint.device,
            compute_dtype=dtype_name(decoder.dtype),
            dtype=dtype_name(written),
        )


@contextmanager
def _opened(
    name: str, options: RunOptions, device: torch.device
) -> Iterator[tuple[Decoder, torch.dtype, Gguf | None]]:
    """A decoder without weights, on the CPU but in the dtype that the device computes in, the
    source's dtype, and the GGUF file if it is one."""
    if is_gguf(Path(name)):
        gguf = read_gguf(Path(name))
        wanted = parse_dtype(options.compute_dtype, "--compute-dtype")
        dtype = choose_compute_dtype(wanted, torch.bfloat16, device)
        yield _Shape(build_skeleton(gguf.config, dtype), HOST, dtype), torch.bfloat16, gguf
        return
    with (
        open_model(name, trust_remote_code=options.trust_remote_code) as source,
        open_decoder(source, options, shape_for=device) as decoder,
    ):
        yield decoder, source_dtype(decoder.checkpoint), None


def _converting(model: Any) -> int:
    """Bytes that making a folder of a GGUF file takes: its tokenizer, or its largest parameter.

    What needs nothing undone goes in pieces; queries and keys may not, and experts stand together.
    """
    vocabulary, width = model.get_input_embeddings().weight.shape
    stacked = [p.numel() for p in model.parameters() if p.dim() == 3]
    weights = MADE_BYTES * max(PIECE, width * width)
    return int(max(TOKEN_BYTES * vocabulary, weights, 4 * max(stacked, default=0)))


def shapes_of(
    gguf: Gguf | None,
    text: TextSource | Windows | None,
    languages: Sequence[str],
    decoder: Decoder,
    recipe: ResolvedRecipe,
    options: RunOptions,
) -> list[tuple[int, ...]]:
    """Number and length of every language's windows, which are drawn to see how much text there
    is; a stream from the hub has no end."""
    if text is None:
        return []
    if not isinstance(text, Windows) and text.streamed:
        sizes = Sizes.of(*sizes_of(recipe).values()).within(decoder.context_length)
        found = [(sizes.windows, sizes.length) for _ in languages]
        length = min(BACKGROUND_LENGTH, decoder.context_length or BACKGROUND_LENGTH)
        pooled = recipe.background != NO_BACKGROUND
        return [*found, *([(recipe.background_windows, length)] if pooled else [])]

    def tokenizer() -> Any:
        if isinstance(decoder, StreamedDecoder):
            folder, trusted = decoder.checkpoint.folder, options.trust_remote_code
            return load_tokenizer(folder, trust_remote_code=trusted)
        return None if gguf is None else gguf.tokenizer()

    windows = get_windows(text, tokenizer, decoder, recipe, options)
    return [tuple(ids.shape) for ids in windows.tokens.values()]


class _Shape(MemoryDecoder):
    """A skeleton looked at for its shape only."""

    def __init__(self, model: Any, device: torch.device, dtype: torch.dtype) -> None:
        Decoder.__init__(self, model, device, dtype)
