"""Translations as a table: for the command, a benchmark's page and a study's report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mwanda.evaluation.translation import TranslationResult
from mwanda.system.text_tables import plain as table

CHECKED = ["other language", "of references", "repeats itself", "empty"]
HEADER = ["BLEU", "chrF++", *CHECKED]


def direction_row(row: Mapping[str, Any]) -> list[str]:
    """The columns of :data:`HEADER` from what ``Scored.as_dict`` gives."""
    return [f"{row['bleu']:.1f}", f"{row['chrf++']:.1f}", *check_row(row)]


def check_row(row: Mapping[str, Any]) -> list[str]:
    """The columns of :data:`CHECKED`, of translations or of continuations."""
    outputs, references = row["outputs"], row["references"]
    return [
        percent(outputs["other_language"]),
        percent(references["other_language"]),
        percent(outputs["repetitive"]),
        str(outputs["empty"]),
    ]


def percent(share: float | None) -> str:
    """A share as whole percents; a dash for what is not known."""
    return "–" if share is None else f"{share:.0%}"


def translation_text(result: TranslationResult) -> str:
    """The table, and what its numbers depend on."""
    found = result.as_dict(sentences=False)
    rows = [[name, *direction_row(row)] for name, row in found["directions"].items()]
    signatures = {
        f"{kind} {text}": None
        for row in found["directions"].values()
        for kind, text in row["signatures"].items()
    }
    settings = result.settings
    lines = [
        f"{result.model}: {settings['sentences']} sentences of {result.text}, "
        f"{len(result.shots)} examples, forward in {settings['compute_dtype']}",
        table(["direction", *HEADER], rows),
        *signatures,
    ]
    return "\n".join(lines)
