"""Kill a prune again and again, go on with it, and compare what it ends in with an undisturbed run.

``--kills`` runs are killed with ``kill -9`` at times drawn with a fixed seed between the first
entry of the journal and the final rename, in turn of dense and of sequential statistics. With
``--steps`` one run more is killed at every sync and rename there is. Every run after a kill must
end in the hashes of the undisturbed one, and leave nothing else.
"""

from __future__ import annotations

import os
import random
import signal
import time
from functools import partial
from itertools import count
from operator import itemgetter
from typing import Any

from forks import LONG, Trial, counted, entries_of, fault_options, pace, prune_words, said, until
from tests.support.failpoints import Steps

from harness import Table, bar, parsed, save
from mwanda.system import durable

MODES = ("dense", "sequential")


def at_time(trial: Trial, draw: float) -> dict[str, Any] | None:
    """One kill so far, from 0 to 1, between the first entry and the end; None if the run was
    quicker than that."""
    out, after = trial.fresh(), draw * (trial.last - trial.first)
    with trial.run(out) as child:
        until(child, partial(entries_of, out))
        time.sleep(after)
        child.kill()
        quicker = child.wait(LONG) == 0 or out.exists()
    return None if quicker else {"after": after} | gone_on(trial)


def at_step(trial: Trial, number: int) -> dict[str, Any] | None:
    """One kill at a sync or rename; None where there are not so many."""

    def stop() -> None:
        durable.reached = Steps(number, lambda: os.kill(os.getpid(), signal.SIGKILL))

    with trial.run(trial.fresh(), stop) as child:
        code = child.wait(LONG)
        if code not in (0, -signal.SIGKILL):
            raise RuntimeError(said(child))
    return {"step": number} | gone_on(trial) if code else None


def gone_on(trial: Trial) -> dict[str, Any]:
    out, start = trial.folder / "out", time.monotonic()
    found = {"finished": entries_of(out), "published": out.exists()}
    return found | {"same": trial.goes_on(out), "seconds": time.monotonic() - start}


def main() -> None:
    parser = fault_options(__doc__, "kills")
    parser.add_argument("--blocks", type=int, help="only the first so many; all by default")
    parser.add_argument("--windows", type=int, default=2)
    parser.add_argument("--window-length", type=int, default=128)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--steps", action="store_true", help="also at every sync and rename")
    parser.add_argument("--share", type=float, default=0.0, help="of the journal's pace")
    parser.add_argument("--patience", type=float, default=0.0, help="the same, in seconds")
    given = parsed(parser)
    shape = (given.windows, given.window_length)
    words = prune_words(given, given.blocks, shape)
    pace(given.share, given.patience)
    trials = {mode: Trial([*words, "--mode", mode], given.work / f"kills-{mode}") for mode in MODES}
    kills: list[dict[str, Any]] = []
    draws, missed = random.Random(0), 0
    while len(kills) < given.kills:
        mode = MODES[len(kills) % len(MODES)]
        if (found := at_time(trials[mode], draws.random())) is None:
            missed += 1
            continue
        kills.append({"mode": mode} | found)
        print(f"kill {len(kills)}: {kills[-1]}", flush=True)
    steps: list[dict[str, Any]] = []
    for mode in MODES if given.steps else ():
        for number in count(1):
            if (found := at_step(trials[mode], number)) is None:
                break
            steps.append({"mode": mode} | found)
            print(f"step {number}: {steps[-1]}", flush=True)
    rows = [
        [what, *row]
        for what, runs in (("at drawn times", kills), ("at every sync and rename", steps))
        for row in counted(runs, "mode", itemgetter("finished"), itemgetter("same"))
    ]
    header = ["killed", "statistics", "runs", "had a journal", "same hashes"]
    different = sum(not run["same"] for run in [*kills, *steps])
    save(
        given.results,
        {
            "model": given.model, "blocks": given.blocks, "languages": given.languages,
            "windows": shape, "quicker than the kill": missed,
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
