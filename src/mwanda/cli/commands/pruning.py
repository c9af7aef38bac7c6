"""Prunes and what goes before them: prune, plan, windows, stats, ls."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from mwanda.cli import early
from mwanda.cli import options as opt
from mwanda.cli.completion import completer
from mwanda.cli.recipe_fields import recipe_fields
from mwanda.cli.views import View
from mwanda.errors import InputError
from mwanda.pruning.recipe.asked import Recipe
from mwanda.pruning.recipe.keywords import StatisticsFields
from mwanda.pruning.recipe.recovery import refuse_masks_only
from mwanda.pruning.recipe.resolved import ResolvedRecipe, resolve
from mwanda.system.progress import speaks
from mwanda.text.languages import parse_languages
from mwanda.text.window_sizes import BACKGROUND_WINDOWS, NO_BACKGROUND

log = logging.getLogger("mwanda")

TAKE = (
    *opt.TEXT, *StatisticsFields.__annotations__, "gram", *opt.FORWARD, "allow_short",
    "trust_remote_code", "overwrite", "journal", "restart", *opt.LOUD,
)  # fmt: skip
WINDOWS = (
    *opt.TEXT, "languages", "windows", "window_length", "background", "background_windows", "seed",
    "keep_english", "keep_repeated", "allow_short", "trust_remote_code", "overwrite", "quiet",
)  # fmt: skip


def prune(
    model: opt.Model,
    out: opt.OutFolder,
    masks_only: Annotated[bool, "Write the masks alone, --out FILE.safetensors."] = False,
    trim: Annotated[bool, "Trim the vocabulary to the languages too, as mwanda trim does."] = False,
    **given: Annotated[Any, opt.PRUNE],
) -> Iterator[View | str]:
    """Prune MODEL into a folder that plain transformers loads."""
    recipe = _recipe(given)
    early.check_model(model)
    if trim and (masks_only or recipe.languages is None):
        expected = "--languages, and no --masks-only"
        raise InputError("--trim", expected=expected, found="neither" if masks_only else "none")
    if masks_only:
        refuse_masks_only(recipe.recover)
    if recipe.recover and trim:
        fix = "run mwanda trim afterwards"
        raise InputError("--recover", expected="no --trim", found="both", fix=fix)
    if speaks():  # a process that does not write must not mind what another has written
        if masks_only and recipe.reconstruction is None:
            early.check_output(out, ".safetensors", overwrite=given["overwrite"])
        elif not masks_only:
            early.check_folder_out(out, model, overwrite=given["overwrite"])
    early.check_evidence(given, recipe.languages, needed=recipe.needs_text)
    with opt.progress_of(given, model) as progress:
        run_options = opt.run_options_of(given, progress=progress)
        how: dict[str, Any] = {"recipe": recipe, "options": run_options}
        how |= {name: given[name] for name in ("calibration", "statistics")}
        if trim:
            from mwanda.pruned.after_prune import prune_and_trim

            result, cut = prune_and_trim(model, out, recipe.languages or (), **how)
        else:
            from mwanda.pruned.after_prune import prune as run

            result = run(model, out=out, masks_only=masks_only, **how)
    if speaks():
        from mwanda.cli.views.pruning import followed_by, go_on, pruned

        shown = pruned(result)
        if trim:
            from mwanda.cli.views.trimming import trimmed

            shown = followed_by(shown, "trim", trimmed(cut, {}))
        if recipe.recover:
            from mwanda.cli.views.recovering import recovered

            shown = followed_by(shown, "recovery", recovered(out, result.manifest))
        yield shown
        if not masks_only:
            made = result.manifest
            text = made.recoveries[-1].text if recipe.recover else made.calibration
            yield go_on(model, out, [] if text is None else [*text.languages])


def plan(
    model: opt.Model,
    out: Annotated[Path | None, "Checked as prune would, never written."] = None,
    **given: Annotated[Any, opt.PRUNE],
) -> Iterator[View | str]:
    """Say what a prune would do and need; nothing is written. A hub id's model is downloaded."""
    recipe, run_options = _recipe(given), opt.run_options_of(given)
    early.check_model(model)
    if out is not None:
        early.check_folder_out(out, model, overwrite=run_options.overwrite)
    early.check_evidence(given, recipe.languages, needed=recipe.needs_text)
    if speaks():
        log.info("opening %s", model)
    from mwanda.cli.views.pruning import planned
    from mwanda.pruning.calibration_text import text_or_first_try
    from mwanda.pruning.forecast.plan import plan as run

    text, statistics = given["calibration"], given["statistics"]
    if recipe.recover and statistics is None:
        text, run_options = text_or_first_try(text, recipe, run_options)
    how: dict[str, Any] = {"calibration": text, "statistics": statistics, "options": run_options}
    shown = planned(run(model, recipe=recipe, **how))
    if recipe.recover:
        from mwanda.pruned.after_prune import check_recovery

        check_recovery(model, recipe, recipe.recover, text, run_options)
    yield shown
    if recipe.recover:
        yield f"not counted: the recovery; mwanda recover PRUNED --dense {model} --plan counts it"


