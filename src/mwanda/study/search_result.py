"""What a search tried and found."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mwanda.errors import GateError
from mwanda.evaluation.gate import Gate, percent
from mwanda.evaluation.results import Comparison
from mwanda.system.shown import Sheet, Shown


@dataclass(frozen=True)
class Trial:
    """One sparsity that was pruned and evaluated.

    Attributes:
        sparsity: asked for; ``reached``: share of zeros over the pruned linears.
        mean: rise in NLL per sentence over the dense model, mean over languages.
        worst, worst_rise: the language with the largest relative rise.
        failed: language -> rise, of those that lost more than they may.
        seconds: pruning and evaluation.
    """

    sparsity: float
    reached: float
    passed: bool
    mean: float
    worst: str
    worst_rise: float
    failed: dict[str, float]
    seconds: float


@dataclass(frozen=True)
class Alternative:
    """What ships already, under the same gate.

    Attributes:
        name: of the artefact.
        bytes: of its files with weights; ``source_bytes``: of the dense model's weights.
        mean, worst, worst_rise, failed: as of a :class:`Trial`.
    """

    name: str
    bytes: int
    source_bytes: int
    passed: bool
    mean: float
    worst: str
    worst_rise: float
    failed: dict[str, float]


def judged(compared: Comparison, gate: Gate) -> dict[str, Any]:
    """What a trial and an alternative say alike."""
    failed, worst = gate.failed(compared), compared.worst
    return {
        "passed": not failed,
        "mean": sum(rise.relative for rise in compared.rises) / len(compared.rises),
        "worst": worst.language,
        "worst_rise": worst.relative,
        "failed": {rise.language: rise.relative for rise in failed},
    }


@dataclass(frozen=True, repr=False)
class SearchResult(Shown):
    """What was tried, in order, and what follows.

    Attributes:
        model: as the user named it.
        gate: what the languages may lose.
        step, highest: sparsities looked at are multiples of ``step`` up to ``highest``.
        trials: all of them; nothing is known of any other sparsity.
        folder: the model written; None where none was asked for, or none passed.
        alternatives: what ships already, judged beside them.
    """

    model: str
    gate: Gate
    step: float
    highest: float
    trials: tuple[Trial, ...]
    folder: Path | None = None
    alternatives: tuple[Alternative, ...] = ()

    def _summary(self) -> str:
        found = "no sparsity passed" if self.sparsity is None else f"sparsity {self.sparsity:g}"
        return f"{self.model}, {found}, {len(self.trials)} tried"

    def _records(self) -> list[dict[str, Any]]:
        return [asdict(trial) | {"failed": ", ".join(trial.failed)} for trial in self.trials]

    def _sheet(self) -> Sheet:
        return Sheet.of(self._records(), "mean", change=True)

    @property
    def sparsity(self) -> float | None:
        """The highest that passed; None where none did."""
        return max((trial.sparsity for trial in self.trials if trial.passed), default=None)

    @property
    def lowest_failed(self) -> float | None:
        """The lowest that failed; None where none did."""
        return min((trial.sparsity for trial in self.trials if not trial.passed), default=None)

    def as_dict(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "limit": self.gate.limit,
            "languages": dict(self.gate.languages),
            "gate_on": self.gate.on,
            "sparsity": self.sparsity,
            "lowest_failed": self.lowest_failed,
            "step": self.step,
            "highest": self.highest,
            "folder": None if self.folder is None else str(self.folder),
            "trials": [asdict(trial) for trial in self.trials],
            "alternatives": [asdict(one) for one in self.alternatives],
        }

    def check(self) -> None:
        """Fail where no sparsity passed."""
        if self.sparsity is None:
            last = min(self.trials, key=lambda trial: trial.sparsity)
            raise GateError(
                self.model,
                expected="a sparsity at which no language loses more than it may",
                found=f"none; at {last.sparsity:g}: "
                + ", ".join(f"{tag} {percent(rise, '+')}" for tag, rise in last.failed.items()),
            )
