"""What a file of statistics says: which blocks the languages share, and how active each is."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mwanda.methods.allocation import cwl
from mwanda.pruning.statistics.file import SavedStatistics
from mwanda.pruning.statistics.routed import inputs_of
from mwanda.system.shown import AsDict, Shown
from mwanda.system.surroundings import undisturbed

EXTREMES = 3
"""Blocks named as most shared, and as most language-specific."""


@dataclass(frozen=True)
class BlockView:
    """One block: how many linears are there, and how many different inputs they are fed. The
    agreement is the mean correlation between two languages of how strongly each feature is used:
    the signal of allocation cwl; None where no two languages reached it."""

    block: int
    linears: int
    inputs: int
    agreement: float | None


@dataclass(frozen=True)
class LanguageView:
    """One language.

    Attributes:
        windows, tokens: read of it.
        weight: in the Gram matrices; None without them.
        activity: share of features that are active at a token (above that token's mean), mean over
            all inputs; None where it was not measured.
        agreement: mean correlation with each other language; None for a single one.
    """

    windows: int
    tokens: int
    weight: float | None
    activity: float | None
    agreement: float | None


@dataclass(frozen=True, repr=False)
class StatisticsView(AsDict, Shown):
    """A file of statistics, made readable; blocks with the most shared first in ``most_shared``."""

    path: str
    model: str
    needs: tuple[str, ...]
    compute_dtype: str
    files: int
    source: str
    blocks: tuple[BlockView, ...]
    most_shared: tuple[int, ...]
    most_specific: tuple[int, ...]
    languages: dict[str, LanguageView]

    def _summary(self) -> str:
        return f"{self.path}, {self.model} on {self.source}, {len(self.blocks)} blocks"

    def _records(self) -> list[dict[str, Any]]:
        return [{"language": tag, **asdict(one)} for tag, one in self.languages.items()]


@undisturbed()
def show_statistics(path: str | Path) -> StatisticsView:
    """Look into a file of statistics, block by block.

    Raises:
        InputError: not such a file, or sums that cannot be.
    """
    saved = SavedStatistics.open(path)
    saved.check_values(grams=False)
    record, tags = saved.record, saved.languages
    weights = dict.fromkeys(tags, 1.0)
    blocks: list[BlockView] = []
    active, alike = {tag: [0.0, 0.0] for tag in tags}, {tag: [0.0, 0.0] for tag in tags}
    for index in range(record.model.blocks):
        sums, entries = saved.load(index), saved.inputs_of(index)
        found = {
            name: inputs
            for name, languages in sums.items()
            if (inputs := inputs_of(name, languages, weights, 1)) is not None
        }
        shared = [inputs for inputs in found.values() if len(inputs.weights) > 1]
        agreement = cwl.measure([], shared) if shared else None
        linears = sum(len(entry.linears) for entry in entries.values())
        if entries:
            blocks.append(BlockView(index, linears, len(entries), agreement))
        for key in sorted(entries.keys() & found.keys()):  # inputs that linears share count once
            seen = sorted(sums[key])
            if len(seen) > 1:
                pairs = cwl.correlations(found[key].rms).fill_diagonal_(0)
                for tag, total in zip(seen, pairs.sum(dim=1).tolist(), strict=True):
                    _note(alike[tag], total / (len(seen) - 1))
            activity = found[key].activity
            if activity is not None:
                for tag, share in zip(seen, activity.mean(dim=1).tolist(), strict=True):
                    _note(active[tag], share)
    ranked = sorted(
        (b for b in blocks if b.agreement is not None), key=lambda b: -(b.agreement or 0.0)
    )
    few = min(EXTREMES, len(ranked) // 2)
    return StatisticsView(
        path=str(path),
        model=record.model.name,
        needs=record.needs,
        compute_dtype=record.compute_dtype,
        files=record.files,
        source=record.calibration.source,
        blocks=tuple(blocks),
        most_shared=tuple(b.block for b in ranked[:few]),
        most_specific=tuple(b.block for b in reversed(ranked[len(ranked) - few :])),
        languages={
            tag: LanguageView(
                windows=record.calibration.languages[tag].windows,
                tokens=record.calibration.languages[tag].tokens,
                weight=record.calibration.weights[tag] if record.gram else None,
                activity=_mean(active[tag]),
                agreement=_mean(alike[tag]),
            )
            for tag in tags
        },
    )


def _note(total: list[float], value: float) -> None:
    total[0] += value
    total[1] += 1


def _mean(total: list[float]) -> float | None:
    return total[0] / total[1] if total[1] else None
