"""Kill a study again and again, go on with it, and compare every file with an undisturbed study's.

One study runs undisturbed. Another of the same document is killed with ``kill -9``, process group
and all, at times drawn with a fixed seed from the undisturbed one's, and started again, until it
ends by itself. Then every result, the plan and the statistics (but for the seconds they took) must
be the same bytes, and by the log no cell and no statistics may have been done twice; only what a
kill cut short was begun again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from forks import cut_model, fault_options, fresh

from harness import Table, bar, save
from mwanda.study.folder import StudyFolder
from mwanda.system.files import sha256_of
from processes import environment, mwanda

COMPARED = ("cells", "statistics", "failed")


def main() -> None:
    parser = fault_options(__doc__, "study-kill")
    parser.add_argument("--windows", type=int, default=1)
    parser.add_argument("--window-length", type=int, default=64)
    parser.add_argument("--sentences", type=int, default=4)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--least", type=float, default=8.0, help="seconds that a start takes")
    parser.add_argument("--processes", type=int, default=1)
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    model = cut_model(given.model, given.models or given.work, None)
    document = given.work / "study.yaml"
    document.write_text(json.dumps(_study(given, model)), encoding="utf-8")
    whole, killed = fresh(given.work / "whole") / "study", fresh(given.work / "killed") / "study"
    start = time.monotonic()
    if code := _start(given, document, whole).wait():
        raise RuntimeError(f"the undisturbed study ended with {code}")
    seconds = time.monotonic() - start
    kills = _kill(given, document, killed, seconds)
    log = StudyFolder(killed).events()
    begun, done = _counts(log, "begin"), _counts(log, "done")
    wanted, made = _files(whole), _files(killed)
    differ = sorted(
        name for name in wanted.keys() | made.keys() if wanted.get(name) != made.get(name)
    )
    cells = len(list((whole / "cells").iterdir()))
    rows = [
        [str(one["number"]), f"{one['after']:.1f}", str(one["done"]),
         ", ".join(one["held"]) or "none"]
        for one in kills
    ]  # fmt: skip
    save(
        given.results,
        {
            "model": given.model, "languages": given.languages, "cells": cells,
            "seconds": seconds, "kills": kills, "files": len(wanted), "differ": differ,
            "begun_twice": [key for key, count in begun.items() if count > 1],
            "done_twice": [key for key, count in done.items() if count > 1],
            "log": [{k: e[k] for k in ("event", "key")} for e in log],
        },
        tables=[Table(["kill", "seconds after its start", "cells and statistics done before",
                       "in the middle of"], rows)],
        bars=[
            bar("files that differ from the undisturbed study's", len(differ), most=0),
            bar("cells or statistics done twice", sum(n > 1 for n in done.values()), most=0),
            bar("kills in the middle of a study", len(kills), least=given.kills),
        ],
    )  # fmt: skip


def _kill(
    given: argparse.Namespace, document: Path, out: Path, seconds: float
) -> list[dict[str, Any]]:
    """Start the study until it ends by itself; at most ``--kills`` starts are killed."""
    draw = random.Random(given.seed)
    kills: list[dict[str, Any]] = []
    while True:
        child = _start(given, document, out)
        if len(kills) == given.kills:
            if code := child.wait():
                raise RuntimeError(f"the study that was killed ended with {code}")
            return kills
        after = draw.uniform(given.least, given.least + seconds / given.kills)
        try:
            code = child.wait(after)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
        else:
            if code:
                raise RuntimeError(f"a study ended with {code} before it was killed")
            return kills
        log = StudyFolder(out).events()
        done = _counts(log, "done")
        held = [key for key in _counts(log, "begin") if key not in done]
        kills.append({"number": len(kills) + 1, "after": after, "done": len(done), "held": held})
        print(kills[-1], flush=True)


def _start(given: argparse.Namespace, document: Path, out: Path) -> subprocess.Popen[bytes]:
    words = [*mwanda(given.python), "study", document, "--out", out,
             "--processes", given.processes]  # fmt: skip
    return subprocess.Popen(
        [str(word) for word in words],
        env=environment(given.threads),
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )


def _counts(log: list[dict[str, Any]], event: str) -> Counter[str]:
    """How often each cell, and each set of statistics, had an event."""
    return Counter(e["key"] for e in log if e["event"] in (event, f"{event} statistics"))


def _files(study: Path) -> Mapping[str, str]:
    """SHA-256 of all that a study keeps, by its path in it; logs and locks are left out."""
    found = [path for name in COMPARED for path in (study / name).iterdir()]
    return {
        str(path.relative_to(study)): _timeless(path)
        if path.suffix == ".safetensors"
        else sha256_of(path)
        for path in [*found, study / "plan.json"]
    }


def _timeless(path: Path) -> str:
    """SHA-256 of a file of statistics, but for the seconds that its manifest tells."""
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
        manifest = json.loads(header["__metadata__"].pop("mwanda"))
        del manifest["seconds"]
        digest = hashlib.sha256(json.dumps([header, manifest], sort_keys=True).encode())
        while part := file.read(1 << 20):
            digest.update(part)
    return digest.hexdigest()


def _study(given: argparse.Namespace, model: Path) -> dict[str, Any]:
    languages = given.languages.split(",")
    wanda = {"criterion": "wanda", "allocation": "uniform"}
    return {
        "models": {given.model: str(model)},
        "calibration": str(given.data / "gnome"),
        "languages": {"English": ["en"], "all": languages},
        "methods": {
            "wanda, English": {**wanda, "languages": "English"},
            "m-wanda": {"languages": "all", "allocation": "cwl"},
            "two passes": {"languages": "all", "allocation": "cwl", "mode": "sequential"},
        },
        "sparsities": [0.3, 0.5],
        "recipe": {"windows": given.windows, "window_length": given.window_length},
        "evaluation": {
            "text": str(given.data / "flores"), "languages": languages,
            "sentences": given.sentences, "ids": "1000:",
        },
    }  # fmt: skip


if __name__ == "__main__":
    main()
