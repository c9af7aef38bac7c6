"""The section of a report about tasks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mwanda.study.report.cells import label_of
from mwanda.study.report.data import StudyResults
from mwanda.study.report.elements import Cell, Part, Section, Table
from mwanda.study.report.generation_sections import models_with, point_of, points_with
from mwanda.study.report.task_table import accuracy, mean_accuracy

TASKS = (
    "model", "method", "sparsity", "seed", "task", "language", "accuracy", "stderr", "items",
    "harness", "prompt_sha256", "key",
)  # fmt: skip


def tasks(results: StudyResults) -> Section | None:
    """Accuracy of every point, a table a task; None where none was asked."""
    groups: list[tuple[str, list[Part]]] = []
    for model, own in models_with(results, "tasks"):
        parts: list[Part] = []
        for task in dict.fromkeys(name for _, made in own for name in made):
            asked = [(entry, made[task]) for entry, made in own if task in made]
            tags = sorted({tag for _, rows in asked for tag in rows})
            rows: list[list[Cell]] = [
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
                    ["language", *(" ".join(point_of(entry)).strip() for entry, _ in asked)],
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


def task_rows(results: StudyResults) -> Iterator[list[Any]]:
    """For tasks.csv."""
    for entry, made in points_with(results, "tasks"):
        for task, rows in made.items():
            for tag, row in rows.items():
                yield [
                    entry.model, entry.method, entry.sparsity, entry.seed, task, tag,
                    row["accuracy"], row["stderr"], row["items"], row["harness"],
                    row["prompt_sha256"], entry.key,
                ]  # fmt: skip
