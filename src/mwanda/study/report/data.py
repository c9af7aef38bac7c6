"""A study's results, put together: what each method did to each model, and how sure that is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from mwanda.evaluation.articles import clusters_of
from mwanda.evaluation.language import LanguageResult
from mwanda.evaluation.paired import Difference, differences
from mwanda.study.folder import StudyFolder
from mwanda.study.records import DENSE, Entry
from mwanda.study.study_plan import Plan, read_plan

Nats = Sequence[Sequence[float]]


@dataclass(frozen=True, eq=False)
class Group:
    """One method at one sparsity on one model: the cells of all seeds.

    Attributes:
        sparsity: asked for.
        cells: seed -> what the cell measured; None for a method without one.
        languages: scored.
    """

    method: str
    sparsity: float
    cells: Mapping[int | None, Mapping[str, Any]]
    languages: tuple[str, ...]

    @cached_property
    def seen(self) -> tuple[str, ...]:
        """Languages scored that calibrated it."""
        return tuple(tag for tag in self.languages if tag in self.first["seen"])

    @cached_property
    def background(self) -> tuple[str, ...]:
        pooled = {tag for cell in self.cells.values() for tag in cell.get("background", ())}
        return tuple(tag for tag in self.languages if tag in pooled)

    @property
    def first(self) -> Mapping[str, Any]:
        """One cell, for what all seeds have in common."""
        return next(iter(self.cells.values()))

    @property
    def reached(self) -> float:
        """Share of zeros over the pruned linears."""
        return float(np.mean([cell["sparsity"] for cell in self.cells.values()]))

    @cached_property
    def blocks(self) -> dict[int, float]:
        """Block -> sparsity, mean over seeds."""
        found: dict[int, list[float]] = {}
        for cell in self.cells.values():
            for block, sparsity in cell["blocks"].items():
                found.setdefault(int(block), []).append(sparsity)
        return {block: float(np.mean(values)) for block, values in sorted(found.items())}

    @cached_property
    def results(self) -> dict[str, LanguageResult]:
        """Language -> result; each text's nats are the mean over seeds."""
        return {tag: _mean(tag, list(self.cells.values())) for tag in self.languages}

    @property
    def nats(self) -> Nats:
        return [self.results[tag].sentence_nll for tag in self.languages]


@dataclass(frozen=True)
class Loss:
    """A group against the dense model, or against another group.

    Attributes:
        mean: over all languages, with its interval.
        languages: language -> the same alone.
    """

    mean: Difference
    languages: dict[str, Difference]

    def over(self, tags: Sequence[str]) -> float | None:
        """Mean over some languages; None of none."""
        return float(np.mean([self.languages[tag].mean for tag in tags])) if tags else None

    @property
    def with_mean(self) -> dict[str, Difference]:
        """Those of :attr:`languages` after the mean, which has no language."""
        return {"": self.mean, **self.languages}

    @property
    def worst(self) -> str:
        return max(self.languages, key=lambda tag: self.languages[tag].mean)

    @property
    def certain(self) -> int:
        """Languages that lost more than the choice of sentences explains."""
        return sum(one.low > 0 for one in self.languages.values())


@dataclass
class ModelResults:
    """One model of a study.

    Attributes:
        dense: its own results; None while they are missing.
        groups: (method, sparsity) -> group, of cells that are there.
        quantised: GGUF type -> the dense model in it; never among the groups.
        clusters: the article of every sentence; None where the languages are not parallel.
        methods, sparsities: in the order of the grid, and ascending.
    """

    name: str
    languages: tuple[str, ...]
    clusters: list[int] | None
    dense: dict[str, LanguageResult] | None
    groups: dict[tuple[str, float], Group]
    methods: tuple[str, ...]
    sparsities: tuple[float, ...]
    quantised: dict[str, Group] = field(default_factory=dict)
    _losses: dict[tuple[str, float], Loss] = field(default_factory=dict)

    def group(self, method: str, sparsity: float) -> Group | None:
        return self.groups.get((method, sparsity))

    def at(self, sparsity: float) -> list[Group]:
        """The groups at a sparsity, in the order of the methods."""
        return [one for method in self.methods if (one := self.group(method, sparsity))]

    def of(self, method: str) -> list[Group]:
        return [one for sparsity in self.sparsities if (one := self.group(method, sparsity))]

    @property
    def in_order(self) -> list[Group]:
        """All groups, by sparsity and then by method."""
        return [group for sparsity in self.sparsities for group in self.at(sparsity)]

    def loss(self, group: Group) -> Loss:
        """Relative rise over the dense model in NLL per sentence."""
        key = (group.method, group.sparsity)
        if key not in self._losses:
            self._losses[key] = self._compare(group.nats, self._dense_nats)
        return self._losses[key]

    def against(self, first: Group, second: Group) -> Loss:
        """What the first lost more than the second, as a share of the dense model's NLL."""
        return self._compare(first.nats, second.nats)

    def pairs(self, sparsity: float) -> list[tuple[Group, Group]]:
        """Methods to compare: all pairs, the later one first; of more than four methods each
        against the first."""
        groups = self.at(sparsity)
        if len(groups) > 4:
            return [(group, groups[0]) for group in groups[1:]]
        return [(later, one) for n, later in enumerate(groups) for one in groups[:n]]

    def seeds_apart(self, group: Group) -> tuple[float, float] | None:
        """Least and most mean rise of a single seed; None with one seed."""
        if len(group.cells) < 2:
            return None
        dense = {tag: sum(row.sentence_nll) for tag, row in self.baseline.items()}
        nats = ({t: sum(row["sentence_nll"]) for t, row in cell["languages"].items()}
                for cell in group.cells.values())  # fmt: skip
        means = [float(np.mean([one[t] / dense[t] - 1 for t in self.languages])) for one in nats]
        return min(means), max(means)

    @property
    def seen_by_any(self) -> tuple[str, ...]:
        """Languages that calibrated any of the methods."""
        seen = {tag for one in self.groups.values() for tag in one.seen}
        return tuple(tag for tag in self.languages if tag in seen)

    @property
    def background_of_any(self) -> tuple[str, ...]:
        pooled = {tag for one in self.groups.values() for tag in one.background}
        return tuple(tag for tag in self.languages if tag in pooled - {*self.seen_by_any})

    @property
    def unseen_by_all(self) -> tuple[str, ...]:
        known = self.seen_by_any + self.background_of_any
        return tuple(tag for tag in self.languages if tag not in known)

    @property
    def order(self) -> tuple[str, ...]:
        return self.seen_by_any + self.background_of_any + self.unseen_by_all

    @property
    def baseline(self) -> dict[str, LanguageResult]:
        """The dense model's results, which must be there."""
        if self.dense is None:
            raise ValueError("expected the dense model's results")
        return self.dense

    @property
    def _dense_nats(self) -> Nats:
        return [self.baseline[tag].sentence_nll for tag in self.languages]

    def _compare(self, first: Nats, second: Nats) -> Loss:
        mean, each = differences(self._dense_nats, first, second, clusters=self.clusters)
        return Loss(mean, dict(zip(self.languages, each, strict=True)))


