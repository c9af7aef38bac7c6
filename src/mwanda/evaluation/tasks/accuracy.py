"""What a task found: accuracy by language, with what it depends on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mwanda.system.shown import Sheet, Shown


@dataclass(frozen=True, repr=False)
class TaskScore(Shown):
    """One task in one language.

    Attributes:
        task, language: name and canonical tag.
        accuracy: share of items whose right answer has the highest log-likelihood.
        stderr: its standard error, sample standard deviation / √items; None for one item.
        ids: of the items, places in the file from 0.
        correct: for each item, whether it was right.
        log_likelihoods: for each item, of its answers in order.
        harness: lm-eval's version.
        prompt_sha256: of all contexts and answers as the model was given them.
    """

    task: str
    language: str
    accuracy: float
    stderr: float | None
    ids: tuple[int, ...]
    correct: tuple[bool, ...]
    log_likelihoods: tuple[tuple[float, ...], ...]
    harness: str
    prompt_sha256: str

    @property
    def items(self) -> int:
        return len(self.ids)

    def as_dict(self, *, each: bool = True) -> dict[str, Any]:
        found: dict[str, Any] = {
            "accuracy": self.accuracy,
            "stderr": self.stderr,
            "items": self.items,
            "harness": self.harness,
            "prompt_sha256": self.prompt_sha256,
        }
        if each:
            found |= {
                "ids": list(self.ids),
                "correct": [int(one) for one in self.correct],
                "log_likelihoods": [list(row) for row in self.log_likelihoods],
            }
        return found


@dataclass(frozen=True, repr=False)
class TasksResult(Shown):
    """What :func:`mwanda.evaluation.score_tasks.evaluate_tasks` found.

    Attributes:
        model: as the user named it.
        scores: task -> language -> score.
        sources: task -> the files it was read from, and the SHA-256 of its documents.
        settings: what else the numbers depend on.
    """

    model: str
    scores: Mapping[str, Mapping[str, TaskScore]]
    sources: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)

    def _summary(self) -> str:
        return f"{self.model}, {', '.join(self.scores)}"

    def _records(self) -> list[dict[str, Any]]:
        return [
            {"task": task, "language": tag, "accuracy": one.accuracy, "stderr": one.stderr,
             "items": len(one.ids)}
            for task, rows in self.scores.items()
            for tag, one in rows.items()
        ]  # fmt: skip

    def _sheet(self) -> Sheet:
        return Sheet.of(self._records(), "accuracy")

    def as_dict(self, *, each: bool = True) -> dict[str, Any]:
        return {
            "model": self.model,
            "sources": {task: dict(one) for task, one in self.sources.items()},
            "settings": dict(self.settings),
            "tasks": {
                task: {tag: one.as_dict(each=each) for tag, one in rows.items()}
                for task, rows in self.scores.items()
            },
        }
