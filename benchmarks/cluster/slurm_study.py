"""A study on a Slurm: two jobs share its cells, one is cancelled in the middle of a cell, and that
cell is taken up again.

    benchmarks/cluster/one_node.sh start out/slurm
    SLURM_CONF=out/slurm/slurm.conf python benchmarks/cluster/slurm_study.py MODEL \\
        --calibration DATA/gnome --text DATA/flores
    benchmarks/cluster/one_node.sh stop out/slurm
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from mwanda.study.folder import StudyFolder
from mwanda.study.status import Status


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--calibration", required=True)
    parser.add_argument("--text", required=True)
    parser.add_argument("--work", type=Path, default=Path("out/slurm-study"))
    parser.add_argument("--languages", nargs="+", default=["de", "fi"])
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results/slurm.json"))
    given = parser.parse_args()
    shutil.rmtree(given.work, ignore_errors=True)
    given.work.mkdir(parents=True)
    document = given.work / "study.yaml"
    document.write_text(json.dumps(_study(given)), encoding="utf-8")
    out = given.work / "study"
    command = [sys.executable, "-m", "mwanda", "study", str(document), "--out", str(out)]
    on_slurm = ["--cluster", "2", "--cluster-option", "cluster=slurm"]
    for option in ("timeout_min=60", "cpus_per_task=1"):
        on_slurm += ["--cluster-option", option]
    with subprocess.Popen([*command, *on_slurm]) as running:
        held = _wait_for_a_cell(out, running)
        number = _job_of(held)
        print(f"scancel {number}, which works on {held['key']}", flush=True)
        subprocess.run(["scancel", "--signal=KILL", "--full", number], check=True)
        code = running.wait()
    folder = StudyFolder(out)
    status = Status.of(folder)
    events = folder.events()
    begun = Counter(e["key"] for e in events if e["event"] == "begin")
    done = Counter(e["key"] for e in events if e["event"] == "done")
    found: dict[str, Any] = {
        "slurm": subprocess.run(["sinfo", "--version"], capture_output=True, text=True,
                                check=True).stdout.strip(),
        "exit_code": code,
        "cells": len(status.cells),
        "counts": status.counts,
        "cancelled_in": held["key"],
        "begun_twice": [key for key, count in begun.items() if count > 1],
        "done_twice": [key for key, count in done.items() if count > 1],
        "workers": len({(e["host"], e["pid"]) for e in events if e["event"] == "begin"}),
    }  # fmt: skip
    given.results.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=1))
    whole = code == 0 and status.counts["done"] == len(status.cells) and not found["done_twice"]
    if not whole or found["begun_twice"] != [held["key"]]:
        sys.exit("not as expected")


def _study(given: argparse.Namespace) -> dict[str, Any]:
    return {
        "models": {"model": given.model},
        "calibration": given.calibration,
        "languages": given.languages,
        "criteria": ["wanda", "magnitude"],
        "allocations": ["uniform"],
        "sparsities": [0.3, 0.5],
        "recipe": {"windows": 2, "window_length": 64},
        "evaluation": {"text": given.text, "languages": given.languages, "sentences": 4},
    }


def _wait_for_a_cell(out: Path, running: subprocess.Popen[bytes]) -> dict[str, Any]:
    """A cell that was begun and not ended, while both workers are at it."""
    folder = StudyFolder(out)
    while running.poll() is None:
        events = folder.events()
        ended = {e["key"] for e in events if e["event"] in ("done", "failed")}
        at_work = [e for e in events if e["event"] == "begin" and e["key"] not in ended]
        if len({e["pid"] for e in events}) > 1 and at_work:
            return at_work[-1]
        time.sleep(0.05)
    sys.exit("the study ended before a job could be cancelled")


def _job_of(event: dict[str, Any]) -> str:
    """The Slurm job whose process logged an event."""
    pid = event["pid"]
    environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return next(
        one.partition(b"=")[2].decode() for one in environment if one.startswith(b"SLURM_JOB_ID=")
    )


if __name__ == "__main__":
    main()
