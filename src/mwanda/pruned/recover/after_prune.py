"""A prune whose kept weights learn from the dense model, in one go."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from mwanda.errors import InputError
from mwanda.pruned.recover.recover import RecoverResult, recover
from mwanda.pruning.calibration_text import CalibrationInput
from mwanda.pruning.manifest_parts import PruneResult
from mwanda.pruning.prune import prune
from mwanda.pruning.recipe.keywords import TextFields
from mwanda.pruning.recipe.resolved import ResolvedRecipe
from mwanda.system.extras import need
from mwanda.system.output import OutputFolder
from mwanda.system.ranks import launched
from mwanda.system.run_options import RunOptions


def prune_and_recover(
    model: str,
    out: Path,
    *,
    calibration: CalibrationInput | None,
    statistics: Path | None,
    recipe: ResolvedRecipe,
    options: RunOptions,
) -> tuple[PruneResult, RecoverResult]:
    """Prune into a folder beside ``out``, recover it into ``out`` on the same text, and remove it.

    A prune or a recovery that was stopped is gone on with.
    """
    need("accelerate", "--recover", "recover")
    if calibration is None or statistics is not None:
        raise InputError(
            "--recover", expected="--calibration, text to learn from",
            found="none" if statistics is None else "--statistics",
        )  # fmt: skip
    if launched().size > 1:
        raise InputError(
            "--recover", expected="a single process", found="several",
            fix="run mwanda recover afterwards",
        )  # fmt: skip
    OutputFolder(out, overwrite=options.overwrite).check(Path(model))
    whole = out.with_name(f".{out.name}.unrecovered")
    text = {name: getattr(recipe, name) for name in TextFields.__annotations__}
    given: Any = {name: one for name, one in text.items() if name in recipe.model_fields_set}
    again = replace(options, overwrite=True)
    pruned = prune(model, out=whole, calibration=calibration, recipe=recipe, options=again)
    made = recover(whole, out, dense=model, calibration=calibration, options=options, **given)
    shutil.rmtree(whole)
    return replace(pruned, folder=out, manifest=made.manifest), made
