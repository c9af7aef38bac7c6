"""Prune a model: from a folder to a folder, or a model in memory in place."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from mwanda.errors import InputError
from mwanda.model.run.decoder import MemoryDecoder, evaluation_mode
from mwanda.model.run.experts import runnable_experts
from mwanda.model.run.in_memory import check_changeable, model_given, warn_of_wrappers
from mwanda.model.run.structure import Linear
from mwanda.model.stored.parts import Place
from mwanda.pruning.calibration_text import CalibrationInput
from mwanda.pruning.evidence import gather, open_evidence
from mwanda.pruning.folder.known_text import known_in_memory, records, remember
from mwanda.pruning.given_arguments import (
    no_tokenizer,
    tokenizer_given,
)
from mwanda.pruning.manifest_parts import PruneResult, build_manifest
from mwanda.pruning.pipeline import prune_blocks
from mwanda.pruning.prune_folder import prune_folder
from mwanda.pruning.recipe.resolved import ResolvedRecipe
from mwanda.pruning.task import Task, chosen_linears
from mwanda.system.arguments import path_given
from mwanda.system.run_options import RunOptions
from mwanda.system.surroundings import free_from_inference


def prune_once(
    model: Any,
    recipe: ResolvedRecipe,
    options: RunOptions,
    *,
    out: str | Path | None = None,
    calibration: CalibrationInput | None = None,
    statistics: str | Path | None = None,
    masks_only: bool = False,
    tokenizer: Any = None,
) -> PruneResult:
    """A prune alone, without what its recipe wants after it; arguments are those of
    :func:`mwanda.prune`."""
    if isinstance(model, str | Path):
        if out is None:
            raise InputError("out", expected="a folder to write", found="none")
        no_tokenizer(tokenizer)
        given = (calibration, statistics, recipe, options)
        return prune_folder(str(model), path_given("out", out), *given, masks_only=masks_only)
    if masks_only:
        raise InputError(
            "masks_only", expected="a model folder", found="a model in memory",
            fix="prune it: its zeros are the masks",
        )  # fmt: skip
    if out is not None:
        raise InputError(
            "out", expected="none for a model in memory", found=str(out),
            fix="call model.save_pretrained afterwards",
        )  # fmt: skip
    return _prune_memory(model, tokenizer, calibration, statistics, recipe, options)


def _prune_memory(
    model: Any,
    tokenizer: Any,
    calibration: CalibrationInput | None,
    statistics: str | Path | None,
    recipe: ResolvedRecipe,
    options: RunOptions,
) -> PruneResult:
    model = model_given(model)
    check_changeable(model)
    earlier = known_in_memory(model)
    decoder = MemoryDecoder(model)
    chosen = chosen_linears(decoder, recipe)
    warn_of_wrappers(model, chosen.linears())
    opened = open_evidence(calibration, statistics, recipe, options)
    find_tokenizer = partial(tokenizer_given, tokenizer, options)
    evidence = gather(opened, find_tokenizer, decoder, chosen, recipe, options)
    with (
        evaluation_mode(model),
        runnable_experts(model, decoder.dtype),
        tempfile.TemporaryDirectory(prefix="mwanda-") as scratch,
    ):
        free_from_inference(model)
        task = Task(
            decoder=decoder, chosen=chosen, recipe=recipe, evidence=evidence, options=options,
            scratch=Path(scratch), earlier=earlier,
        )  # fmt: skip
        outcome = prune_blocks(task, lambda _linear, weight: weight)

    def place_of(linear: Linear) -> Place:
        box = linear.fused.box if linear.fused else None
        return Place(linear.parameter, box, linear.transposed)

    name = str(getattr(model.config, "_name_or_path", "") or type(model).__name__)
    weights = sum(p.numel() for p in model.parameters() if p.is_floating_point())
    manifest = build_manifest(task, outcome, name, weights, decoder.dtype, place_of)
    remember(model, records(manifest.calibrations))
    return PruneResult(None, manifest, evidence.windows, outcome.spilled)
