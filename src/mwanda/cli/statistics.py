"""``mwanda stats``: take statistics, add files of them up, look into one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mwanda.cli import early
from mwanda.cli import options as opt
from mwanda.cli.calls import print_result, run_options_of, with_default
from mwanda.cli.recipe_fields import recipe_fields

TAKE = "take"
"""The command that is meant where MODEL follows at once."""

stats = typer.Typer(
    cls=with_default(TAKE),
    help="Save a model's statistics on text: stats MODEL, or merge and show files of them.",
    add_completion=False,
    rich_markup_mode=None,
)

File = Annotated[Path, typer.Argument(help="A file of statistics.")]
Out = Annotated[Path, typer.Option("--out", help="File to write, .safetensors.")]


@stats.command(TAKE)
def take(
    model: opt.Model,
    out: Out,
    calibration: opt.Calibration = None,
    text_field: opt.TextField = None,
    languages: opt.Languages = None,
    language_weights: opt.LanguageWeights = None,
    windows: opt.Windows = None,
    window_length: opt.WindowLength = None,
    seed: opt.Seed = None,
    keep_english: opt.KeepEnglish = None,
    keep_repeated: opt.KeepRepeated = None,
    skip_first_tokens: opt.SkipFirstTokens = None,
    gram: Annotated[
        bool,
        typer.Option("--gram", help="Gram matrices too, for a reconstruction; large files."),
    ] = False,
    include: opt.Include = None,
    exclude: opt.Exclude = None,
    skip_blocks: opt.SkipBlocks = None,
    device: opt.Device = "auto",
    compute_dtype: opt.ComputeDtype = "auto",
    activation_memory: opt.ActivationMemory = "512MiB",
    batch_tokens: opt.BatchTokens = 2048,
    allow_short: opt.AllowShort = False,
    trust_remote_code: opt.TrustRemoteCode = False,
    overwrite: opt.Overwrite = False,
    journal: opt.Journal = True,
    restart: opt.Restart = False,
    as_json: opt.AsJson = False,
) -> None:
    """Take MODEL's statistics on text in one pass and save them for many prunes.

    Also: mwanda stats merge FILE FILE --out FILE, and mwanda stats show FILE.
    """
    from mwanda.system.progress import progress_bar, speaks

    given = dict(locals())
    names = (
        "languages", "language_weights", "windows", "window_length", "seed", "include",
        "exclude", "skip_blocks", "skip_first_tokens", "keep_english", "keep_repeated",
    )  # fmt: skip
    fields = recipe_fields(None, **{name: given[name] for name in names})
    early.check_model(model)
    if speaks():
        early.check_output(out, ".safetensors", overwrite=overwrite)
    calibration = opt.with_field(calibration, text_field)
    early.check_text(calibration)
    with progress_bar(None if speaks() else False) as progress:
        from mwanda.pruning.statistics.collect import collect_statistics

        made = collect_statistics(
            model,
            out,
            calibration=calibration,
            gram=gram,
            options=run_options_of(given, progress=progress),
            **fields,
        )
    if speaks():
        from mwanda.cli.statistics_output import collected_json, collected_text

        print_result(collected_json(made), collected_text(made), as_json)


@stats.command()
def merge(
    files: Annotated[list[Path], typer.Argument(help="Two files of statistics or more.")],
    out: Out,
    overwrite: opt.Overwrite = False,
    as_json: opt.AsJson = False,
) -> None:
    """Add files of one model up, as if all their text had been read in one pass."""
    for file in files:
        early.check_file(file, kind="statistics")
    early.check_output(out, ".safetensors", overwrite=overwrite)
    from mwanda.cli.statistics_output import collected_json, collected_text
    from mwanda.pruning.statistics.collect import merge_statistics

    made = merge_statistics(files, out, overwrite=overwrite)
    print_result(collected_json(made), collected_text(made), as_json)


@stats.command()
def show(file: File, as_json: opt.AsJson = False) -> None:
    """Which blocks the languages share, and how active each language is."""
    early.check_file(file, kind="statistics")
    from mwanda.cli.statistics_output import view_text
    from mwanda.pruning.statistics.show import show_statistics

    view = show_statistics(file)
    print_result(view.as_dict(), view_text(view), as_json)
