"""What is written down about a recovery: in the manifest, beside what the prune wrote there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mwanda.model.opening import source_dtype
from mwanda.pruned.recover.task import RecoverTask
from mwanda.pruned.recover.written import records_of_zeros
from mwanda.pruning.folder.known_text import known_in_folder
from mwanda.pruning.folder.manifest import Manifest, versions
from mwanda.pruning.folder.manifest_records import (
    HeldOutRecord,
    LinearRecord,
    RecoveryRecord,
    Totals,
    weights_in,
)
from mwanda.pruning.masks import count_zeros
from mwanda.system.device import dtype_name
from mwanda.text.window_sizes import NO_BACKGROUND


def records_before(task: RecoverTask, source_zeros: dict[str, int]) -> dict[str, LinearRecord]:
    """Of every linear with zeros, as it came."""
    return task.records or records_of_zeros(task.pruned.decoder, source_zeros)


def zeros_of_dense(task: RecoverTask) -> dict[str, int]:
    """How many zeros the dense model has in each of its linears."""
    decoder, found = task.dense.decoder, {}
    for block in decoder.structure.blocks:
        decoder.expect(block.linears)
        for linear in block.linears:
            found[linear.name] = count_zeros(decoder.source_weight(linear))
    return found


def manifest_of(
    task: RecoverTask, linears: dict[str, LinearRecord], recovery: RecoveryRecord
) -> Manifest:
    """The pruned folder's, with the recovery; of one that another program wrote, a new one."""
    checkpoint, dense = task.pruned.decoder.checkpoint, task.dense
    changed: dict[str, Any] = {
        "dtype": dtype_name(task.dtype or source_dtype(checkpoint)),
        "linears": linears,
        "totals": Totals.of(linears.values(), weights_in(checkpoint)),
        "versions": versions(),
    }
    if task.manifest is not None:
        recoveries = (*task.manifest.recoveries, recovery)
        return task.manifest.model_copy(update=changed | {"recoveries": recoveries})
    return Manifest(
        base=dense.source.name, base_files=dict(dense.files),
        dequantised=dense.source.dequantised, recipe={}, statistics="none",
        device=str(task.pruned.decoder.device), compute_dtype=recovery.compute_dtype,
        calibration=None, earlier=known_in_folder(task.pruned.source.folder), signals=[], files={},
        recoveries=(recovery,), **changed,
    )  # fmt: skip


def recovery_of(
    task: RecoverTask,
    best: int,
    before: Mapping[str, float],
    after: Mapping[str, float],
    learnt: Sequence[str],
    linears: Mapping[str, LinearRecord],
) -> RecoveryRecord:
    """Of a recovery that is done.

    Args:
        best: the step whose state was kept.
        before, after: language -> divergence on what is held out, nats a token.
        learnt: stored tensors with values that learnt.
    """
    recipe = task.recipe
    asked: dict[str, Any] = {"seed": recipe.seed}
    if recipe.background != NO_BACKGROUND:  # as many windows need not come of it
        asked["background_windows"] = recipe.background_windows
    if task.dtype is not None:
        asked["dtype"] = recipe.dtype
    return RecoveryRecord(
        pruned=task.pruned.source.name,
        pruned_files=dict(task.pruned.files),
        dense=task.dense.source.name,
        dense_files=dict(task.dense.files),
        settings=task.settings.recorded() | asked,
        steps=task.steps,
        best_step=best,
        compute_dtype=dtype_name(task.products),
        text=task.text,
        held_out={
            tag: HeldOutRecord(
                windows=task.lessons.held_out[tag], before=before[tag], after=after[tag]
            )
            for tag in before
        },
        learnt=tuple(sorted({*learnt} - {r.tensor for r in linears.values() if r.box is None})),
    )
