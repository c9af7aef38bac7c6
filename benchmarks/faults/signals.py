"""Two runs on one output, and signals in the middle of one.

While a prune is at work a second one with the same ``--out`` must say so and end; the first is then
stopped by SIGTERM or SIGINT once a block is finished, must leave nothing under the final name and
say how to go on, and the same command must end in the hashes of an undisturbed run.
"""

from __future__ import annotations

import signal
import time
from functools import partial
from operator import itemgetter
from typing import Any

from forks import LONG, Trial, counted, entries_of, fault_options, pace, prune_words, said, until

from harness import Table, bar, parsed, save

SIGNALS = {"SIGTERM": (signal.SIGTERM, 143), "SIGINT": (signal.SIGINT, 130)}
"""Signal, and the exit code of a run that it ended."""
BLOCKS, ROUNDS = 6, 5
"""Of the model, and of each signal."""


def main() -> None:
    given = parsed(fault_options(__doc__, "signals", "en,de,fr"))
    words = prune_words(given, BLOCKS)
    pace()
    trial = Trial(words, given.work / "signals")
    runs: list[dict[str, Any]] = []
    for name, (number, code) in SIGNALS.items():
        for _ in range(ROUNDS):
            out = trial.fresh()
            with trial.run(out) as first:
                until(first, partial(entries_of, out))
                with trial.run(out) as other:
                    second, message = other.wait(LONG), said(other)
                start = time.monotonic()
                first.send_signal(number)
                ended, told = first.wait(LONG), said(first)
            seconds, finished = time.monotonic() - start, entries_of(out)
            alike = (ended, second, out.exists()) == (code, 2, False)
            runs.append({
                "signal": name, "second": second, "ended": ended, "to_end": seconds,
                "finished": finished, "right": alike and "goes on from there" in told,
                "message": message, "same": trial.goes_on(out),
            })  # fmt: skip
            print(runs[-1], flush=True)
    rows = counted(runs, "signal", lambda run: run["second"] == 2,
                   itemgetter("right"), itemgetter("same"))  # fmt: skip
    header = ["signal", "runs", "second run refused", "journal left, said so", "same hashes"]
    wrong = sum(not (run["right"] and run["same"]) for run in runs)
    save(
        given.results,
        {"model": given.model, "blocks": BLOCKS, "runs": runs},
        tables=[Table(header, rows)],
        bars=[bar("runs that went wrong", wrong, most=0)],
    )


if __name__ == "__main__":
    main()
