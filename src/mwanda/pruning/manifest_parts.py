"""What folder and in-memory prunes give: their result, and the manifest of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from mwanda.model.run.structure import Linear, Structure
from mwanda.model.stored.parts import Place
from mwanda.pruning.folder.card import allotted_by, chosen_by
from mwanda.pruning.folder.known_text import records
from mwanda.pruning.folder.manifest import Manifest, versions
from mwanda.pruning.folder.manifest_records import ExpertsRecord, LinearRecord, Totals
from mwanda.pruning.forecast.operations import Limit
from mwanda.pruning.outcome import Outcome
from mwanda.pruning.task import Task
from mwanda.system.device import dtype_name
from mwanda.system.shown import Sheet, Shown
from mwanda.text.languages import MULTIPLE
from mwanda.text.window_files import Windows
from mwanda.text.window_sizes import NO_BACKGROUND

PlaceOf = Callable[[Linear], Place]
"""Where a linear lies in the checkpoint."""


@dataclass(frozen=True, repr=False)
class PruneResult(Shown):
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

    def _summary(self) -> str:
        made, recipe = self.manifest, self.manifest.recipe
        how = f"{chosen_by(recipe)}, {allotted_by(recipe)}"
        if "mode" in recipe:  # masks of another program have no recipe
            how += f", mode: {recipe['mode']}"
        return f"{self.folder or self.masks or 'in memory'}, {made._summary()}; {how}"

    def _records(self) -> list[dict[str, Any]]:
        return self.manifest._records()

    def _sheet(self) -> Sheet:
        return self.manifest._sheet()


def build_manifest(
    task: Task, outcome: Outcome, base: str, model_weights: int, dtype: torch.dtype, place: PlaceOf
) -> Manifest:
    """The manifest of a finished prune, without files; ``dtype`` is what was written."""
    recipe, calibration, saved = task.recipe, task.evidence.calibration, task.evidence.saved
    linears = linear_records(task.chosen, place, outcome)
    statistics, resolved = "none", recipe
    if calibration is not None:
        # Where masks and weights need none, the allocation's, which are dense.
        statistics = recipe.mode if recipe.linear_needs else "dense"
        draws, now = calibration.named.values(), task.evidence.draws_background
        pooled = None if now else calibration.languages.get(MULTIPLE)
        # What was drawn decides these, whatever the recipe said.
        drawn = {
            "languages": tuple(calibration.named),
            "background": calibration.background_source or NO_BACKGROUND,
            "background_windows": recipe.background_windows if pooled is None else pooled.windows,
            "windows": max(draw.windows for draw in draws),
            "window_length": max(draw.tokens // draw.windows for draw in draws),
            "seed": recipe.seed if now or calibration.seed is None else calibration.seed,
            "keep_english": "english" in calibration.kept,
            "keep_repeated": "repeated" in calibration.kept,
        }
        resolved = recipe.model_copy(update=drawn)
    return Manifest(
        base=base,
        base_files={},
        dequantised=None,
        recipe=resolved.model_dump(mode="json"),
        statistics=statistics,
        statistics_file=task.evidence.statistics_file,
        device=saved.record.device if saved else str(task.decoder.device),
        compute_dtype=saved.record.compute_dtype if saved else dtype_name(task.decoder.dtype),
        dtype=dtype_name(dtype),
        calibration=calibration,
        earlier=records(task.earlier),
        linears=linears,
        totals=Totals.of(linears.values(), model_weights),
        signals=outcome.signals,
        experts=ExpertsRecord.of(outcome.routing, outcome.fallbacks, recipe.expert_tokens),
        files={},
        versions=versions(),
        seconds=outcome.seconds,
    )


def linear_records(chosen: Structure, place: PlaceOf, outcome: Outcome) -> dict[str, LinearRecord]:
    """Of every chosen linear, what became of it."""
    found = {}
    for block in chosen.blocks:
        for linear in block.linears:
            lies, made = place(linear), outcome.records[linear.name]
            found[linear.name] = LinearRecord(
                tensor=lies.stored, box=lies.box, transposed=lies.transposed, block=block.index,
                sparsity=made.sparsity, damping=outcome.damping.get(linear.name), **asdict(made),
            )  # fmt: skip
    return found
