"""A study's results for a notebook: a table, a data frame, and the figure of the report."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mwanda.errors import InputError, nearest
from mwanda.evaluation.figures import plot_against_sparsity
from mwanda.evaluation.gate import percent
from mwanda.evaluation.language import mean
from mwanda.study.folder import StudyFolder
from mwanda.study.report.cells import rise_of, worst_of
from mwanda.study.report.csv_files import LANGUAGES, language_rows
from mwanda.study.report.data import StudyResults, load_results
from mwanda.system.arguments import path_given
from mwanda.system.shown import Sheet, Shown
from mwanda.text.languages import display_name


@dataclass(frozen=True, repr=False)
class Study(Shown):
    """What a study has measured so far. Its frame has a row for every model, method, sparsity, seed
    and language, as ``languages.csv`` of the report."""

    folder: Path
    results: StudyResults

    def plot(self, model: str | None = None) -> Any:
        """What each language lost against sparsity, a picture for every language.

        Args:
            model: one of the study; None takes the first.

        Returns:
            matplotlib's figure.

        Raises:
            InputError: matplotlib is not installed, no such model, or no result of it yet.
        """
        models = {one.name: one for one in self.results.models}
        name = next(iter(models)) if model is None else model
        if name not in models:
            raise InputError("model", expected="one of the study", found=name,
                             fix=nearest(name, models))  # fmt: skip
        chosen = models[name]
        if chosen.dense is None or not chosen.groups:
            raise InputError(name, expected="results of the dense model and of a pruned one",
                             found="none yet", fix="finish the study")  # fmt: skip
        shown = [method for method in chosen.methods if chosen.of(method)]
        panels = {
            display_name(tag): {
                method: [(0.0, 0.0)]
                + [(100 * g.sparsity, 100 * chosen.loss(g).languages[tag].mean)
                   for g in chosen.of(method)]
                for method in shown
            }
            for tag in chosen.languages
        }  # fmt: skip
        return plot_against_sparsity(panels, "sparsity, %", "rise in NLL per sentence, %")

    def _summary(self) -> str:
        done, cells = len(self.results.cells), len(self.results.plan.cells)
        models = ", ".join(model.name for model in self.results.models)
        return f"{self.folder}, {models}, {done} of {cells} cells done"

    def _records(self) -> list[dict[str, Any]]:
        return [dict(zip(LANGUAGES, row, strict=True)) for row in language_rows(self.results)]

    def _sheet(self) -> Sheet:
        header = ["model", "method", "sparsity", "mean rise", "worst language"]
        rows, bars = [], []
        for model in self.results.models:
            for group in model.in_order if model.dense is not None else ():
                loss = model.loss(group)
                bars.append(mean(one.mean for one in loss.languages.values()))
                cells = [percent(group.sparsity), rise_of(loss.mean), worst_of(loss)]
                rows.append([model.name, group.method, *cells])
        return Sheet(header, rows, bars, 3, change=True)


def read_study(folder: str | Path) -> Study:
    """The results of a study, as far as it is.

    Args:
        folder: the ``--out`` of ``mwanda study``.

    Raises:
        InputError: no study, or damaged results.
    """
    path = path_given("folder", folder)
    return Study(path, load_results(StudyFolder.open(path)))
