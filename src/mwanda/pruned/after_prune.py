"""``mwanda prune``: a prune, and what is asked for after it, a recovery or a trim, in one go."""

from __future__ import annotations

import logging
import shlex
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Unpack

from mwanda.errors import InputError
from mwanda.pruned.recover.lessons import held_out_of
from mwanda.pruned.recover.recover import recover
from mwanda.pruned.recover.task import default_length, learning_dtype, text_of
from mwanda.pruned.recover.trainer_checks import check_settings
from mwanda.pruned.trim.trim import TrimResult, plan_trim, trim
from mwanda.pruning.calibration_text import (
    CalibrationInput,
    calibration_languages,
    sizes_of,
    text_or_first_try,
)
from mwanda.pruning.draw_windows import tokenizer_and_context
from mwanda.pruning.evidence import refuse_statistics
from mwanda.pruning.folder.manifest import read_manifest
from mwanda.pruning.given_arguments import no_tokenizer, options_given, recipe_given
from mwanda.pruning.manifest_parts import PruneResult
from mwanda.pruning.prune import prune_once
from mwanda.pruning.recipe.asked import Recipe
from mwanda.pruning.recipe.keywords import RecipeFields, TextFields, with_fields
from mwanda.pruning.recipe.recovery import AfterPrune, refuse_masks_only
from mwanda.pruning.recipe.resolved import ResolvedRecipe, resolve
from mwanda.system.arguments import path_given
from mwanda.system.extras import need
from mwanda.system.output import OutputFolder
from mwanda.system.ranks import launched
from mwanda.system.run_options import RunOptions
from mwanda.system.speaking import speaking
from mwanda.system.surroundings import undisturbed
from mwanda.text.languages import MULTIPLE
from mwanda.text.text_source import TextSource
from mwanda.text.window_files import Windows
from mwanda.text.window_sizes import NO_BACKGROUND
from mwanda.text.windows import draw

log = logging.getLogger("mwanda")


def prune_and_trim(
    model: str | Path, out: Path, languages: Sequence[str], *, options: RunOptions, **given: Any
) -> tuple[PruneResult, TrimResult]:
    """Prune into a folder beside ``out``, trim it into ``out`` by script, and remove it.

    Whether the model can be trimmed is found out before the prune; a prune that was stopped is gone
    on with; where the trim stops or fails, what was pruned stays, to be trimmed.

    Args:
        given: as :func:`mwanda.prune` takes it.
    """
    _refuse_processes("trim")
    OutputFolder(out, overwrite=options.overwrite).check(Path(model))
    plan_trim(model, languages, options=replace(options, overwrite=False))
    whole = out.with_name(f".{out.name}.untrimmed")
    pruned = prune(model, out=whole, options=replace(options, overwrite=True), **given)
    words = ["trim", str(whole), "--languages", ",".join(languages), "--out", str(out)]
    with _kept_until_done(whole, words, options):
        made = trim(whole, out, languages, options=options)
    return replace(pruned, folder=out, manifest=read_manifest(out)), made


@speaking
@undisturbed()
@with_fields(RecipeFields)
def prune(
    model: Any,
    *,
    out: str | Path | None = None,
    calibration: CalibrationInput | None = None,
    statistics: str | Path | None = None,
    masks_only: bool = False,
    tokenizer: Any = None,
    recipe: Recipe | Mapping[str, Any] | str | Path | None = None,
    options: RunOptions | None = None,
    **fields: Unpack[RecipeFields],
) -> PruneResult:
    """Prune a model for its languages, and let it recover where the recipe says so.

    Args:
        model: a folder, GGUF file or hub id, which needs ``out``; or a transformers model in
            memory, whose weights are masked in place, block by block: when that fails midway, the
            blocks before stay masked. It has to be there whole, without adapters.
        out: the folder to write.
        calibration: left out where languages are named, it is the little text that comes with the
            library; text source, texts such as ``{"de": ["…", "…"]}``, windows file, or
            :class:`Windows`.
        statistics: instead of that, a file of :func:`mwanda.collect_statistics`: dense mode without
            text and without a forward.
        masks_only: write nothing but the masks, into the file ``out``; see
            :mod:`mwanda.pruning.folder.mask_file`.
        tokenizer: for a model in memory, unless ``calibration`` is windows; or its folder.
        recipe: what to do, its fields, its name (``"best-quality"``) or its file.
        options: how to run.
        fields: of a recipe by name, which win over it: ``sparsity=0.5, languages=["de", "sw"]``.

    Raises:
        InputError: bad input, before anything is written.
        DataError: values that are not finite, or files that changed while being read.
        MwandaError: a recovery that gave nothing back.
    """
    resolved = resolve(recipe_given(recipe, fields, "prune"), saved=statistics is not None)
    options = options_given(options)
    if statistics is None:
        calibration, options = text_or_first_try(calibration, resolved, options)
    if resolved.recover is None:
        return prune_once(
            model, resolved, options, out=out, calibration=calibration, statistics=statistics,
            masks_only=masks_only, tokenizer=tokenizer,
        )  # fmt: skip
    if not isinstance(model, str | Path):
        expected = "a model folder, GGUF file or hub id"
        fix = "save it and prune the folder, or recover=False"
        raise InputError("recover", expected=expected, found="a model in memory", fix=fix)
    no_tokenizer(tokenizer)
    if out is None:
        raise InputError("out", expected="a folder to write", found="none")
    if masks_only:
        refuse_masks_only(resolved.recover)
    out = path_given("out", out)
    refuse_statistics(resolved, statistics)
    return _prune_and_recover(str(model), out, resolved, resolved.recover, calibration, options)


