"""Fill the disk under a prune, at twenty sizes, then free it and go on.

The output lies on a small file system in memory (``tmpfs``, which needs root). It is either too
small from the start, or filled up by somebody else once the first block is finished, all but so
many bytes. Every run must end in one line of error and leave nothing under the final name; after
the space is freed, the same command must end in the hashes of a run that was not disturbed.
"""

from __future__ import annotations

import os
import subprocess
from functools import partial
from pathlib import Path
from typing import Any

from forks import (
    Child,
    entries_of,
    fault_options,
    fields,
    hashes,
    pace,
    prune_words,
    undisturbed,
)

from harness import Table, bar, save

ROOMY = 4 << 30


def main() -> None:
    parser = fault_options(__doc__, "disk-full", "en,de,fr")
    parser.add_argument("--blocks", type=int, default=4, help="only the first so many")
    parser.add_argument("--sizes", type=int, default=20)
    given = parser.parse_args()
    words = [*prune_words(given, given.blocks, (2, 64)), "--mode", "sequential"]
    models = (given.models or given.work).as_posix()
    pace(0.0, 0.0)
    log = given.work / "disk-full.log"
    whole = undisturbed(words, given.work / "disk-full", log)
    wanted = hashes(whole)
    size = sum(path.stat().st_size for path in whole.iterdir())
    place = given.work / "small-disk"
    place.mkdir(exist_ok=True)
    runs: list[dict[str, Any]] = []
    for number in range(given.sizes):
        for how in ("too small", "filled up"):
            subprocess.run(
                ["mount", "-t", "tmpfs", "-o", f"size={ROOMY}", "tmpfs", place], check=True
            )
            try:
                small = how == "too small"
                room = int(size * (number + 1) / given.sizes * (1.2 if small else 0.02))
                out = place / "out"
                if small:
                    _resize(place, room)
                child = Child([*words, "--out", out], log)
                if not small:
                    child.until(partial(entries_of, out))
                    _resize(place, _used(place) + room)
                code = child.wait()
                text = log.read_text().strip().replace(models, "MODELS")
                there = out.exists()
                finished = entries_of(out)
                _resize(place, ROOMY)
                again = 0 if code == 0 else Child([*words, "--out", out], log).wait()
                same = again == 0 and hashes(out) == wanted and os.listdir(place) == ["out"]
            finally:
                subprocess.run(["umount", place], check=True)
            runs.append(fields(how=how, bytes=room, code=code, finished=finished, there=there,
                               message=text.replace(str(place), "DISK"), same=same))  # fmt: skip
            print(runs[-1], flush=True)
    failed = [run for run in runs if run["code"]]
    odd = [
        r for r in failed if r["there"] or r["code"] not in (1, 2) or "Traceback" in r["message"]
    ]
    rows = []
    for how in ("too small", "filled up"):
        some = [run for run in runs if run["how"] == how]
        bad = [run for run in some if run["code"]]
        rows.append([how, str(len(some)), str(len(bad)), str(sum(bool(r["finished"]) for r in bad)),
                     str(sum(run["same"] for run in some))])  # fmt: skip
    save(
        given.results,
        {"model": given.model, "blocks": given.blocks, "output": size, "runs": runs},
        tables=[Table(["disk", "sizes", "failed", "of them with a journal", "same hashes"], rows)],
        bars=[
            bar("runs that met a full disk", len(failed), least=given.sizes),
            bar("without a clear error, or with something under the name", len(odd), most=0),
            bar("outputs that differ", sum(not run["same"] for run in runs), most=0),
        ],
    )


def _resize(place: Path, size: int) -> None:
    pages = max(1, size // 4096)
    subprocess.run(["mount", "-o", f"remount,size={pages * 4096}", place], check=True)


def _used(place: Path) -> int:
    status = os.statvfs(place)
    return (status.f_blocks - status.f_bfree) * status.f_frsize


if __name__ == "__main__":
    main()
