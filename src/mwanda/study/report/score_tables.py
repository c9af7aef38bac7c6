"""Tasks and translations as tables: for the command, a benchmark's page and a study's report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mwanda.evaluation.tasks.accuracy import TasksResult
from mwanda.evaluation.translation import TranslationResult
from mwanda.system.text_tables import plain as table
from mwanda.text.languages import display_name

CHECKED = ["other language", "of references", "repeats itself", "empty"]
HEADER = ["BLEU", "chrF++", *CHECKED]


def accuracy(row: Mapping[str, Any] | None) -> str:
    """``54.0 ± 5.0``: percent and its standard error; a dash for what was not asked."""
    if row is None:
        return "–"
    shown = f"{row['accuracy']:.1%}".removesuffix("%")
    return shown if row["stderr"] is None else f"{shown} ± {100 * row['stderr']:.1f}"


def mean_accuracy(rows: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The mean over languages.

    Where all were asked the items of the same places, as XCOPA's translations of one question, its
    standard error is that of the places' means, for they are not independent; else of independent
    items.
    """
    given = list(rows.values())
    mean = sum(float(row["accuracy"]) for row in given) / len(given)
    places = {tuple(row["ids"]) for row in given}
    count = given[0]["items"]
    error: float | None = None
    if len(places) == 1 and count > 1:
        shares = [
            sum(one) / len(given) for one in zip(*(row["correct"] for row in given), strict=True)
        ]
        squares = sum((share - mean) ** 2 for share in shares)
        error = (squares / (count - 1) / count) ** 0.5
    elif all(row["stderr"] is not None for row in given):
        error = sum(float(row["stderr"]) ** 2 for row in given) ** 0.5 / len(given)
    return {"accuracy": mean, "stderr": error}


def tasks_text(result: TasksResult) -> str:
    """A table of every task, and what its numbers depend on."""
    settings = result.settings
    lines = [
        f"{result.model}: lm-eval {settings['harness']}, seed {settings['seed']}, forward in "
        f"{settings['compute_dtype']}"
    ]
    for task, scores in result.as_dict()["tasks"].items():
        rows = [
            [f"{display_name(tag)} ({tag})", accuracy(row), str(row["items"]),
             row["prompt_sha256"][:12]]
            for tag, row in scores.items()
        ]  # fmt: skip
        if len(scores) > 1:
            items = str(sum(row["items"] for row in scores.values()))
            rows.append(["mean", accuracy(mean_accuracy(scores)), items, ""])
        lines += ["", table([task, "accuracy, %", "items", "prompts"], rows)]
    return "\n".join(lines)


def direction_row(row: Mapping[str, Any]) -> list[str]:
    """The columns of :data:`HEADER` from what ``Scored.as_dict`` gives."""
    return [f"{row['bleu']:.1f}", f"{row['chrf++']:.1f}", *check_row(row)]


def check_row(row: Mapping[str, Any]) -> list[str]:
    """The columns of :data:`CHECKED`, of translations or of continuations."""
    outputs, references = row["outputs"], row["references"]
    return [
        whole_percents(outputs["other_language"]),
        whole_percents(references["other_language"]),
        whole_percents(outputs["repetitive"]),
        str(outputs["empty"]),
    ]


def whole_percents(share: float | None) -> str:
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
