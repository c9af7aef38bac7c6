"""What folder and in-memory prunes share: choosing linears, getting windows, and the manifest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from mwanda.errors import InputError
from mwanda.methods.recipe.resolved import ResolvedRecipe
from mwanda.model.given import check_model, is_gguf
from mwanda.model.opening import open_decoder
from mwanda.model.run.decoder import Decoder
from mwanda.model.run.structure import Structure, choose_linears
from mwanda.model.source import ModelSource
from mwanda.model.stored.parts import Place
from mwanda.model.stored.reader import Checkpoint
from mwanda.pruning.evidence import Evidence
from mwanda.pruning.folder.known_text import Calibrations
from mwanda.pruning.folder.manifest import (
    CalibrationRecord,
    ExpertsRecord,
    LinearRecord,
    Manifest,
    Totals,
    versions,
)
from mwanda.pruning.forecast.operations import Limit
from mwanda.pruning.outcome import Outcome
from mwanda.pruning.pipeline import check_pattern
from mwanda.system.device import dtype_name
from mwanda.system.ranks import Ranks, launched
from mwanda.system.run_options import RunOptions
from mwanda.text.window_files import Windows


@dataclass(frozen=True)
class PruneResult:
    """What a prune did.

    Attributes:
        folder: the model folder written; None for a model pruned in memory.
        manifest: what ``mwanda.json`` holds.
        windows: the calibration windows used; None where no text was needed, or saved statistics
            were used.
        spilled: bytes of activations that went to disk.
        limit: the work of the run at the machine's rates; None for a model pruned in memory.
        masks: the file of masks written instead of a folder.
        linears_sha256: of the model the masks are for, see :mod:`mwanda.model.identity`.
    """

    folder: Path | None
    manifest: Manifest
    windows: Windows | None
    spilled: int
    limit: Limit | None = None
    masks: Path | None = None
    linears_sha256: str | None = None


def chosen_linears(decoder: Decoder, recipe: ResolvedRecipe, *, strict: bool = True) -> Structure:
    """The linears the recipe names, which its pattern fits.

    Args:
        strict: as for :func:`mwanda.model.run.structure.choose_linears`.
    """
    chosen = choose_linears(
        decoder.structure,
        include=recipe.include,
        exclude=recipe.exclude,
        skip_blocks=recipe.skip_blocks,
        strict=strict,
    )
    check_pattern(chosen, recipe)
    return chosen


def naming_problems(
    source: ModelSource, recipes: Iterable[ResolvedRecipe], options: RunOptions, place: str = ""
) -> list[str]:
    """Everything by which these recipes name linears and blocks that a model does not have, each
    begun by ``place``: for work that has much to do before its first prune."""
    named = [r for r in recipes if r.include or r.exclude or r.skip_blocks]
    if not named:
        return []
    found: dict[str, None] = {}
    with open_decoder(source, replace(options, device="cpu")) as decoder:
        for recipe in named:
            try:
                chosen_linears(decoder, recipe)
            except InputError as error:
                found |= {place + problem: None for problem in error.problems}
    return list(found)


def ranks_for(name: str) -> Ranks:
    """The processes that this run is one of, for a model that can be theirs."""
    check_model(name)
    ranks = launched()
    if ranks.size > 1 and is_gguf(Path(name)):
        raise InputError(
            name,
            expected="a model folder, when several processes share the work",
            found="a GGUF file, which each of them would convert",
            fix="convert it first: mwanda prune FILE --out FOLDER --sparsity 0",
        )
    return ranks


def build_manifest(
    *,
    base: str,
    decoder: Decoder,
    recipe: ResolvedRecipe,
    evidence: Evidence,
    outcome: Outcome,
    model_weights: int,
    dtype: torch.dtype,
    places: Mapping[str, Place],
    chosen: Structure,
    earlier: Calibrations,
) -> Manifest:
    """The manifest of a finished prune, without files.

    Args:
        base: the model as the user named it.
        evidence: what was known of the text.
        model_weights: number of weights of the whole model.
        dtype: what was written.
        places: linear name -> where it lies in the checkpoint.
        earlier: the text that had calibrated the model before.
    """
    linears = linear_records(chosen, places, outcome)
    calibration, saved = evidence.calibration, evidence.saved
    resolved = recipe
    if calibration is not None:
        draws = calibration.languages.values()
        resolved = recipe.model_copy(
            update={
                "languages": tuple(calibration.languages),
                # What was drawn decides these, whatever the recipe said.
                "windows": max(draw.windows for draw in draws),
                "window_length": max(draw.tokens // draw.windows for draw in draws),
                "seed": recipe.seed if calibration.seed is None else calibration.seed,
                "keep_english": "english" in calibration.kept,
                "keep_repeated": "repeated" in calibration.kept,
            }
        )
    return Manifest(
        base=base,
        base_files={},
        dequantised=None,
        recipe=resolved.model_dump(mode="json"),
        statistics=_statistics(recipe, calibration),
        statistics_file=evidence.statistics_file,
        device=str(decoder.device) if saved is None else saved.record.device,
        compute_dtype=dtype_name(decoder.dtype) if saved is None else saved.record.compute_dtype,
        dtype=dtype_name(dtype),
        calibration=calibration,
        earlier=earlier,
        linears=linears,
        totals=totals_of(linears, model_weights),
        signals=outcome.signals,
        experts=ExpertsRecord.of(outcome.routing, outcome.fallbacks, recipe.expert_tokens),
        files={},
        versions=versions(),
        seconds=outcome.seconds,
    )


def linear_records(
    chosen: Structure, places: Mapping[str, Place], outcome: Outcome
) -> dict[str, LinearRecord]:
    """Of every chosen linear, what became of it.

    Args:
        places: linear name -> where it lies in the checkpoint.
    """
    found = {}
    for block in chosen.blocks:
        for linear in block.linears:
            entry, place = outcome.records[linear.name], places[linear.name]
            found[linear.name] = LinearRecord(
                tensor=place.stored,
                box=place.box,
                block=block.index,
                shape=entry.shape,
                transposed=place.transposed,
                sparsity=entry.sparsity,
                pruned=entry.pruned,
                zeros=entry.zeros,
                source_zeros=entry.source_zeros,
                mask_sha256=entry.mask_sha256,
                zeros_sha256=entry.zeros_sha256,
                damping=outcome.damping.get(linear.name),
            )
    return found


def totals_of(linears: Mapping[str, LinearRecord], model_weights: int) -> Totals:
    """Of a model of so many weights."""
    rows = [(r.shape[0] * r.shape[1], r.pruned, r.source_zeros) for r in linears.values()]
    return Totals.of(rows, model_weights)


def weights_in(checkpoint: Checkpoint) -> int:
    """Number of weights of the whole model."""
    infos = checkpoint.tensors.values()
    return sum(i.nbytes // i.dtype.itemsize for i in infos if i.dtype.is_floating_point)


def _statistics(recipe: ResolvedRecipe, calibration: CalibrationRecord | None) -> str:
    """Which statistics chose masks and weights: where they need none, only the allocation's."""
    if calibration is None:
        return "none"
    return recipe.mode if recipe.linear_needs else "dense"
