"""Evaluations, translations and tasks."""

from __future__ import annotations

from typing import Any

from mwanda.cli.views import View, named
from mwanda.evaluation.gate import Gate
from mwanda.evaluation.results import Comparison, Evaluation
from mwanda.evaluation.tasks.accuracy import TasksResult
from mwanda.evaluation.translation import TranslationResult
from mwanda.study.report.score_tables import CHECKED, check_row, tasks_text, translation_text
from mwanda.system.text_tables import markdown, plain


def evaluated(result: Evaluation) -> View:
    """One model's scores."""
    lines = [plain(*result.table()), *_continuations(result), *_generated(result)]
    return result.as_dict(), "\n".join(lines)


def compared(found: Comparison, gate: Gate | None, is_base: bool | None) -> View:
    """A model's scores against a baseline's.

    Args:
        is_base: whether the baseline is what the model was pruned from, where that is known.
    """
    data: dict[str, Any] = found.as_dict() | {"baseline_is_base": is_base}
    lines = [
        plain(*found.table()),
        "baseline, model, rise: nats per sentence; --json and --html have perplexities too",
        *_without_interval(found),
        *_continuations(found.pruned),
        *_generated(found.baseline),
        *_generated(found.pruned),
    ]
    if gate is not None:
        data["gate"] = gate.as_dict(found)
        lines += ["", gate.text(found, is_base)]
    return data, "\n".join(lines)


def card_table(result: Evaluation, found: Comparison | None) -> str:
    """The table of a model card, in Markdown."""
    if found is not None:
        note = (
            f"Negative log-likelihood in nats per sentence on {found.pruned.text}, against "
            f"{found.baseline.model}."
        )
        return f"{markdown(*found.table())}\n\n{note}"
    rows = [
        [named(tag), f"{r.nll_per_sentence:.2f}", r.perplexity_shown, f"{r.bits_per_byte:.4f}"]
        for tag, r in result.languages.items()
    ]
    return markdown(["language", "nll/sentence", "perplexity", "bits/byte"], rows)


def translated(result: TranslationResult) -> View:
    """BLEU and chrF++."""
    return result.as_dict(), translation_text(result)


def answered(result: TasksResult) -> View:
    """Accuracies."""
    return result.as_dict(), tasks_text(result)


def _without_interval(found: Comparison) -> list[str]:
    without = {named(tag): one.reason for tag, one in found.intervals.items() if one.reason}
    if not without:
        return []
    whom = "any language" if len(without) == len(found.intervals) else ", ".join(without)
    return [f"no 95 % interval for {whom}: {next(iter(without.values()))}; about a hundred lines "
            "of plain text a language give one"]  # fmt: skip


def _continuations(result: Evaluation) -> list[str]:
    lines = []
    for tag, made in result.continuations.items():
        warning = "  [warning: it only repeats itself]" if made.repetitive else ""
        text = " ".join(made.text.split())
        lines.append(f"{tag}: {' '.join(made.prompt.split())} | {text}{warning}")
    return ["", "continuations (prompt | generated)", *lines] if lines else []


def _generated(result: Evaluation) -> list[str]:
    if not result.generated:
        return []
    rows = [
        [named(tag), str(made.outputs.texts), *check_row(made.as_dict())]
        for tag, made in result.generated.items()
    ]
    return ["", result.model, plain(["language", "continuations", *CHECKED], rows)]
