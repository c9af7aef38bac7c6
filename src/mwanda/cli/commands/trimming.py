"""Trims of a vocabulary: trim."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mwanda.cli import early
from mwanda.cli import options as opt
from mwanda.cli.views import View
from mwanda.errors import InputError, MwandaError
from mwanda.system.run_options import RunOptions
from mwanda.text.languages import parse_languages

if TYPE_CHECKING:
    from mwanda.evaluation.trim_loss import TrimLoss
    from mwanda.pruned.trim.trim import TrimResult

log = logging.getLogger("mwanda")

TRIED = 48
"""Held-out lines of a language that a choice by text is scored on."""

TRIM = ("text_field", "max_shard_size", "trust_remote_code", "overwrite", *opt.LOUD)


def trim(
    model: opt.Model,
    languages: Annotated[str, "Tags with commas: de,fr,sw. Their scripts stay, and Latin."],
    out: Annotated[Path | None, "Folder to write, or .gguf where MODEL is one."] = None,
    by: Annotated[
        str,
        "script: all that can be written in the scripts. letters: in the letters that --text uses. "
        "text: only tokens that --text has.",
    ] = "script",
    text: Annotated[str | None, "Text source for --by letters or text, as --calibration."] = None,
    budget: Annotated[str | None, "Rows to keep with --by text, such as 65536 or 64k."] = None,
    also_scripts: Annotated[str | None, "More scripts by ISO 15924 code: Cyrl,Grek."] = None,
    keep_texts: Annotated[Path | None, "File of lines whose tokens stay."] = None,
    multiple: Annotated[
        int, typer.Option(min=1, help="The number of rows is a multiple of this.")
    ] = 64,
    allow_loss: Annotated[bool, "Write also if text is split into more tokens."] = False,
    plan: Annotated[bool, "Say what would be left; write nothing."] = False,
    **given: Annotated[Any, TRIM],
) -> Iterator[View | str]:
    """Cut MODEL's vocabulary to what its languages can use: smaller and faster in every runtime,
    and by script nothing is lost."""
    early.check_out_or_plan(out, plan=plan)
    choice: dict[str, Any] = {
        "by": by, "text": text, "budget": None if budget is None else rows_of(budget),
        "also_scripts": () if also_scripts is None else tuple(also_scripts.split(",")),
        "keep_texts": () if keep_texts is None else _lines(keep_texts), "multiple": multiple,
    }  # fmt: skip
    tags = parse_languages(languages)
    early.check_model(model)
    if out is not None and out.suffix != ".gguf":
        early.check_folder_out(out, model, overwrite=given["overwrite"])
    if text is not None:
        early.check_text(text, tags)
    from mwanda.cli.views.pruning import go_on
    from mwanda.cli.views.trimming import planned, trimmed
    from mwanda.pruned.trim.trim import plan_trim
    from mwanda.pruned.trim.trim import trim as run

    if out is None:
        yield planned(plan_trim(model, tags, options=opt.run_options_of(given), **choice))
        return
    with opt.progress_of(given, model) as progress:
        made = run(
            model, out, tags, allow_loss=allow_loss,
            options=opt.run_options_of(given, progress=progress), **choice,
        )  # fmt: skip
        options = opt.run_options_of(given, progress=progress)
        losses = _losses(model, made, options) if by == "text" else {}
    yield trimmed(made, losses)
    yield go_on(model, out, tags, score=by != "text", check=out.suffix != ".gguf")


def _losses(model: str, made: TrimResult, options: RunOptions) -> dict[str, TrimLoss]:
    """What the trim costs on lines that chose nothing; empty where there are none. It is written
    already: where it cannot be scored, a warning says why."""
    from mwanda.evaluation.trim_loss import trim_loss

    tried = {tag: texts[:TRIED] for tag, texts in made.held_out.items() if texts}
    if not tried:
        return {}
    try:
        return trim_loss(model, made.out, tried, old_ids=made.old_ids, options=options)
    except MwandaError as error:
        log.warning("%s is written; what it costs could not be measured: %s", made.out, error)
        return {}


def rows_of(text: str) -> int:
    """``"65536"`` or ``"64k"`` (1024 each) as a number."""
    digits = text.strip().lower()
    number = digits.removesuffix("k")
    if not number.isdecimal():
        raise InputError("--budget", expected="a number of rows such as 65536 or 64k", found=text)
    return int(number) * (1024 if digits.endswith("k") else 1)


def _lines(path: Path) -> tuple[str, ...]:
    try:
        return tuple(line for line in path.read_text(encoding="utf-8").splitlines() if line)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError("--keep-texts", expected="a file of lines", found=str(error)) from error
