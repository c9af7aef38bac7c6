"""``mwanda search``: the highest sparsity at which no language loses more than it may."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mwanda.cli import early
from mwanda.cli import options as opt
from mwanda.cli.calls import print_result, run_options_of
from mwanda.cli.recipe_fields import recipe_of

if TYPE_CHECKING:
    from mwanda.study.search import SearchResult


@opt.with_recipe_options
def search(
    model: opt.Model,
    text: opt.Text,
    max_loss: Annotated[
        str, typer.Option("--max-loss", help="What a language may lose in NLL per sentence: 5%.")
    ],
    language: opt.LanguageLimit = None,
    gate_on: opt.GateOn = "point",
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder to write the model found to.")
    ] = None,
    step: Annotated[
        float, typer.Option("--step", help="Sparsities tried are multiples of it.")
    ] = 0.01,
    highest: Annotated[float, typer.Option("--highest", help="The highest that is tried.")] = 0.9,
    text_languages: Annotated[
        str | None, typer.Option("--text-languages", help="Scored, tags with commas. Default: all.")
    ] = None,
    sentences: opt.Sentences = None,
    text_seed: Annotated[int, typer.Option("--text-seed", min=0, help="Of that subset.")] = 0,
    ids: opt.Ids = None,
    max_length: opt.MaxLength = 2048,
    cache: Annotated[
        Path | None, typer.Option("--cache", help="Folder that keeps the dense model's scores.")
    ] = None,
    work: Annotated[
        Path | None, typer.Option("--work", help="Folder for pruned models on the way.")
    ] = None,
    allow_overlap: opt.AllowOverlap = False,
    **given: Any,
) -> None:
    """Find the highest sparsity at which no language of MODEL loses more than --max-loss."""
    from mwanda.errors import InputError
    from mwanda.evaluation.gate import Gate
    from mwanda.evaluation.texts import parse_ids
    from mwanda.system.progress import progress_bar
    from mwanda.text.languages import parse_languages

    gate = Gate.parse(max_loss, language or [], "--max-loss", gate_on)
    if gate is None:
        raise InputError("--max-loss", expected="a share such as 5%", found="none")
    early.check_model(model)
    text = opt.with_field(text, given["text_field"]) or text
    early.check_text(text)
    if given["statistics"] is not None:
        early.check_file(given["statistics"], kind="statistics")
    else:
        early.check_text(given["calibration"])
    if out is not None:
        early.check_folder_out(out, model, overwrite=given["overwrite"])
    places = None if ids is None else parse_ids(ids)
    wanted = None if text_languages is None else parse_languages(text_languages)
    fields = recipe_of(given, saved=True)
    with progress_bar() as progress:
        from mwanda.evaluation.evaluate import read_texts
        from mwanda.study.search import search_sparsity

        texts = read_texts(text, wanted, sentences=sentences, seed=text_seed, ids=places)
        found = search_sparsity(
            model,
            texts,
            gate,
            calibration=given["calibration"],
            statistics=given["statistics"],
            out=out,
            step=step,
            highest=highest,
            max_length=max_length,
            cache=cache,
            work=work,
            options=run_options_of(given | {"allow_overlap": allow_overlap}, progress=progress),
            **fields,
        )
    print_result(found.as_dict(), _text(found), given["as_json"])
    found.check()


def _text(found: SearchResult) -> str:
    from mwanda.evaluation.gate import percent
    from mwanda.system.text_tables import plain
    from mwanda.text.languages import display_name

    rows = [
        [
            f"{trial.sparsity:g}",
            f"{trial.reached:.4f}",
            "passed" if trial.passed else "failed",
            f"{trial.mean:+.1%}",
            f"{display_name(trial.worst)} {percent(trial.worst_rise, '+')}",
            ", ".join(trial.failed) or "none",
            f"{trial.seconds:.1f}",
        ]
        for trial in found.trials
    ]
    header = ["sparsity", "reached", "", "mean rise", "worst", "lost too much", "seconds"]
    lines = [plain(header, rows)]
    if found.sparsity is None:
        lines.append("no sparsity passed")
    else:
        next_one = found.lowest_failed
        end = f"{next_one:g} failed" if next_one is not None else "nothing higher was tried"
        lines.append(f"{found.sparsity:g} is the highest tried that passed; {end}")
    if found.folder is not None:
        lines.append(f"{found.folder}: the model at {found.sparsity:g}")
    return "\n".join(lines)
