"""Fill the disk under a prune, at twenty sizes, then free it and go on.

The output lies on a small file system in memory (``tmpfs``, which needs root). It is either too
small from the start, or filled up by somebody else once the first block is finished, all but so
many bytes. Every run must end in one line of error and leave nothing under the final name; after
the space is freed, the same command must end in the hashes of a run that was not disturbed.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Any

from forks import LONG, Trial, counted, entries_of, fault_options, pace, prune_words, said, until

from harness import Table, bar, parsed, save

ROOMY = 4 << 30
BLOCKS, SIZES = 4, 20
"""Of the model; and how many disks."""
HOW = ("too small", "filled up")


@contextmanager
def small_disk(place: Path) -> Iterator[None]:
    place.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={ROOMY}", "tmpfs", place], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", place], check=True)


def resize(place: Path, size: int) -> None:
    pages = max(1, size // 4096)
    subprocess.run(["mount", "-o", f"remount,size={pages * 4096}", place], check=True)


def met(trial: Trial, place: Path, how: str, room: int) -> dict[str, Any]:
    """One run on a disk with so much room, and what the command ends in when there is more."""
    out = place / "out"
    with small_disk(place):
        if how == "too small":
            resize(place, room)
        with trial.run(out) as child:
            if how == "filled up":
                until(child, partial(entries_of, out))
                resize(place, shutil.disk_usage(place).used + room)
            code, message = child.wait(LONG), said(child)
        there, finished = out.exists(), entries_of(out)
        resize(place, ROOMY)
        return {"how": how, "bytes": room, "code": code, "finished": finished, "there": there,
                "message": message, "same": trial.goes_on(out)}  # fmt: skip


def main() -> None:
    given = parsed(fault_options(__doc__, "disk-full", "en,de,fr"))
    words = [*prune_words(given, BLOCKS), "--mode", "sequential"]
    pace()
    trial = Trial(words, given.work / "disk-full")
    runs: list[dict[str, Any]] = []
    for number in range(SIZES):
        for how, share in zip(HOW, (1.2, 0.02), strict=True):
            room = int(trial.size * (number + 1) / SIZES * share)
            runs.append(met(trial, given.work / "small-disk", how, room))
            print(runs[-1], flush=True)
    failed = [run for run in runs if run["code"]]
    odd = [
        r for r in failed if r["there"] or r["code"] not in (1, 2) or "Traceback" in r["message"]
    ]
    rows = counted(runs, "how", lambda run: run["code"],
                   lambda run: run["code"] and run["finished"], itemgetter("same"))  # fmt: skip
    save(
        given.results,
        {"model": given.model, "blocks": BLOCKS, "output": trial.size, "runs": runs},
        tables=[Table(["disk", "sizes", "failed", "of them with a journal", "same hashes"], rows)],
        bars=[
            bar("runs that met a full disk", len(failed), least=SIZES),
            bar("without a clear error, or with something under the name", len(odd), most=0),
            bar("outputs that differ", sum(not run["same"] for run in runs), most=0),
        ],
    )


if __name__ == "__main__":
    main()
