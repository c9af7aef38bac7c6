"""Studies in processes of their own, killed without warning, and shared by several."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

from mwanda.study.folder import StudyFolder
from mwanda.study.launch import start_study
from mwanda.study.status import Status
from tests.cli.helpers import process, run_process, wait_for
from tests.study.helpers import Lab, events, results


def test_killed_in_the_middle_and_resumed(lab: Lab, tmp_path: Path) -> None:
    document = lab.document(sparsities=[0.2, 0.3, 0.4, 0.5, 0.6])
    with process("study", document, "--out", lab.out, cwd=tmp_path) as running:
        wait_for("cells/*.json", lab.out, running)
        running.kill()
    before = results(lab.out)
    killed = Status.of(StudyFolder(lab.out)).counts
    assert 0 < killed["done"] < 11
    assert killed["running"] == 0  # its claims died with it
    again = run_process("study", document, "--out", lab.out, cwd=tmp_path)
    assert again.code == 0, again.err
    assert f"11 cells, {killed['done']} done before" in again.err
    assert "[11/11]" in again.err
    done = events(lab.out, "done")
    assert len(done) == len(set(done)) == 11
    assert not list((lab.out / "work").iterdir())
    whole = results(lab.out)
    assert {name: whole[name] for name in before} == before
    start_study(document, tmp_path / "undisturbed")
    assert results(tmp_path / "undisturbed") == whole


def test_workers_share_the_cells_and_one_may_die(lab: Lab, tmp_path: Path) -> None:
    document = lab.document(sparsities=[0.2, 0.3, 0.4, 0.5, 0.6, 0.7], seeds=[0, 1])
    words = ("study", document, "--out", lab.out, "--processes", 2, "--json")
    with process(*words, cwd=tmp_path) as running:
        first = _first_to_begin(lab.out, running)
        os.kill(first["pid"], signal.SIGKILL)
        out, err = running.communicate(timeout=120)
    assert running.returncode == 0, err
    assert '"failed": 0' in out
    cells = 1 + 6 + 12
    done = events(lab.out, "done")
    assert len(done) == len(set(done)) == cells
    assert f"[{cells}/{cells}]" in err
    taken = [e for e in StudyFolder(lab.out).events() if e["event"] == "begin"]
    assert {e["pid"] for e in taken} > {first["pid"]}
    assert running.pid not in {e["pid"] for e in taken}


def _first_to_begin(folder: Path, running: Any) -> Any:
    wait_for("log.jsonl", folder, running)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        begun = StudyFolder(folder).events()
        if begun:
            return begun[0]
        time.sleep(0.01)
    raise AssertionError("no worker began")
