"""The sections of a report about translations, generated text and tasks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mwanda.evaluation.gate import percent
from mwanda.study.records import Entry
from mwanda.study.report.cells import label_of
from mwanda.study.report.data import ModelResults, StudyResults, points_with
from mwanda.study.report.elements import Part, Section, Table
from mwanda.study.report.score_tables import (
    CHECKED,
    HEADER,
    accuracy,
    check_row,
    direction_row,
    mean_accuracy,
    whole_percents,
)

SHARES = (
    "Other language: share of texts that py3langid takes for another language than asked for; of "
    "references: the same share of what people wrote, which is the check's own error. Repeats "
    "itself: share of texts in which more than half of all sequences of 4 characters stood before. "
    "Empty: texts without a letter, which count in neither share."
)


def translation(results: StudyResults) -> Section | None:
    """BLEU and chrF++ of every point; None where nothing was translated."""
    groups: list[tuple[str, list[Part]]] = []
    for model, own in models_with(results, "translation"):
        directions = dict.fromkeys(name for _, made in own for name in made)
        signatures = dict.fromkeys(
            f"{kind}: {text}"
            for _, made in own
            for row in made.values()
            for kind, text in row["signatures"].items()
        )
        table = Table(
            f"{model.name}: few-shot translation, BLEU and chrF++ by sacrebleu",
            ["direction", "method", "sparsity", "seed", *HEADER],
            [
                [direction, *_point(entry), *direction_row(made[direction])]
                for direction in directions
                for entry, made in own
            ],
            words=("method",),
            note=f"Signatures: {'; '.join(signatures)}. {SHARES}",
        )
        groups.append((model.name, [table]))
    return Section("translation", "Translation", groups) if groups else None


def generated(results: StudyResults) -> Section | None:
    """Repetition and wrong languages in continuations; None where nothing was continued."""
    groups: list[tuple[str, list[Part]]] = []
    for model, own in models_with(results, "generated"):
        overall = Table(
            f"{model.name}: continuations of all languages",
            ["method", "sparsity", "seed", *CHECKED],
            [[*_point(entry), *check_row(_all_of(made))] for entry, made in own],
            note=f"Shares are means over languages. {SHARES}",
        )
        tags = [tag for tag in model.languages if any(tag in made for _, made in own)]
        each = Table(
            f"{model.name}: share of continuations in another language, and share that repeat "
            "themselves",
            ["language", "of references", *(" ".join(_point(entry)) for entry, _ in own)],
            [
                [label_of(model, tag), _other(own[0][1].get(tag), "references"),
                 *(_both(made.get(tag)) for _, made in own)]
                for tag in tags
            ],
            folded=True,
        )  # fmt: skip
        groups.append((model.name, [overall, each]))
    return Section("generated", "Generated text", groups) if groups else None


def tasks(results: StudyResults) -> Section | None:
    """Accuracy of every point, a table a task; None where none was asked."""
    groups: list[tuple[str, list[Part]]] = []
    for model, own in models_with(results, "tasks"):
        parts: list[Part] = []
        for task in dict.fromkeys(name for _, made in own for name in made):
            asked = [(entry, made[task]) for entry, made in own if task in made]
            tags = sorted({tag for _, rows in asked for tag in rows})
            rows: list[list[str]] = [
                [label_of(model, tag), *(accuracy(made.get(tag)) for _, made in asked)]
                for tag in tags
            ]
            if len(tags) > 1:
                rows.append(["mean", *(accuracy(mean_accuracy(made)) for _, made in asked)])
            versions = dict.fromkeys(row["harness"] for _, made in asked for row in made.values())
            items = {row["items"] for _, made in asked for row in made.values()}
            least, most = min(items), max(items)
            parts.append(
                Table(
                    f"{model.name}: accuracy in {task}, %, and its standard error",
                    ["language", *(" ".join(_point(entry)).strip() for entry, _ in asked)],
                    rows,
                    note=f"lm-eval {', '.join(versions)}, zero-shot, the same "
                    f"{most if least == most else f'{least} to {most}'} items a language for all. "
                    "Standard errors are of one model alone; differences of two models on the same "
                    "items can be surer.",
                    totals=int(len(tags) > 1),
                )
            )
        groups.append((model.name, parts))
    return Section("tasks", "Tasks", groups) if groups else None


def models_with(
    results: StudyResults, name: str
) -> Iterator[tuple[ModelResults, list[tuple[Entry, dict[str, Any]]]]]:
    """Models of which some point holds something of that name, with those points."""
    found = list(points_with(results, name))
    for model in results.models:
        if own := [(entry, made) for entry, made in found if entry.model == model.name]:
            yield model, own


def _point(entry: Entry) -> list[str]:
    """Method, sparsity and seed, as a table's columns."""
    sparsity = percent(entry.sparsity) if entry.sparsity else ""
    return [entry.method, sparsity, "" if entry.seed is None else str(entry.seed)]


def _all_of(made: Mapping[str, Any]) -> dict[str, Any]:
    """Means over languages, of those for which there is a share; empty texts are added up."""
    found: dict[str, Any] = {}
    for who in ("outputs", "references"):
        rows = [row[who] for row in made.values()]
        shares = [row["other_language"] for row in rows if row["other_language"] is not None]
        found[who] = {
            "other_language": sum(shares) / len(shares) if shares else None,
            "repetitive": sum(row["repetitive"] for row in rows) / len(rows) if rows else 0.0,
            "empty": sum(row["empty"] for row in rows),
        }
    return found


def _other(row: Mapping[str, Any] | None, who: str) -> str:
    return "none" if row is None else whole_percents(row[who]["other_language"])


def _both(row: Mapping[str, Any] | None) -> str:
    if row is None:
        return "none"
    return f"{_other(row, 'outputs')}, {whole_percents(row['outputs']['repetitive'])}"
