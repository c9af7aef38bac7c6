"""How far a study is: which cells are done, failed, being worked on, or waiting."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from mwanda.study.folder import StudyFolder
from mwanda.study.study_plan import Plan, read_plan
from mwanda.system.shown import Shown

STATES = ("done", "failed", "running", "waiting")


@dataclass(frozen=True, repr=False)
class Status(Shown):
    """Attributes:
    folder: of the study.
    cells: key -> one of :data:`STATES`.
    entries: model, method, sparsity, seed, key and state of every point of the grid.
    failures: key -> problems.
    seconds_left: at the pace so far, for as many workers as are at it; None before the first.
    """

    folder: str
    cells: dict[str, str]
    entries: tuple[dict[str, Any], ...]
    failures: dict[str, list[str]]
    seconds_left: float | None

    @classmethod
    def of(cls, folder: StudyFolder) -> Status:
        """Look at a study's folder; changes nothing."""
        plan = read_plan(folder)
        states = cell_states(folder, plan, claims=True)
        failures = {key: folder.failure(key) for key, state in states.items() if state == "failed"}
        counts = Counter(states.values())
        left = counts["waiting"] + counts["running"]
        return cls(
            str(folder.path),
            states,
            tuple(e.model_dump() | {"state": states[e.key]} for e in plan.entries),
            {key: list(one["problems"]) for key, one in failures.items() if one is not None},
            seconds_left(folder, plan, left, max(1, counts["running"])),
        )

    def _summary(self) -> str:
        counts = ", ".join(f"{count} {state}" for state, count in self.counts.items())
        return f"{self.folder}, {len(self.cells)} cells, {counts}"

    def _records(self) -> list[dict[str, Any]]:
        return list(self.entries)

    @property
    def counts(self) -> dict[str, int]:
        """State -> number of cells."""
        found = Counter(self.cells.values())
        return {state: found[state] for state in STATES}

    def rows(self) -> list[list[str]]:
        """Model, method, and how many cells are in each state."""
        groups: dict[tuple[str, str], Counter[str]] = {}
        for entry in self.entries:
            groups.setdefault((entry["model"], entry["method"]), Counter())[entry["state"]] += 1
        return [
            [model, method, *(str(found[state]) for state in STATES)]
            for (model, method), found in groups.items()
        ]

    def as_dict(self) -> dict[str, Any]:
        return {
            "folder": self.folder,
            "counts": self.counts,
            "seconds_left": self.seconds_left,
            "entries": list(self.entries),
            "failures": self.failures,
        }


def cell_states(folder: StudyFolder, plan: Plan, *, claims: bool = False) -> dict[str, str]:
    """Key -> state; ``running`` only where ``claims`` are looked at."""

    def open_state(key: str) -> str:
        return "running" if claims and folder.is_claimed(key) else "waiting"

    return {key: folder.state(key) or open_state(key) for key in plan.cells}


def seconds_left(folder: StudyFolder, plan: Plan, cells: int, workers: int) -> float | None:
    """Time for so many cells at the pace of those done, the statistics' share included."""
    done = [
        event["seconds"]
        for event in folder.events()
        if event["event"] == "done" and event["key"] in plan.cells
    ]
    return sum(done) / len(done) * cells / max(1, workers) if done else None
