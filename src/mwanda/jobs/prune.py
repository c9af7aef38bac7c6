"""Prune a model: from a folder to a folder, or a model in memory in place."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from mwanda.errors import InputError
from mwanda.jobs.calibration import CalibrationInput, open_calibration, weights_of
from mwanda.jobs.prune_folder import prune_folder
from mwanda.jobs.shared import PruneResult, build_manifest, chosen_linears, windows_for
from mwanda.model.decoder import MemoryDecoder, evaluation_mode
from mwanda.model.experts import runnable_experts
from mwanda.model.pieces import Place
from mwanda.options import RunOptions
from mwanda.pipeline import prune_blocks
from mwanda.recipe import Recipe
from mwanda.text.windows import Windows

__all__ = ["PruneResult", "prune"]


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
            memory, whose weights are masked in place, block by block: when that fails midway, the
            blocks before stay masked.
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
        return prune_folder(str(model), Path(out), calibration, recipe, options)
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
    chosen = chosen_linears(decoder, recipe)
    opened = open_calibration(calibration, recipe)
    if opened is not None and not isinstance(opened, Windows) and tokenizer is None:
        raise InputError("tokenizer", expected="the model's tokenizer", found="none")
    windows = windows_for(opened, tokenizer, decoder, recipe, options)
    weights = weights_of(recipe, windows.languages) if windows is not None else {}
    with (
        evaluation_mode(model),
        runnable_experts(model, decoder.dtype),
        tempfile.TemporaryDirectory(prefix="mwanda-") as scratch,
    ):
        outcome = prune_blocks(
            decoder,
            chosen,
            recipe,
            windows.tokens if windows is not None else {},
            weights,
            lambda _linear, weight: weight,
            Path(scratch),
            options,
        )
    manifest = build_manifest(
        base=str(getattr(model.config, "_name_or_path", "") or type(model).__name__),
        decoder=decoder,
        recipe=recipe,
        windows=windows,
        weights=weights,
        outcome=outcome,
        model_weights=sum(p.numel() for p in model.parameters() if p.is_floating_point()),
        dtype=decoder.dtype,
        places={
            linear.name: Place(
                linear.parameter,
                None if linear.fused is None else linear.fused.box,
                linear.transposed,
            )
            for linear in chosen.linears()
        },
        chosen=chosen,
    )
    return PruneResult(None, manifest, windows, outcome.spilled)
