"""Starts a study and sees it through: in this process, in several, or on a cluster."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from mwanda.errors import InputError, MwandaError
from mwanda.study.cluster import run_on_cluster
from mwanda.study.folder import StudyFolder
from mwanda.study.status import Status, cell_states, seconds_left
from mwanda.study.study_plan import Plan, make_plan, read_plan
from mwanda.study.tracking import Tracker, check_tracker
from mwanda.study.worker import PARENT, PAUSE, Worker
from mwanda.system.arguments import path_given
from mwanda.system.progress import Progress, duration
from mwanda.system.ranks import check_alone
from mwanda.system.speaking import speaking

log = logging.getLogger("mwanda")


@speaking
def start_study(
    document: str | Path,
    out: str | Path,
    *,
    processes: int = 1,
    retry_failed: bool = False,
    cluster: int | None = None,
    cluster_options: dict[str, object] | None = None,
    log_to: str | None = None,
    progress: Progress | None = None,
) -> Status:
    """Run a study to its end, or go on with one; what has a result is not computed again.

    Args:
        document: the YAML file.
        out: the study's folder, made where it is not there.
        processes: local ones to share the cells; 1 works in this process.
        retry_failed: run cells again that failed before.
        cluster: jobs to submit instead, through submitit.
        cluster_options: of its executor, such as ``slurm_partition``.
        log_to: ``mlflow``, ``trackio`` or ``wandb``, whose library logs every point of the grid.
        progress: is told how far each prune is, where this process works itself.

    Raises:
        InputError: everything that is wrong with the document, before any work.
        MwandaError: every worker died.
    """
    check_alone("study")
    if log_to is not None:
        check_tracker(log_to)
    folder = StudyFolder(path_given("out", out))
    folder.check()
    plan = make_plan(path_given("document", document))
    folder.make()
    folder.write_plan(plan.model_dump(mode="json"))
    if retry_failed:
        for key in plan.cells:
            folder.forget_failure(key)
    tracker = None if log_to is None else Tracker(log_to, folder, plan)
    _tell_of_unkept(folder, plan)
    watch = _Watch(folder, plan, processes if cluster is None else cluster, tracker)
    watch.look()
    if not watch.waiting:
        watch.end()
        return Status.of(folder)
    if cluster is not None:
        run_on_cluster(folder, cluster, cluster_options or {}, watch.look)
    elif processes == 1:
        Worker(folder, progress=progress, done=lambda _key: watch.look()).run()
    else:
        _run_processes(folder, processes, watch.look)
    watch.end()
    return Status.of(folder)


def _tell_of_unkept(folder: StudyFolder, plan: Plan) -> None:
    pruned = (key for key, cell in plan.cells.items() if cell.settings["recipe"])
    done = [key for key in pruned if folder.has_result(key)]
    gone = sum(not (folder.path / "models" / key).exists() for key in done) if plan.keep else 0
    if gone:
        log.warning(
            "keep: %d models were pruned before it was asked for, and are not there; delete their "
            "files in %s to have them made again", gone, folder.path / "cells",
        )  # fmt: skip


class _Watch:
    """Tells of every cell that comes to an end, whoever worked on it."""

    def __init__(
        self, folder: StudyFolder, plan: Plan, workers: int, tracker: Tracker | None
    ) -> None:
        self.folder, self.plan, self.workers, self.tracker = folder, plan, workers, tracker
        states = cell_states(folder, plan)
        self.waiting = [key for key, state in states.items() if state == "waiting"]
        counts = Counter(states.values())
        log.info(
            "%s: %d cells, %d done before, %d failed before, %d to compute",
            folder.path, len(states), counts["done"], counts["failed"], len(self.waiting),
        )  # fmt: skip

    def look(self) -> bool:
        """Say what has finished since; whether anything is left."""
        labels = {entry.key: entry.label for entry in reversed(self.plan.entries)}
        for key in [key for key in self.waiting if self.folder.state(key) is not None]:
            self.waiting.remove(key)
            took = {e["key"]: e["seconds"] for e in self.folder.events() if e["event"] == "done"}
            failure = self.folder.failure(key)
            end = f"{took[key]:.1f} s" if key in took else "done"  # its line is not there yet
            if failure:
                end = f"failed: {failure['problems'][0]}"
            count = len(self.plan.cells) - len(self.waiting)
            left = seconds_left(self.folder, self.plan, len(self.waiting), self.workers)
            rest = f"; about {duration(left)} left" if self.waiting and left is not None else ""
            log.info("[%d/%d] %s: %s%s", count, len(self.plan.cells), labels[key], end, rest)
        if self.tracker is not None:
            self.tracker.look()
        return bool(self.waiting)

    def end(self) -> None:
        """Tell of the rest."""
        self.look()
        if self.tracker is not None:
            self.tracker.look(last=True)


def _run_processes(folder: StudyFolder, count: int, look: Callable[[], bool]) -> None:
    logs = folder.path / "workers"
    logs.mkdir(exist_ok=True)
    threads = max(1, (os.cpu_count() or 1) // count)
    environment = {"OMP_NUM_THREADS": str(threads), **os.environ, PARENT: str(os.getpid())}
    command = [sys.executable, "-m", "mwanda", "study", "work", str(folder.path)]
    with ExitStack() as stack:
        running: list[subprocess.Popen[bytes]] = []
        stack.callback(_end, running)
        for number in range(1, count + 1):
            file = stack.enter_context((logs / f"{number}.log").open("wb"))
            running.append(
                subprocess.Popen(command, stdout=file, stderr=file, stdin=subprocess.DEVNULL,
                                 env=environment)
            )  # fmt: skip
        while any(process.poll() is None for process in running):
            look()
            time.sleep(PAUSE)
        if look():
            raise MwandaError(
                "study",
                expected="workers that go on to the end",
                found=f"all {count} of them ended before (exit codes "
                f"{', '.join(str(process.returncode) for process in running)})",
                fix=f"see {logs}/1.log, then start the same command again: it goes on from here",
            )


def _end(running: Sequence[subprocess.Popen[bytes]]) -> None:
    for process in running:
        if process.poll() is None:
            process.terminate()
    for process in running:
        process.wait()


def failures_of(folder: StudyFolder) -> None:
    """End with an error where cells failed."""
    plan = read_plan(folder)
    failed = [key for key in plan.cells if folder.failure(key) is not None]
    if failed:
        raise MwandaError(
            str(folder.path),
            expected="a result for every cell",
            found=f"{len(failed)} of {len(plan.cells)} that failed",
            fix="mwanda study status says why; mend it and start again with --retry-failed",
        )


def check_processes(processes: int, cluster: int | None) -> None:
    """Refuse both at once."""
    if cluster is not None and processes != 1:
        raise InputError("--processes", expected="none beside --cluster", found=str(processes))