def windows(
    model: opt.Model,
    out: Annotated[Path, "File to write, windows.safetensors."],
    **given: Annotated[Any, WINDOWS],
) -> Iterator[View]:
    """Draw calibration windows and keep their token ids, one int64 tensor a language."""
    chosen = None if given["languages"] is None else parse_languages(given["languages"])
    early.check_output(out, ".safetensors", overwrite=given["overwrite"])
    early.check_model(model)
    early.check_text(given["calibration"], chosen)
    background, count = given["background"] or NO_BACKGROUND, given["background_windows"]
    if background == NO_BACKGROUND and count is not None:
        raise InputError("--background-windows", expected="a --background", found="none")
    log.info("opening %s", model)
    from mwanda.cli.views.pruning import drawn
    from mwanda.pruning.draw_windows import draw_windows

    made = draw_windows(
        model, out, given["calibration"], languages=chosen, windows=given["windows"],
        length=given["window_length"], seed=given["seed"] or 0,
        background=background,
        background_windows=BACKGROUND_WINDOWS if count is None else count,
        keep_english=bool(given["keep_english"]), keep_repeated=bool(given["keep_repeated"]),
        **{name: given[name] for name in ("allow_short", "trust_remote_code", "overwrite")},
    )  # fmt: skip
    yield drawn(made)


def take(
    model: opt.Model,
    out: opt.OutFile,
    gram: Annotated[bool, "Gram matrices too, for a reconstruction; large files."] = False,
    **given: Annotated[Any, TAKE],
) -> Iterator[View]:
    """Take MODEL's statistics on text in one pass and save them for many prunes.

    Also: mwanda stats merge FILE FILE --out FILE, and mwanda stats show FILE.
    """
    fields = recipe_fields(**given)
    early.check_model(model)
    if speaks():
        early.check_output(out, ".safetensors", overwrite=given["overwrite"])
    early.check_text(given["calibration"], fields.get("languages"))
    with opt.progress_of(given, model) as progress:
        from mwanda.pruning.statistics.collect import collect_statistics

        made = collect_statistics(
            model, out, calibration=given["calibration"], gram=gram,
            options=opt.run_options_of(given, progress=progress), **fields,
        )  # fmt: skip
    if speaks():
        from mwanda.cli.views.statistics import collected

        yield collected(made)


def merge(
    files: Annotated[list[Path], typer.Argument(help="Two files of statistics or more.")],
    out: opt.OutFile,
    overwrite: bool,
) -> Iterator[View]:
    """Add files of one model up, as if all their text had been read in one pass."""
    for file in files:
        early.check_file(file, kind="statistics")
    early.check_output(out, ".safetensors", overwrite=overwrite)
    from mwanda.cli.views.statistics import collected
    from mwanda.pruning.statistics.collect import merge_statistics

    yield collected(merge_statistics(files, out, overwrite=overwrite))


def show(
    file: Annotated[Path, typer.Argument(help="A file of statistics.")],
) -> Iterator[View]:
    """Which blocks the languages share, and how active each language is."""
    early.check_file(file, kind="statistics")
    from mwanda.cli.views.statistics import looked_into
    from mwanda.pruning.statistics.show import show_statistics

    yield looked_into(show_statistics(file))


def ls(
    what: Annotated[
        str,
        typer.Argument(
            help="recipes, criteria, allocations, patterns, reconstructions, methods (all four) or "
            "models.",
            autocompletion=completer("what"),
        ),
    ],
    name: Annotated[
        str | None,
        typer.Argument(
            help="Of recipes: print this one, to copy and change.",
            autocompletion=completer("recipe"),
        ),
    ] = None,
    schema: Annotated[bool, "Of recipes: the JSON schema of their files, for editors."] = False,
) -> Iterator[View]:
    """List what there is: recipes, methods with formulas and sources, models tried."""
    from mwanda.cli.views import listing

    if what == "recipes":
        if name is not None and schema:
            expected = "a recipe's name or --schema"
            raise InputError("ls recipes", expected=expected, found="both")
        yield listing.recipes(name, schema=schema)
    elif name is not None or schema:
        found = "--schema" if name is None else repr(name)
        raise InputError(f"ls {what}", expected="nothing after it", found=found)
    else:
        yield listing.listed(what)


def _recipe(given: dict[str, Any]) -> ResolvedRecipe:
    source = "options" if given["recipe"] is None else str(given["recipe"])
    saved = given["statistics"] is not None
    return resolve(Recipe.build(recipe_fields(saved=saved, **given), source), saved=saved)
