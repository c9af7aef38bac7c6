"""A prune and what is done to its result, in one go: ``prune --trim`` and ``prune --recover``."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mwanda.errors import InputError
from mwanda.pruned.recover.lessons import held_out_of
from mwanda.pruned.recover.recover import RecoverResult, recover
from mwanda.pruned.recover.task import text_of
from mwanda.pruned.recover.trainer_checks import refuse_split_weights
from mwanda.pruned.trim.trim import TrimResult, plan_trim, trim
from mwanda.pruning.calibration_text import CalibrationInput, calibration_languages
from mwanda.pruning.folder.manifest import read_manifest
from mwanda.pruning.given_arguments import recipe_given
from mwanda.pruning.manifest_parts import PruneResult
from mwanda.pruning.prune import prune
from mwanda.pruning.recipe.keywords import TextFields
from mwanda.pruning.recipe.resolved import ResolvedRecipe, resolve
from mwanda.system.extras import need
from mwanda.system.output import OutputFolder
from mwanda.system.ranks import launched
from mwanda.system.run_options import RunOptions
from mwanda.text.languages import MULTIPLE
from mwanda.text.window_files import Windows
from mwanda.text.window_sizes import NO_BACKGROUND


def prune_and_trim(
    model: str | Path, out: Path, languages: Sequence[str], *, options: RunOptions, **given: Any
) -> tuple[PruneResult, TrimResult]:
    """Prune into a folder beside ``out``, trim it into ``out`` by script, and remove it.

    Whether the model can be trimmed is found out before the prune; a prune that was stopped is gone
    on with.

    Args:
        given: as :func:`mwanda.prune` takes it.
    """
    _check(model, out, "trim", options)
    plan_trim(model, languages, options=replace(options, overwrite=False))
    whole = out.with_name(f".{out.name}.untrimmed")
    pruned = prune(model, out=whole, options=replace(options, overwrite=True), **given)
    try:
        made = trim(whole, out, languages, options=options)
        return replace(pruned, folder=out, manifest=read_manifest(out)), made
    finally:
        shutil.rmtree(whole)


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

    What can be known of the recovery beforehand is told before the prune. A prune or a recovery
    that was stopped is gone on with.

    Raises:
        InputError: bad input; no text to learn from, too little, or nothing to prune.
    """
    need("accelerate", "--recover", "recover")
    if calibration is None or statistics is not None:
        raise InputError(
            "--recover", expected="--calibration, text to learn from",
            found="none" if statistics is None else "--statistics",
        )  # fmt: skip
    if not recipe.sparsity:
        raise InputError("--recover", expected="a --sparsity above 0", found="0")
    _check(model, out, "recover", options)
    refuse_split_weights()
    whole = out.with_name(f".{out.name}.unrecovered")
    text = {name: getattr(recipe, name) for name in TextFields.__annotations__}
    given: Any = {name: one for name, one in text.items() if name in recipe.model_fields_set}
    _check_windows(calibration, resolve(recipe_given(None, given, "recover")))
    again = replace(options, overwrite=True)
    pruned = prune(model, out=whole, calibration=calibration, recipe=recipe, options=again)
    try:
        made = recover(whole, out, dense=model, calibration=calibration, options=options, **given)
        return replace(pruned, folder=out, manifest=made.manifest), made
    finally:
        shutil.rmtree(whole)


def _check_windows(calibration: CalibrationInput, recipe: ResolvedRecipe) -> None:
    """Refuse too few windows where their number is known before any is drawn."""
    opened, sizes = text_of(calibration, recipe), dict[str, int]()
    languages = calibration_languages(opened, recipe)
    if isinstance(opened, Windows):
        name, sizes = opened.source, {tag: len(opened.tokens[tag]) for tag in languages}
    else:
        name = opened.name
        if "windows" in recipe.model_fields_set:
            sizes = dict.fromkeys(languages, recipe.windows)
        if recipe.background != NO_BACKGROUND:
            sizes[MULTIPLE] = recipe.background_windows
    held_out_of(name, sizes, None)


def _check(model: str | Path, out: Path, verb: str, options: RunOptions) -> None:
    """Refuse several processes, and an output that cannot be written, before the prune."""
    if launched().size > 1:
        fix = f"run mwanda {verb} afterwards"
        raise InputError(f"--{verb}", expected="a single process", found="several", fix=fix)
    OutputFolder(out, overwrite=options.overwrite).check(Path(model))
