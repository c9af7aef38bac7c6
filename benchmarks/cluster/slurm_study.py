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
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parent.parent))  # the other benchmarks

from harness import RESULTS
from mwanda.study.folder import StudyFolder
from mwanda.study.status import Status
from studies import counts, read_file

WORK = Path("out/slurm-study")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--calibration", required=True)
    parser.add_argument("--text", required=True)
    given = parser.parse_args()
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
    fields = read_file("slurm") | {"models": {"model": given.model}}
    fields["calibration"], fields["evaluation"]["text"] = given.calibration, given.text
    document = WORK / "study.yaml"
    document.write_text(json.dumps(fields), encoding="utf-8")
    out = WORK / "study"
    line = [sys.executable, "-m", "mwanda", "study", str(document), "--out", str(out)]
    line += ["--cluster", "2"]
    for option in ("cluster=slurm", "timeout_min=60", "cpus_per_task=1"):
        line += ["--cluster-option", option]
    with subprocess.Popen(line) as running:
        held = _wait_for_a_cell(out, running)
        number = _job_of(held)
        print(f"scancel {number}, which works on {held['key']}", flush=True)
        subprocess.run(["scancel", "--signal=KILL", "--full", number], check=True)
        code = running.wait()
    folder = StudyFolder(out)
    status, events = Status.of(folder), folder.events()
    version = subprocess.run(["sinfo", "--version"], capture_output=True, text=True, check=True)
    found: dict[str, Any] = {
        "slurm": version.stdout.strip(),
        "exit_code": code,
        "cells": len(status.cells),
        "counts": status.counts,
        "cancelled_in": held["key"],
        **{
            f"{name}_twice": [key for key, count in counts(events, event).items() if count > 1]
            for name, event in (("begun", "begin"), ("done", "done"))
        },
        "workers": len({(e["host"], e["pid"]) for e in events if e["event"] == "begin"}),
    }
    text = json.dumps(found, indent=1)
    (RESULTS / "slurm.json").write_text(text + "\n", encoding="utf-8")
    print(text)
    whole = code == 0 and status.counts["done"] == len(status.cells) and not found["done_twice"]
    if not whole or found["begun_twice"] != [held["key"]]:
        sys.exit("not as expected")


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
    environment = Path(f"/proc/{event['pid']}/environ").read_text(errors="replace").split("\0")
    return dict(one.partition("=")[::2] for one in environment)["SLURM_JOB_ID"]


if __name__ == "__main__":
    main()