@dataclass(frozen=True)
class StudyResults:
    """Everything a report is made of.

    Attributes:
        cells: key -> result, of those that are there.
        failures: label -> problems.
        views: model -> methods -> what the statistics they used say of several languages, see
            :mod:`mwanda.pruning.statistics.show`.
    """

    plan: Plan
    models: tuple[ModelResults, ...]
    cells: dict[str, dict[str, Any]]
    failures: dict[str, list[str]]
    views: dict[str, dict[str, dict[str, Any]]]

    @property
    def missing(self) -> int:
        """Cells that are neither done nor failed."""
        failed = {e.key for e in self.plan.entries if e.label in self.failures}
        return len(self.plan.cells) - len(self.cells) - len(failed)


def points_with(results: StudyResults, name: str) -> Iterator[tuple[Entry, dict[str, Any]]]:
    """Points of the grid whose cell holds something of that name, and what it holds."""
    for entry in results.plan.entries:
        if made := results.cells.get(entry.key, {}).get(name):
            yield entry, made


def load_results(folder: StudyFolder) -> StudyResults:
    """Read what a study has measured so far."""
    plan = read_plan(folder)
    cells = {key: cell for key in plan.cells if (cell := folder.result(key)) is not None}
    ids = plan.ids
    clusters = None if ids is None else clusters_of(ids, plan.evaluation.neighbours or 0)
    failures = {
        entry.label: [str(problem) for problem in failure["problems"]]
        for entry in plan.entries
        if entry.key not in cells and (failure := folder.failure(entry.key)) is not None
    }
    models = tuple(_model(name, plan, cells, clusters) for name in plan.models)
    return StudyResults(plan, models, cells, failures, _views(folder, plan))


def _model(
    name: str, plan: Plan, cells: Mapping[str, Any], clusters: list[int] | None
) -> ModelResults:
    dense = None
    found: dict[tuple[str, float], dict[int | None, Any]] = {}
    quantised: dict[str, Group] = {}
    entries = [entry for entry in plan.entries if entry.model == name]
    for entry in entries:
        if (cell := cells.get(entry.key)) is None:
            continue
        if entry.method == DENSE and cell["settings"]["recipe"] is None:
            dense = {tag: _mean(tag, [cell]) for tag in plan.languages}
        elif "quantised" in cell["settings"]:
            quantised[entry.method] = Group(entry.method, 0.0, {None: cell}, plan.languages)
        else:
            found.setdefault((entry.method, entry.sparsity), {})[entry.seed] = cell
    return ModelResults(
        name,
        plan.languages,
        clusters,
        dense,
        {key: Group(*key, seeds, plan.languages) for key, seeds in found.items()},
        tuple(dict.fromkeys(e.method for e in entries if e.method not in plan.unpruned)),
        tuple(sorted({sparsity for _, sparsity in found})),
        quantised,
    )


def _mean(tag: str, cells: Sequence[Mapping[str, Any]]) -> LanguageResult:
    rows = [cell["languages"][tag] for cell in cells]
    nats = np.mean([row["sentence_nll"] for row in rows], axis=0)
    return replace(LanguageResult.of_row(tag, rows[0]), sentence_nll=tuple(float(n) for n in nats))


def _views(folder: StudyFolder, plan: Plan) -> dict[str, dict[str, dict[str, Any]]]:
    """One view for each set of languages, named after the methods it served; the first seed's."""
    methods: dict[tuple[str, str], dict[str, None]] = {}
    for entry in plan.entries:
        if (used := plan.cells[entry.key].statistics) is not None:
            methods.setdefault((entry.model, used), {})[entry.method] = None
    views: dict[str, dict[str, dict[str, Any]]] = {}
    for (model, key), names in methods.items():
        if (view := folder.view(key)) is not None and len(view["languages"]) > 1:
            views.setdefault(model, {}).setdefault(" / ".join(names), view)
    return views
