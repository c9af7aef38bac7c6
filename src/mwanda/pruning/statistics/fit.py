"""Whether saved statistics fit what is asked of them, and the model they are used on."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping

from mwanda.errors import InputError
from mwanda.model.identity import linears_sha256, rest_sha256
from mwanda.model.run.decoder import Decoder
from mwanda.model.run.streamed import StreamedDecoder
from mwanda.model.run.structure import Structure
from mwanda.pruning.calibration_text import (
    CalibrationInput,
    asked_of_no_background,
    name_of,
    weights_of,
)
from mwanda.pruning.recipe.resolved import ResolvedRecipe
from mwanda.pruning.schedule import Schedule
from mwanda.pruning.statistics.file import SavedStatistics
from mwanda.system.run_options import RunOptions
from mwanda.text.languages import MULTIPLE
from mwanda.text.window_sizes import NO_BACKGROUND

log = logging.getLogger("mwanda")


def check_request(
    saved: SavedStatistics,
    calibration: CalibrationInput | None,
    recipe: ResolvedRecipe,
    options: RunOptions,
) -> None:
    """Refuse a request for everything in which it does not fit a file of statistics."""
    record, problems = saved.record, list[str]()

    def refuse(thing: str, expected: str, found: str, fix: str | None = None) -> None:
        problems.append(str(InputError(thing, expected=expected, found=found, fix=fix)))

    if calibration is not None:
        expected = "none beside --statistics, which says what text was read"
        refuse("--calibration", expected, name_of(calibration))
    if recipe.mode != "dense":
        expected = "dense with --statistics: they are those of the unpruned model"
        refuse("--mode", expected, recipe.mode, "leave --mode out, or give --calibration instead")
    if options.compute_dtype not in ("auto", record.compute_dtype):
        expected = f"{record.compute_dtype}, in which the statistics were made"
        refuse("--compute-dtype", expected, options.compute_dtype, "leave it out")
    skip = recipe.skip_first_tokens
    if skip != record.skip_first_tokens:
        expected = f"{record.skip_first_tokens}, with which the statistics were made"
        refuse("--skip-first-tokens", expected, str(skip), "give the same, or make them again")
    if recipe.probe is not None:
        refuse(
            "--allocation",
            "one that looks at sums, with --statistics",
            f"{recipe.allocation.name}, which runs masked blocks on text",
            "choose another, or give --calibration instead",
        )
    languages = languages_of(saved, recipe)
    own = record.calibration.background_source
    if "background" in recipe.model_fields_set and recipe.background not in (NO_BACKGROUND, own):
        expected = (
            f"{own or NO_BACKGROUND}, with which the statistics were made, or {NO_BACKGROUND}"
        )
        refuse("--background", expected, recipe.background, "make them again with it")
    elif MULTIPLE not in saved.languages and (stray := asked_of_no_background(recipe)):
        log.warning("%s: no background in the statistics, so it plays no part", stray)
    for option, tags in (
        ("--languages", languages),
        ("--language-weights", tuple(recipe.language_weights)),
    ):
        strange = ", ".join(tag for tag in tags if tag not in saved.languages)
        if strange:
            expected = f"languages of the statistics: {', '.join(saved.languages)}"
            refuse(option, expected, strange, "make statistics of them and merge, or drop them")
    needs = Schedule.of(recipe, saved=True).saved_needs
    missing = [need for need in needs if need not in record.needs]
    if missing:
        refuse(
            f"statistics {saved.path}",
            f"sums that this recipe needs: {', '.join(needs)}",
            f"none of {', '.join(missing)}",
            "make them again" + (" with --gram" if "gram" in missing else ""),
        )
    elif "gram" in needs and not problems:
        # Gram matrices are sums over languages: neither these nor their weights can be changed.
        known, wanted = record.calibration.weights, weights_of(recipe, [*languages])
        if wanted.keys() != known.keys() or any(
            not math.isclose(wanted[tag], known[tag], rel_tol=1e-9) for tag in known
        ):
            refuse(
                "--languages and --language-weights",
                f"those of the Gram matrices in {saved.path}: {_shown(known)}",
                _shown(wanted),
                "give the same, make statistics under the new ones, or use no reconstruction",
            )
    if problems:
        raise InputError.several(problems)


def languages_of(saved: SavedStatistics, recipe: ResolvedRecipe) -> tuple[str, ...]:
    """Those of the file that a recipe names, all where it names none; with the background where
    there is one and it is not told to do without."""
    named = recipe.languages or tuple(tag for tag in saved.languages if tag != MULTIPLE)
    pooled = MULTIPLE in saved.languages and not recipe.refuses_background
    return (*named, MULTIPLE) if pooled else named


def _shown(weights: Mapping[str, float]) -> str:
    return ",".join(f"{tag}={weight:.6g}" for tag, weight in weights.items())


def check_names(
    saved: SavedStatistics, decoder: Decoder, chosen: Structure, recipe: ResolvedRecipe
) -> None:
    """Refuse statistics of a model with other linears, or without one that is to be pruned."""
    thing, shapes = f"statistics {saved.path}", saved.record.shapes
    own = {linear.name: (linear.rows, linear.columns) for linear in decoder.structure.linears()}
    strange = [name for name, shape in shapes.items() if own.get(name) != shape]
    if strange or saved.record.model.blocks != len(decoder.structure.blocks):
        first = strange[0] if strange else f"{saved.record.model.blocks} blocks"
        here = f", whose {first} is {[*own[first]]}" if first in own else ""
        there = f" {[*shapes[first]]}" if strange else ""
        found = f"those of {saved.record.model.name}, with {first}{there}"
        fix = "make statistics of this model"
        raise InputError(thing, expected=f"those of this model{here}", found=found, fix=fix)
    names = [linear.name for linear in chosen.linears()]
    what, fix = "statistics of", "make statistics without excluding them"
    absent = [name for name in names if name not in shapes]
    if not absent and "gram" in Schedule.of(recipe, saved=True).saved_needs:
        what, fix = "a Gram matrix of what enters", "use no reconstruction"
        absent = [name for name in names if not saved.has_gram(name)]
    if absent:
        expected, found = f"{what} {absent[0]}", f"none ({len(absent)} such linears)"
        fix = f"leave them out with --exclude, or {fix}"
        raise InputError(thing, expected=expected, found=found, fix=fix)


def check_weights(saved: SavedStatistics, decoder: Decoder) -> None:
    """Refuse statistics of a model with other weights; one in memory is told by its linears."""
    model, where = saved.record.model, None
    if linears_sha256(decoder) != model.linears_sha256:
        where = "in its linears"
    elif isinstance(decoder, StreamedDecoder) and rest_sha256(decoder) != model.rest_sha256:
        where = "outside its linears"
    if where is not None:
        what, expected = f"statistics {saved.path}", f"the model they were made of, {model.name}"
        found, fix = f"one with other weights {where}", "make statistics of this model"
        raise InputError(what, expected=expected, found=found, fix=fix)
