"""Workers as jobs: submitit's own local executor where it is installed, and jobs that fail."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from mwanda import InputError
from mwanda.errors import MwandaError
from mwanda.study.cluster import ClusterWorker
from mwanda.study.launch import start_study
from tests.study.helpers import Lab, events


class Job:
    """A job that runs what it is given when it is first looked at."""

    job_id = "17"

    def __init__(self, call: Callable[[], None], state: str) -> None:
        self._call, self.state = call, state

    def done(self) -> bool:
        if self.state == "COMPLETED":
            self._call()
        return True


@pytest.fixture
def submitit(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A cluster of one job at a time, and what was asked of it."""
    asked = SimpleNamespace(state="COMPLETED", parameters={}, folder=None, jobs=0, cluster=None)

    class AutoExecutor:
        def __init__(self, folder: Path, cluster: str | None) -> None:
            asked.folder, asked.cluster = folder, cluster

        def update_parameters(self, **given: Any) -> None:
            if "wrong" in given:
                raise NameError("Unknown argument 'wrong'")
            asked.parameters = given

        def submit(self, worker: ClusterWorker, out: str) -> Job:
            asked.jobs += 1
            return Job(lambda: worker(out), asked.state)

    module = ModuleType("submitit")
    module.AutoExecutor = AutoExecutor  # type: ignore[attr-defined]
    module.helpers = SimpleNamespace(  # type: ignore[attr-defined]
        DelayedSubmission=lambda *given: given
    )
    monkeypatch.setitem(sys.modules, "submitit", module)
    monkeypatch.setattr("mwanda.study.cluster.POLL", 0.01)
    return asked


def test_jobs_claim_cells_as_workers_do(lab: Lab, submitit: SimpleNamespace) -> None:
    found = start_study(
        lab.document(), lab.out, cluster=3, cluster_options={"cluster": "local", "timeout_min": 5}
    )
    assert found.counts["done"] == 5
    assert (submitit.jobs, submitit.cluster) == (3, "local")
    assert submitit.parameters == {"name": "mwanda-study", "timeout_min": 5}
    assert submitit.folder == lab.out / "jobs"
    done = events(lab.out, "done")
    assert len(done) == len(set(done)) == 5
    start_study(lab.document(), lab.out, cluster=3)
    assert submitit.jobs == 3  # nothing was left to submit


def test_jobs_that_end_too_soon_are_told(lab: Lab, submitit: SimpleNamespace) -> None:
    submitit.state = "OUT_OF_MEMORY"
    with pytest.raises(MwandaError, match="17 OUT_OF_MEMORY"):
        start_study(lab.document(), lab.out, cluster=1)
    submitit.state = "COMPLETED"
    assert start_study(lab.document(), lab.out, cluster=1).counts["done"] == 5
    with pytest.raises(InputError, match=r"--cluster-option.*Unknown argument 'wrong'"):
        start_study(lab.document(seeds=[4]), lab.out, cluster=1, cluster_options={"wrong": 1})


def test_a_job_whose_time_is_up_is_submitted_again(submitit: SimpleNamespace) -> None:
    worker = ClusterWorker()
    assert worker.checkpoint("x") == (worker, "x")


# submitit's local executor leaves the process that it started to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_the_local_executor_of_submitit(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("submitit")
    monkeypatch.setattr("mwanda.study.cluster.POLL", 0.2)
    options: dict[str, object] = {"cluster": "local", "timeout_min": 5}
    found = start_study(
        lab.document(criteria=["magnitude"]), lab.out, cluster=1, cluster_options=options
    )
    assert found.counts["done"] == 3
    assert list((lab.out / "jobs").glob("*_log.out"))
