"""A prune whose vocabulary is trimmed to its languages, in one go."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mwanda.errors import InputError
from mwanda.pruned.trim.trim import TrimResult, plan_trim, trim
from mwanda.pruning.folder.manifest import read_manifest
from mwanda.pruning.manifest_parts import PruneResult
from mwanda.pruning.prune import prune
from mwanda.system.output import OutputFolder
from mwanda.system.ranks import launched
from mwanda.system.run_options import RunOptions


def prune_and_trim(
    model: str | Path, out: Path, languages: Sequence[str], *, options: RunOptions, **given: Any
) -> tuple[PruneResult, TrimResult]:
    """Prune into a folder beside ``out``, trim it into ``out`` by script, and remove it.

    Whether the model can be trimmed is found out before the prune; a prune that was stopped is gone
    on with.

    Args:
        given: as :func:`mwanda.prune` takes it.
    """
    if launched().size > 1:
        raise InputError(
            "--trim", expected="a single process", found="several", fix="run mwanda trim afterwards"
        )
    OutputFolder(out, overwrite=options.overwrite).check(Path(model))
    plan_trim(model, languages, options=replace(options, overwrite=False))
    whole = out.with_name(f".{out.name}.untrimmed")
    pruned = prune(model, out=whole, options=replace(options, overwrite=True), **given)
    try:
        made = trim(whole, out, languages, options=options)
        return replace(pruned, folder=out, manifest=read_manifest(out)), made
    finally:
        shutil.rmtree(whole)
