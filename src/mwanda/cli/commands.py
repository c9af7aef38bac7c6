"""Every command: take options apart, call a job, print what it gives."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mwanda.cli import checking, early, generation, packing
from mwanda.cli import options as opt
from mwanda.cli.calls import print_result, run_options_of
from mwanda.cli.masks import mask
from mwanda.cli.recipe_fields import recipe_of
from mwanda.cli.search import search
from mwanda.cli.statistics import stats
from mwanda.cli.study import report, study

app = typer.Typer(
    name="mwanda",
    help="Prune a multilingual language model in one shot without losing its languages.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.add_typer(stats, name="stats")
app.add_typer(study, name="study")
app.command()(report)
app.command()(search)
app.add_typer(mask, name="mask")


@app.callback(invoke_without_command=True)
def root(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        from importlib.metadata import version as installed

        typer.echo(installed("mwanda"))


@app.command()
@opt.with_recipe_options
def prune(
    model: opt.Model,
    out: Annotated[Path, typer.Option("--out", help="Folder to write; must not exist.")],
    masks_only: Annotated[
        bool,
        typer.Option("--masks-only", help="Write the masks alone, --out FILE.safetensors."),
    ] = False,
    **given: Any,
) -> None:
    """Prune MODEL into a folder that plain transformers loads."""
    from mwanda.system.progress import progress_bar, speaks

    recipe = _recipe(given)
    early.check_model(model)
    if speaks():  # a process that does not write must not mind what another has written
        if masks_only and recipe.reconstruction is None:
            early.check_output(out, ".safetensors", overwrite=given["overwrite"])
        elif not masks_only:
            early.check_folder_out(out, model, overwrite=given["overwrite"])
    _check_evidence(recipe, given)
    with progress_bar(None if speaks() else False) as progress:
        from mwanda.pruning.prune import prune as run

        result = run(
            model,
            out=out,
            calibration=given["calibration"],
            statistics=given["statistics"],
            masks_only=masks_only,
            recipe=recipe,
            options=run_options_of(given, progress=progress),
        )
    if speaks():
        from mwanda.cli import views as output

        print_result(output.prune_json(result), output.prune_text(result), given["as_json"])


@app.command("eval")
def evaluate(
    model: opt.Model,
    text: opt.Text,
    text_field: opt.TextField = None,
    baseline: Annotated[
        str | None, typer.Option("--baseline", help="Model to compare with, usually the dense one.")
    ] = None,
    languages: opt.Languages = None,
    sentences: opt.Sentences = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the subset.")] = 0,
    ids: opt.Ids = None,
    max_length: opt.MaxLength = 2048,
    fail_if_worse_than: Annotated[
        str | None,
        typer.Option(
            "--fail-if-worse-than",
            help="Exit 3 if a language's NLL per sentence rises by more, e.g. 5%.",
        ),
    ] = None,
    language: opt.LanguageLimit = None,
    gate_on: opt.GateOn = "point",
    other_baseline: Annotated[
        bool, typer.Option("--other-baseline", help="Let a gate compare with another model's base.")
    ] = False,
    generate: Annotated[
        bool, typer.Option(help="Show one continuation a language; needs the model in memory.")
    ] = True,
    continuations: Annotated[
        int,
        typer.Option(
            "--continuations",
            min=0,
            help="Continue so many texts a language; count repetition and other languages.",
        ),
    ] = 0,
    cache: Annotated[
        Path | None,
        typer.Option("--cache", help="Folder that keeps scores by hash; read back if unchanged."),
    ] = None,
    update_card: Annotated[
        bool, typer.Option("--update-card", help="Put the table into MODEL's README.md.")
    ] = False,
    device: opt.Device = "auto",
    compute_dtype: opt.ComputeDtype = "auto",
    activation_memory: opt.ActivationMemory = "512MiB",
    batch_tokens: opt.BatchTokens = 2048,
    allow_overlap: opt.AllowOverlap = False,
    trust_remote_code: opt.TrustRemoteCode = False,
    as_json: opt.AsJson = False,
) -> None:
    """Score every language under MODEL, and against a baseline when one is given."""
    from mwanda.errors import InputError
    from mwanda.evaluation.gate import Gate
    from mwanda.evaluation.results import Comparison
    from mwanda.evaluation.texts import parse_ids
    from mwanda.system.extras import need
    from mwanda.system.output import MARK
    from mwanda.system.progress import progress_bar
    from mwanda.text.languages import parse_languages

    option = "--fail-if-worse-than"
    gate = Gate.parse(fail_if_worse_than, language or [], option, gate_on)
    if gate is not None and baseline is None:
        named = option if fail_if_worse_than is not None else "--language"
        raise InputError(named, expected="a --baseline", found="none")
    if other_baseline and gate is None:
        raise InputError(
            "--other-baseline", expected=f"a limit, {option} or --language", found="none"
        )
    if update_card and not (Path(model) / MARK).is_file():
        raise InputError("--update-card", expected="a folder that mwanda wrote", found=model)
    early.check_model(model, baseline)
    text = opt.with_field(text, text_field) or text
    early.check_text(text)
    if continuations:
        need("py3langid", "--continuations", "translation")
    places = None if ids is None else parse_ids(ids)
    wanted = None if languages is None else parse_languages(languages)
    with progress_bar() as progress:
        from mwanda.cli import views as output
        from mwanda.evaluation.baseline import check_baseline
        from mwanda.evaluation.evaluate import evaluate as run
        from mwanda.evaluation.evaluate import read_texts

        run_options = run_options_of(locals(), progress=progress)
        texts = read_texts(text, wanted, sentences=sentences, seed=seed, ids=places)
        if gate is not None:
            gate.check_languages(texts.texts)
        is_base = None
        if baseline is not None:
            refuse = gate is not None and not other_baseline
            is_base = check_baseline(model, baseline, refuse=refuse)
        how: dict[str, Any] = {"max_length": max_length, "cache": cache, "options": run_options}
        result = run(model, texts, continuations=generate, generated=continuations, **how)
        dense = None if baseline is None else run(baseline, texts, generated=continuations, **how)
    if dense is None:
        print_result(result.as_dict(), output.evaluation_text(result), as_json)
        table = output.evaluation_markdown(result)
    else:
        compared = Comparison.of(dense, result)
        told: dict[str, Any] = {"baseline_is_base": is_base}
        lines = output.comparison_text(compared)
        if gate is not None:
            told["gate"] = gate.as_dict(compared)
            lines = f"{lines}\n\n{gate.text(compared, is_base)}"
        print_result(compared.as_dict() | told, lines, as_json)
        table = output.comparison_markdown(compared)
    if update_card:
        from mwanda.pruning.folder.card import update_card as put

        put(Path(model), table)
    if dense is not None and gate is not None:
        gate.check(compared)


@app.command()
def windows(
    model: opt.Model,
    out: Annotated[Path, typer.Option("--out", help="File to write, windows.safetensors.")],
    calibration: opt.Calibration = None,
    text_field: opt.TextField = None,
    languages: opt.Languages = None,
    windows: opt.Windows = None,
    window_length: opt.WindowLength = None,
    seed: opt.Seed = None,
    keep_english: opt.KeepEnglish = None,
    keep_repeated: opt.KeepRepeated = None,
    allow_short: opt.AllowShort = False,
    trust_remote_code: opt.TrustRemoteCode = False,
    overwrite: opt.Overwrite = False,
    as_json: opt.AsJson = False,
) -> None:
    """Draw calibration windows and keep their token ids, one int64 tensor a language."""
    from mwanda.text.languages import parse_languages

    chosen = None if languages is None else parse_languages(languages)
    early.check_output(out, ".safetensors", overwrite=overwrite)
    early.check_model(model)
    calibration = opt.with_field(calibration, text_field)
    early.check_text(calibration)
    from mwanda.cli import views as output
    from mwanda.pruning.draw_windows import draw_windows

    drawn = draw_windows(
        model,
        out,
        calibration,
        languages=chosen,
        windows=windows,
        length=window_length,
        seed=0 if seed is None else seed,
        allow_short=allow_short,
        keep_english=bool(keep_english),
        keep_repeated=bool(keep_repeated),
        trust_remote_code=trust_remote_code,
        overwrite=overwrite,
    )
    print_result(output.windows_json(drawn), output.windows_text(drawn), as_json)


@app.command()
@opt.with_recipe_options
def plan(
    model: opt.Model,
    out: Annotated[
        Path | None, typer.Option("--out", help="Checked as prune would, never written.")
    ] = None,
    **given: Any,
) -> None:
    """Say what a prune would do and need; touches nothing."""
    recipe, run_options = _recipe(given), run_options_of(given)
    early.check_model(model)
    if out is not None:
        early.check_folder_out(out, model, overwrite=run_options.overwrite)
    _check_evidence(recipe, given)
    from mwanda.cli import views as output
    from mwanda.pruning.forecast.plan import plan as run

    made = run(
        model,
        recipe=recipe,
        calibration=given["calibration"],
        statistics=given["statistics"],
        options=run_options,
    )
    print_result(made.as_dict(), output.plan_text(made), given["as_json"])


@app.command()
def ls(
    what: Annotated[
        str,
        typer.Argument(
            help="criteria, allocations, patterns, reconstructions, methods (all four) or models."
        ),
    ],
    as_json: opt.AsJson = False,
) -> None:
    """List what there is, with formulas and sources."""
    from mwanda.cli import views as output

    rows = output.listing(what)
    text = output.page(what) or output.listing_text(rows)
    print_result(rows, text.rstrip("\n"), as_json)


checking.add_commands(app)
packing.add_commands(app)
generation.add_commands(app)


def _check_evidence(recipe: Any, given: dict[str, Any]) -> None:
    """What a prune knows of text, looked at before torch is there."""
    if given["statistics"] is not None:
        early.check_file(given["statistics"], kind="statistics")
    elif recipe.needs_text:
        early.check_text(given["calibration"])


def _recipe(given: dict[str, Any]) -> Any:
    from mwanda.methods.recipe.asked import Recipe
    from mwanda.methods.recipe.resolved import resolve

    source = "options" if given["recipe"] is None else str(given["recipe"])
    saved = given["statistics"] is not None
    return resolve(Recipe.build(recipe_of(given, saved=saved), source), saved=saved)
