"""Studies in processes of their own, killed without warning, and shared by several."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from threading import Thread
from typing import Any

from mwanda.study.folder import StudyFolder
from mwanda.study.launch import start_study
from mwanda.study.status import Status
from tests.cli.helpers import wait_for
from tests.study.helpers import Lab, events, results
from tests.support.forked import Forked


def test_killed_in_the_middle_and_resumed(lab: Lab, tmp_path: Path) -> None:
    document = lab.document(sparsities=[0.2, 0.3, 0.4, 0.5, 0.6])
    with Forked("study", document, "--out", lab.out, cwd=tmp_path) as running:
        wait_for("cells/*.json", lab.out, running)
        running.kill()
    before = results(lab.out)
    # As if the kill had come between a cell's result and the end of its work.
    (lab.out / "work" / next(iter(before)).removesuffix(".json")).mkdir(exist_ok=True)
    killed = Status.of(StudyFolder(lab.out)).counts
    assert 0 < killed["done"] < 11
    assert killed["running"] == 0  # its claims died with it
    assert start_study(document, lab.out).counts["done"] == 11
    begun = events(lab.out, "begin")
    again = {key for key in begun if begun.count(key) > 1}
    assert len(again) <= 1  # the cell that the kill cut short
    assert not again & {name.removesuffix(".json") for name in before}
    assert len(set(begun)) == 11
    assert not list((lab.out / "work").iterdir())
    whole = results(lab.out)
    assert {name: whole[name] for name in before} == before
    start_study(document, tmp_path / "undisturbed")
    assert results(tmp_path / "undisturbed") == whole


def test_workers_share_the_cells_and_one_may_die(lab: Lab) -> None:
    document = lab.document(sparsities=[0.2, 0.3, 0.4, 0.5, 0.6, 0.7], seeds=[0, 1])
    found: list[Status] = []
    run = Thread(target=lambda: found.append(start_study(document, lab.out, processes=2)))
    run.start()
    first = _first_to_begin(lab.out, run)
    os.kill(first["pid"], signal.SIGKILL)
    run.join(timeout=120)
    cells = 1 + 6 + 12
    assert found[0].counts == {"done": cells, "failed": 0, "running": 0, "waiting": 0}
    done = events(lab.out, "done")
    assert len(done) == len(set(done)) == cells
    workers = {e["pid"] for e in StudyFolder(lab.out).events()}
    assert len(workers) == 2
    assert os.getpid() not in workers


def _first_to_begin(folder: Path, run: Thread) -> Any:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and run.is_alive():
        begun = StudyFolder(folder).events()
        if begun:
            return begun[0]
        time.sleep(0.01)
    raise AssertionError("no worker began")
