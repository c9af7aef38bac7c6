"""Kill a study again and again, go on with it, and compare every file with an undisturbed study's.

One study runs undisturbed. Another of the same document is killed with ``kill -9``, process group
and all, at times drawn with a fixed seed from the undisturbed one's, and started again, until it
ends by itself. Then every result, the plan and the statistics (but for the seconds they took) must
be the same bytes, and by the log no cell and no statistics may have been done twice; only what a
kill cut short was begun again.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from forks import cut_model, fault_options, fresh
from tests.pruning.resume.helpers import made

from harness import Table, bar, parsed, save
from mwanda.study.folder import StudyFolder
from processes import MWANDA, environment
from studies import counts, placed, read_file

KILLS = 5
BEGUN, DONE = ("begin", "begin statistics"), ("done", "done statistics")
"""What the log says of a cell, and of a set of statistics."""


def main() -> None:
    parser = fault_options(__doc__, "study-kill")
    parser.add_argument("--least", type=float, default=8.0, help="seconds that a start takes")
    given = parsed(parser)
    document = given.work / "study.yaml"
    document.write_text(json.dumps(study(given)), encoding="utf-8")
    whole, killed = fresh(given.work / "whole") / "study", fresh(given.work / "killed") / "study"
    begin = time.monotonic()
    if code := start(given, document, whole).wait():
        raise RuntimeError(f"the undisturbed study ended with {code}")
    seconds = time.monotonic() - begin
    kills = kill(given, document, killed, seconds)
    log = StudyFolder(killed).events()
    begun, done = counts(log, *BEGUN), counts(log, *DONE)
    wanted, found = files(whole), files(killed)
    differ = sorted(
        name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name)
    )
    rows = [
        [str(one["number"]), f"{one['after']:.1f}", str(one["done"]),
         ", ".join(one["held"]) or "none"]
        for one in kills
    ]  # fmt: skip
    save(
        given.results,
        {
            "model": given.model, "languages": given.languages,
            "cells": len(list((whole / "cells").iterdir())),
            "seconds": seconds, "kills": kills, "files": len(wanted), "differ": differ,
            "begun_twice": [key for key, count in begun.items() if count > 1],
            "log": [{k: e[k] for k in ("event", "key")} for e in log],
        },
        tables=[Table(["kill", "seconds after its start", "cells and statistics done before",
                       "in the middle of"], rows)],
        bars=[
            bar("files that differ from the undisturbed study's", len(differ), most=0),
            bar("cells or statistics done twice", sum(n > 1 for n in done.values()), most=0),
            bar("kills in the middle of a study", len(kills), least=KILLS),
        ],
    )  # fmt: skip


def study(given: argparse.Namespace) -> dict[str, Any]:
    """Its document, for the languages and the model that are given."""
    fields, languages = placed(read_file("killed"), given.data), given.languages.split(",")
    fields["models"] = {given.model: str(cut_model(given.model, given.models or given.work, None))}
    fields["languages"]["all"] = fields["evaluation"]["languages"] = languages
    return fields


def kill(
    given: argparse.Namespace, document: Path, out: Path, seconds: float
) -> list[dict[str, Any]]:
    """Start the study until it ends by itself; at most so many starts are killed."""
    draw = random.Random(0)
    kills: list[dict[str, Any]] = []
    while True:
        child = start(given, document, out)
        after = draw.uniform(given.least, given.least + seconds / KILLS)
        try:
            if code := child.wait(after if len(kills) < KILLS else None):
                raise RuntimeError(f"a study ended with {code} by itself")
            return kills
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
        log = StudyFolder(out).events()
        done = counts(log, *DONE)
        held = [key for key in counts(log, *BEGUN) if key not in done]
        kills.append({"number": len(kills) + 1, "after": after, "done": len(done), "held": held})
        print(kills[-1], flush=True)


def start(given: argparse.Namespace, document: Path, out: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*MWANDA, "study", str(document), "--out", str(out)],
        env=environment(given.threads),
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )


def files(study: Path) -> dict[str, Any]:
    """All that a study keeps, by its path in it, but for the seconds that statistics took; logs and
    locks are left out."""
    places = [study / name for name in ("cells", "statistics", "failed", "plan.json")]
    found = [p for place in places for p in ([place] if place.is_file() else place.iterdir())]
    return {
        str(path.relative_to(study)): made(path)
        if path.suffix == ".safetensors"
        else path.read_bytes()
        for path in found
    }


if __name__ == "__main__":
    main()
