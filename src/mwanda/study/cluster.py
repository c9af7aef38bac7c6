"""A study's workers as jobs of a cluster, through submitit. They claim cells as local ones do, on
the disk they share."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from mwanda.errors import InputError, MwandaError
from mwanda.study.folder import StudyFolder
from mwanda.study.worker import work_on

POLL = 5.0
"""Seconds between two looks at the jobs."""


class ClusterWorker:
    """What a job calls: one worker, put into the queue again when its time is up."""

    def __call__(self, out: str) -> None:
        work_on(out)

    def checkpoint(self, out: str) -> Any:
        """Asked for by submitit before a job is stopped: what to submit in its place."""
        return import_module("submitit").helpers.DelayedSubmission(self, out)


def run_on_cluster(
    folder: StudyFolder, jobs: int, options: Mapping[str, object], look: Callable[[], bool]
) -> None:
    """Submit workers and wait until nothing is left to do.

    Args:
        options: of submitit's executor; ``cluster`` names another than the one it finds.
        look: says what has finished; whether anything is left.
    """
    try:
        submitit = import_module("submitit")
    except ImportError as error:
        raise InputError(
            "--cluster", expected="the package submitit", found="none",
            fix="pip install 'mwanda[cluster]'",
        ) from error  # fmt: skip
    given = dict(options)
    try:
        executor = submitit.AutoExecutor(
            folder=folder.path / "jobs", cluster=given.pop("cluster", None)
        )
        executor.update_parameters(name="mwanda-study", **given)
    except (NameError, TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            "--cluster-option",
            expected="options of submitit's executor, such as timeout_min=240",
            found=" ".join(str(error).split())[:300],
        ) from error
    path = str(folder.path.resolve())
    submitted = [executor.submit(ClusterWorker(), path) for _ in range(jobs)]
    while look():
        if all(job.done() for job in submitted):
            if not look():
                return
            states = ", ".join(f"{job.job_id} {job.state}" for job in submitted)
            raise MwandaError(
                "study",
                expected="jobs that go on to the end",
                found=f"all of them ended before: {states}",
                fix=f"see {folder.path}/jobs, then start again: it goes on from here",
            )
        time.sleep(POLL)