def _prune_and_recover(
    model: str,
    out: Path,
    recipe: ResolvedRecipe,
    settings: AfterPrune,
    calibration: CalibrationInput | None,
    options: RunOptions,
) -> PruneResult:
    """Prune into a folder beside ``out``, recover it into ``out`` on the same text, and remove it.

    A prune that was stopped is gone on with; where the recovery stops or fails, what was pruned
    stays, to be recovered.
    """
    OutputFolder(out, overwrite=options.overwrite).check(Path(model))
    calibration = check_recovery(model, recipe, settings, calibration, options)
    whole = out.with_name(f".{out.name}.unrecovered")
    given = _text_fields(recipe, settings)
    again = replace(options, overwrite=True)
    # What is learnt later is no part of the prune, nor is its text where that looks at none.
    alone = recipe.model_copy(update={"recover": None})
    looked_at = calibration if alone.needs_text else None
    pruned = prune_once(model, alone, again, out=whole, calibration=looked_at)
    with _kept_until_done(
        whole, ["recover", str(whole), "--dense", model, "--out", str(out)], options
    ):
        given |= settings.alone
        made = recover(whole, out, dense=model, calibration=calibration, options=options, **given)
    return replace(pruned, folder=out, manifest=made.manifest)


@contextmanager
def _kept_until_done(whole: Path, words: Sequence[str], options: RunOptions) -> Iterator[None]:
    """Remove a finished prune when the block ends; where that fails, say how to go on from it."""
    try:
        yield
    except BaseException:  # also where it is stopped: the prune may have taken hours
        told = shlex.join(["mwanda", *words, *["--overwrite"] * options.overwrite])
        log.warning("the prune is whole and kept; to go on without another: %s …", told)
        raise
    shutil.rmtree(whole)


def check_recovery(
    model: str,
    recipe: ResolvedRecipe,
    settings: AfterPrune,
    calibration: CalibrationInput | None,
    options: RunOptions,
) -> TextSource | Windows:
    """Tell before a prune what can be known of the recovery that is to follow.

    Returns:
        The text, opened.

    Raises:
        InputError: a library that is not there, no text or too few windows, several processes,
            settings that cannot be.
    """
    need("accelerate", "--recover", "recover")
    if calibration is None:
        raise InputError("--recover", expected="--calibration, text to learn from", found="none")
    _refuse_processes("recover")
    check_settings(settings)
    learning_dtype(options)
    text = resolve(recipe_given(None, _text_fields(recipe, settings), "recover"))
    opened = text_of(calibration, text)
    _check_text(model, opened, text, settings.held_out, options)
    return opened


def _text_fields(recipe: ResolvedRecipe, settings: AfterPrune) -> dict[str, Any]:
    """What was asked for of the text to learn from."""
    names = recipe.model_fields_set.intersection(TextFields.__annotations__)
    return {name: getattr(recipe, name) for name in names} | settings.text


def _check_text(
    model: str,
    opened: TextSource | Windows,
    recipe: ResolvedRecipe,
    held_out: int | None,
    options: RunOptions,
) -> None:
    """Refuse too little text to learn from before the prune, which may want less. Only a draw tells
    how much there is; a stream is taken to have what was asked for."""
    languages = calibration_languages(opened, recipe)
    if isinstance(opened, Windows):
        sizes = {tag: len(opened.tokens[tag]) for tag in languages}
        held_out_of(opened.source, sizes, held_out)
        return
    if not opened.streamed:
        reader = tokenizer_and_context(model, trust_remote_code=options.trust_remote_code)
        tokenizer, context, _ = reader
        given: dict[str, Any] = {
            **sizes_of(default_length(recipe, context)), "seed": recipe.seed, "context": context,
            "allow_short": options.allow_short, "keep_english": recipe.keep_english,
            "keep_repeated": recipe.keep_repeated,
        }  # fmt: skip
        # In part it says nothing: the recovery will say it.
        found = draw(opened, tokenizer, languages, **given, part=True).tokens
        if len(found) < len(languages):
            found = draw(opened, tokenizer, languages, **given).tokens
        sizes = {tag: len(ids) for tag, ids in found.items()}
    else:
        asked = recipe.model_fields_set
        sizes = dict.fromkeys(languages, recipe.windows) if "windows" in asked else {}
    if recipe.background != NO_BACKGROUND:
        sizes[MULTIPLE] = recipe.background_windows
    held_out_of(opened.name, sizes, held_out)


def _refuse_processes(verb: str) -> None:
    if launched().size > 1:
        leave = "--no-recover, and " if verb == "recover" else ""  # a recipe may have asked for it
        fix = f"{leave}run mwanda {verb} afterwards"
        raise InputError(f"--{verb}", expected="a single process", found="several", fix=fix)
