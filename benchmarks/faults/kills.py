"""Kill a prune again and again, go on with it, and compare what it ends in with an undisturbed run.

``--kills`` runs are killed with ``kill -9`` at times drawn with a fixed seed between the first
entry of the journal and the final rename, in turn of dense and of sequential statistics. With
``--steps`` one run more is killed at every sync and rename there is. Every run after a kill must
end in the hashes of the undisturbed one, and leave nothing else.
"""

from __future__ import annotations

import os
import random
import time
from functools import partial
from pathlib import Path
from typing import Any

from forks import (
    Child,
    counted,
    entries_of,
    fault_options,
    fields,
    fresh,
    hashes,
    pace,
    prune_words,
)

from harness import Table, bar, save

MODES = ("dense", "sequential")


class Bench:
    """A prune in one mode, undisturbed once, and then killed.

    Args:
        words: of the command, without ``--out``.
        folder: where its outputs go.
    """

    def __init__(self, words: list[object], folder: Path) -> None:
        self._words, self._folder = words, folder
        self._log = folder.with_suffix(".log")
        out = fresh(folder) / "out"
        child = self._child(out)
        child.until(partial(entries_of, out))
        self.first = time.monotonic() - child.started
        child.until(out.exists)
        self.last = time.monotonic() - child.started
        if child.wait():
            raise RuntimeError(self._log.read_text())
        self.wanted = hashes(out)

    def steps(self) -> int:
        """How many syncs and renames there are."""
        note = self._folder.with_suffix(".steps")
        out = fresh(self._folder) / "out"
        if self._child(out, 0, note).wait():
            raise RuntimeError(self._log.read_text())
        return int(note.read_text())

    def at_time(self, draw: float) -> dict[str, Any] | None:
        """One kill so far, from 0 to 1, between the first entry and the end; None if the run was
        quicker than that."""
        out = fresh(self._folder) / "out"
        child = self._child(out)
        child.until(partial(entries_of, out))
        after = draw * (self.last - self.first)
        time.sleep(after)
        code = child.kill()
        return None if code == 0 or out.exists() else self._gone_on(out, after=after)

    def at_step(self, number: int) -> dict[str, Any] | None:
        """One kill at a sync or rename."""
        out = fresh(self._folder) / "out"
        code = self._child(out, number).wait()
        return None if code == 0 else self._gone_on(out, step=number)

    def _gone_on(self, out: Path, **how: Any) -> dict[str, Any]:
        found, start = entries_of(out), time.monotonic()
        published = out.exists()
        code = 0 if published else self._child(out).wait()
        same = code == 0 and hashes(out) == self.wanted
        alone = published or os.listdir(self._folder) == ["out"]
        return fields(**how, finished=found, published=published, code=code,
                      seconds=time.monotonic() - start, same=same and alone)  # fmt: skip

    def _child(self, out: Path, stop: int = 0, note: Path | None = None) -> Child:
        return Child([*self._words, "--out", out], self._log, counted(stop, note))


def main() -> None:
    parser = fault_options(__doc__, "kills")
    parser.add_argument("--blocks", type=int, help="only the first so many; all by default")
    parser.add_argument("--windows", type=int, default=2)
    parser.add_argument("--window-length", type=int, default=128)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--steps", action="store_true", help="also at every sync and rename")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--modes", nargs="+", choices=MODES, default=MODES)
    parser.add_argument("--share", type=float, help="of the journal's pace; its own by default")
    parser.add_argument("--patience", type=float, help="the same, in seconds")
    given = parser.parse_args()
    shape = (given.windows, given.window_length)
    words = prune_words(given, given.blocks, shape)
    pace(given.share, given.patience)
    benches = {
        mode: Bench([*words, "--mode", mode], given.work / f"kills-{mode}") for mode in given.modes
    }
    kills: list[dict[str, Any]] = []
    draws, missed = random.Random(given.seed), 0
    while len(kills) < given.kills:
        mode = given.modes[len(kills) % len(given.modes)]
        found = benches[mode].at_time(draws.random())
        if found is None:
            missed += 1
            continue
        kills.append({"mode": mode} | found)
        print(f"kill {len(kills)}: {kills[-1]}", flush=True)
    steps: list[dict[str, Any]] = []
    for mode in given.modes if given.steps else ():
        for number in range(1, benches[mode].steps() + 1):
            found = benches[mode].at_step(number)
            if found is not None:
                steps.append({"mode": mode} | found)
                print(f"step {number}: {steps[-1]}", flush=True)
    rows = []
    for what, runs in (("at drawn times", kills), ("at every sync and rename", steps)):
        for mode in given.modes:
            some = [run for run in runs if run["mode"] == mode]
            if some:
                same = sum(run["same"] for run in some)
                done = sum(bool(run["finished"]) for run in some)
                rows.append([what, mode, str(len(some)), str(done), str(same)])
    header = ["killed", "statistics", "runs", "had a journal", "same hashes"]
    different = sum(not run["same"] for run in [*kills, *steps])
    save(
        given.results,
        {
            "model": given.model, "blocks": given.blocks, "languages": given.languages,
            "windows": shape, "seed": given.seed, "quicker than the kill": missed,
            "kills": kills, "steps": steps,
        },
        tables=[Table(header, rows)],
        bars=[
            bar("runs killed at drawn times", len(kills), least=given.kills),
            bar("outputs that differ from the undisturbed run's", different, most=0),
        ],
    )  # fmt: skip


if __name__ == "__main__":
    main()
