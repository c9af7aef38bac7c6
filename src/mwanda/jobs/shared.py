"""What folder and in-memory prunes share: choosing linears, getting windows, and the manifest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mwanda.device import dtype_name
from mwanda.jobs.calibration import get_windows
from mwanda.manifest import (
    CalibrationRecord,
    ExpertsRecord,
    LinearRecord,
    Manifest,
    Totals,
    versions,
)
from mwanda.model.decoder import Decoder
from mwanda.model.pieces import Place
from mwanda.model.structure import Structure, choose_linears
from mwanda.options import RunOptions
from mwanda.outcome import Outcome
from mwanda.pipeline import check_pattern
from mwanda.recipe import Recipe
from mwanda.text.sources import TextSource
from mwanda.text.windows import Windows
from mwanda.work import Limit

__all__ = ["PruneResult", "build_manifest", "chosen_linears", "windows_for"]


@dataclass(frozen=True)
class PruneResult:
    """What a prune did.

    Attributes:
        folder: the model folder written; None for a model pruned in memory.
        manifest: what ``mwanda.json`` holds.
        windows: the calibration windows used; None where no text was needed.
        spilled: bytes of activations that went to disk.
        limit: the work of the run at the machine's rates; None for a model pruned in memory.
    """

    folder: Path | None
    manifest: Manifest
    windows: Windows | None
    spilled: int
    limit: Limit | None = None


def chosen_linears(decoder: Decoder, recipe: Recipe) -> Structure:
    """The linears the recipe names, which its pattern fits.

    Raises:
        InputError: none, or one the pattern does not fit.
    """
    chosen = choose_linears(
        decoder.structure,
        include=recipe.include,
        exclude=recipe.exclude,
        skip_blocks=recipe.skip_blocks,
    )
    check_pattern(chosen, recipe)
    return chosen


def windows_for(
    opened: TextSource | Windows | None,
    tokenizer: Any,
    decoder: Decoder,
    recipe: Recipe,
    options: RunOptions,
) -> Windows | None:
    """The calibration windows for a model; None where the recipe needs none."""
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


def build_manifest(
    *,
    base: str,
    decoder: Decoder,
    recipe: Recipe,
    windows: Windows | None,
    weights: Mapping[str, float],
    outcome: Outcome,
    model_weights: int,
    dtype: torch.dtype,
    places: Mapping[str, Place],
    chosen: Structure,
) -> Manifest:
    """The manifest of a finished prune, without files.

    Args:
        base: the model as the user named it.
        weights: language -> weight, summing to 1.
        model_weights: number of weights of the whole model.
        dtype: what was written.
        places: linear name -> where it lies in the checkpoint.
    """
    linears = {}
    for block in chosen.blocks:
        for linear in block.linears:
            entry, place = outcome.records[linear.name], places[linear.name]
            linears[linear.name] = LinearRecord(
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
    resolved = recipe
    if windows is not None:
        resolved = recipe.model_copy(
            update={
                "languages": tuple(windows.languages),
                # A windows file decides these, whatever the recipe said.
                "windows": max(ids.shape[0] for ids in windows.tokens.values()),
                "window_length": max(ids.shape[1] for ids in windows.tokens.values()),
                "seed": recipe.seed if windows.seed is None else windows.seed,
            }
        )
    return Manifest(
        base=base,
        base_files={},
        dequantised=None,
        recipe=resolved.model_dump(mode="json"),
        statistics=_statistics(recipe, windows),
        device=str(decoder.device),
        compute_dtype=dtype_name(decoder.dtype),
        dtype=dtype_name(dtype),
        calibration=None if windows is None else CalibrationRecord.of(windows, weights),
        linears=linears,
        totals=Totals.of(
            [(r.shape[0] * r.shape[1], r.pruned, r.source_zeros) for r in linears.values()],
            model_weights,
        ),
        signals=outcome.signals,
        experts=ExpertsRecord.of(outcome.routing, outcome.fallbacks, recipe.expert_tokens),
        files={},
        versions=versions(),
        seconds=outcome.seconds,
    )


def _statistics(recipe: Recipe, windows: Windows | None) -> str:
    """Which statistics chose masks and weights: where they need none, only the allocation's."""
    if windows is None:
        return "none"
    return recipe.mode if recipe.linear_needs else "dense"
