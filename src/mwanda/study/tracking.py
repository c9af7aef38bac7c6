"""A study's results logged to MLflow, trackio or Weights & Biases, by their own libraries."""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from typing import Any

from mwanda.errors import InputError, nearest
from mwanda.evaluation.language import LanguageResult, mean
from mwanda.study.folder import StudyFolder
from mwanda.study.records import DENSE, Entry
from mwanda.study.study_plan import Plan
from mwanda.study.worker import FAILURES
from mwanda.system.extras import need

log = logging.getLogger("mwanda")

Run = Callable[[Any, str, str, Mapping[str, Any], Mapping[str, float]], None]
"""Given the library, project, name, parameters and metrics of one run, logs it."""


def _mlflow(library: Any, project: str, name: str, config: Any, metrics: Any) -> None:
    library.set_experiment(project)
    with library.start_run(run_name=name):
        library.log_params(config)
        library.log_metrics(metrics)


def _init_and_log(library: Any, project: str, name: str, config: Any, metrics: Any) -> None:
    library.init(project=project, name=name, config=config)
    library.log(metrics)
    library.finish()


TRACKERS: Mapping[str, Run] = {"mlflow": _mlflow, "trackio": _init_and_log, "wandb": _init_and_log}
"""Name, which is also that of the library and of the extra -> how it is called."""

ERRORS = {"mlflow": "MlflowException", "wandb": "Error"}
"""The errors of a library's own that are no common ones, by their names in it."""


def check_tracker(name: str) -> None:
    """Refuse one that is not known, or whose library is not installed."""
    if name not in TRACKERS:
        raise InputError("--log-to", expected="a tracker", found=name, fix=nearest(name, TRACKERS))
    need(name, f"--log-to {name}", name)


class Tracker:
    """Logs every point of a study once, with its rises over the dense model.

    The study's log keeps which points were logged, so that a study that goes on, or one that is
    logged later, logs what is missing. A library that fails does not stop a study.
    """

    def __init__(self, name: str, folder: StudyFolder, plan: Plan) -> None:
        self._name, self._folder, self._plan = name, folder, plan
        self._logged = {
            (event["label"], event["key"])
            for event in folder.events()
            if event["event"] == f"logged to {name}"
        }
        self._failed = False
        self._bases: dict[str, dict[str, float]] = {}

    def look(self, *, last: bool = False) -> None:
        """Log what has a result, and a dense one to compare with unless this is the last look."""
        for entry in self._plan.entries:
            if (
                self._failed
                or (entry.label, entry.key) in self._logged
                or not self._folder.has_result(entry.key)
            ):
                continue
            dense = self._dense(entry.model)
            found = self._folder.result(entry.key) if dense or last else None
            if found is not None:
                self._log(entry, found, dense)

    def _log(self, entry: Entry, found: Mapping[str, Any], dense: Mapping[str, float]) -> None:
        library = importlib.import_module(self._name)
        project = self._folder.path.resolve().name
        kind = getattr(library, ERRORS.get(self._name, ""), None)
        own = () if kind is None else (kind,)
        try:
            with redirect_stdout(sys.stderr):  # what a library says is no result of ours
                TRACKERS[self._name](
                    library, project, entry.label, config_of(entry, found), metrics_of(found, dense)
                )
        except (*FAILURES, *own) as error:
            told = " ".join(str(error).split())[:300]
            log.warning(
                "--log-to %s: %s; the study goes on without it, and the same command logs what is "
                "missing", self._name, told,
            )  # fmt: skip
            self._failed = True
            return
        self._logged.add((entry.label, entry.key))
        self._folder.log(f"logged to {self._name}", entry.key, label=entry.label)

    def _dense(self, model: str) -> dict[str, float]:
        """Language -> nats per sentence of the dense model; empty where it has no result yet."""
        for entry in self._plan.entries:
            if (entry.model, entry.method) == (model, DENSE) and model not in self._bases:
                found = self._folder.result(entry.key)
                if found is not None:
                    self._bases[model] = _nats(found)
        return self._bases.get(model, {})


def config_of(entry: Entry, found: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of a point, of its recipe those that are set."""
    recipe = found["settings"]["recipe"] or {}
    fields = {
        f"recipe.{name}": value["name"] if isinstance(value, Mapping) and "name" in value else value
        for name, value in recipe.items()
        if value not in (None, [], {})
    }
    return {"model": entry.model, "method": entry.method, "sparsity": entry.sparsity,
            "seed": entry.seed, "cell": entry.key, **fields}  # fmt: skip


def metrics_of(found: Mapping[str, Any], dense: Mapping[str, float]) -> dict[str, float]:
    """``nll/de`` and ``rise/de`` for every language, their means, the worst rise, the sparsity."""
    nats = _nats(found)
    metrics = {f"nll/{tag}": value for tag, value in nats.items()} | {
        "nll/mean": mean(nats.values())
    }
    rises = {tag: value / dense[tag] - 1 for tag, value in nats.items() if dense.get(tag)}
    if rises:
        metrics |= {f"rise/{tag}": value for tag, value in rises.items()}
        metrics |= {"rise/mean": mean(rises.values()), "rise/worst": max(rises.values())}
    return metrics | {"sparsity": float(found.get("sparsity", 0.0))}


def _nats(found: Mapping[str, Any]) -> dict[str, float]:
    results: list[LanguageResult] = [
        LanguageResult.of_row(tag, row) for tag, row in found["languages"].items()
    ]
    return {one.language: one.nll_per_sentence for one in results}
