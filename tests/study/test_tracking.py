"""Points of a study in an experiment tracker; the libraries are made up."""

from __future__ import annotations

import importlib
import importlib.util
import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from mwanda import InputError
from mwanda.study.folder import StudyFolder
from mwanda.study.launch import start_study
from mwanda.study.study_plan import read_plan
from mwanda.study.tracking import Tracker, check_tracker
from tests.study.helpers import Lab
from tests.study.report.helpers import ALL, GRID, study

Runs = dict[str, dict[str, Any]]


class Library(ModuleType):
    """Takes what MLflow, trackio and Weights & Biases take; fails when told to."""

    class Error(Exception):
        pass

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.runs: Runs = {}
        self.broken = False
        self._run: dict[str, Any] = {}

    def init(self, *, project: str, name: str, config: dict[str, Any]) -> None:
        if self.broken:
            raise self.Error("no server\nthere")
        self._run = self.runs[name] = {"project": project, "config": config}
        print("* Created new run")

    def log(self, metrics: dict[str, float]) -> None:
        self._run["metrics"] = metrics

    def finish(self) -> None:
        self._run["finished"] = True

    def set_experiment(self, project: str) -> None:
        self.project = project

    @contextmanager
    def start_run(self, *, run_name: str) -> Iterator[None]:
        self._run = self.runs[run_name] = {"project": self.project}
        yield
        self._run["finished"] = True

    def log_params(self, config: dict[str, Any]) -> None:
        self._run["config"] = config

    def log_metrics(self, metrics: dict[str, float]) -> None:
        self._run["metrics"] = metrics


@pytest.fixture(params=["mlflow", "trackio", "wandb"])
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Library:
    made = Library(request.param)
    monkeypatch.setitem(sys.modules, request.param, made)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name == request.param or None)
    return made


def tracker(folder: StudyFolder, library: Library) -> Tracker:
    check_tracker(library.__name__)
    return Tracker(library.__name__, folder, read_plan(folder))


def test_every_point_is_a_run_with_its_rises(
    library: Library, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = study(tmp_path, GRID)
    tracker(folder, library).look()
    assert len(library.runs) == 1 + len(GRID)
    run = library.runs["tiny, first, 0.3, seed 0"]
    assert (run["project"], run["finished"]) == ("study", True)
    rises = {tag: run["metrics"][f"rise/{tag}"] for tag in ALL}
    assert rises == pytest.approx(ALL, abs=1e-3)
    assert run["metrics"]["rise/worst"] == rises["hi"]
    assert run["metrics"]["rise/mean"] == pytest.approx(sum(rises.values()) / 3)
    assert run["metrics"]["sparsity"] == 0.3
    assert run["config"]["method"] == "first"
    assert run["config"]["recipe.criterion"] == "wanda"
    assert library.runs["tiny, dense"]["metrics"]["rise/mean"] == 0
    assert capsys.readouterr().out == ""  # for our own results alone


def test_what_was_logged_is_not_logged_again(library: Library, tmp_path: Path) -> None:
    folder = study(tmp_path, GRID, left_out=("cell1",))
    tracker(folder, library).look(last=True)
    assert len(library.runs) == len(GRID)
    library.runs.clear()
    folder.write_result("cell1", folder.result("cell0") or {})
    tracker(folder, library).look(last=True)
    assert [*library.runs] == ["tiny, first, 0.5, seed 0"]
    library.runs.clear()  # a point that is computed anew has another key
    plan = folder.read_plan()
    (point,) = (one for one in plan["entries"] if one["key"] == "cell1")
    point["key"], plan["cells"]["anew"] = "anew", plan["cells"]["cell1"]
    folder.write_plan(plan)
    folder.write_result("anew", folder.result("cell0") or {})
    tracker(folder, library).look(last=True)
    assert [*library.runs] == ["tiny, first, 0.5, seed 0"]


def test_a_point_waits_for_its_dense_model(library: Library, tmp_path: Path) -> None:
    folder = study(tmp_path, GRID, dense=False)
    waiting = tracker(folder, library)
    waiting.look()
    assert library.runs == {}
    waiting.look(last=True)
    metrics = library.runs["tiny, first, 0.3, seed 0"]["metrics"]
    assert "nll/de" in metrics
    assert "rise/de" not in metrics


def test_a_library_that_fails_stops_nothing_and_is_tried_by_the_next_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    made, folder = Library("wandb"), study(tmp_path, GRID)
    monkeypatch.setitem(sys.modules, "wandb", made)
    made.broken = True
    with caplog.at_level(logging.WARNING, "mwanda"):
        Tracker("wandb", folder, read_plan(folder)).look(last=True)
    assert caplog.messages == [
        "--log-to wandb: no server there; the study goes on without it, and the same command logs "
        "what is missing"
    ]
    made.broken = False
    Tracker("wandb", folder, read_plan(folder)).look(last=True)
    assert len(made.runs) == 1 + len(GRID)


def test_a_study_logs_as_it_runs(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Library("trackio")
    monkeypatch.setitem(sys.modules, "trackio", made)
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: name == "trackio" or found(name, *more)
    )
    document = lab.document(criteria=["magnitude"], sparsities=[0.5], calibration=None)
    start_study(document, lab.out, log_to="trackio")
    assert [*made.runs] == ["tiny, dense", "tiny, magnitude, 0.5"]
    json.dumps(made.runs)


def test_what_is_not_there_is_refused_with_what_installs_it(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--log-to: expected a tracker, found mlfow; did you mean"):
        start_study(tmp_path / "none.yaml", tmp_path / "out", log_to="mlfow")
    with pytest.raises(InputError, match=r"--log-to mlflow: .*pip install 'mwanda\[mlflow\]'"):
        start_study(tmp_path / "none.yaml", tmp_path / "out", log_to="mlflow")
    assert not (tmp_path / "out").exists()
