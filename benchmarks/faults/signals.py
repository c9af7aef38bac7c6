"""Two runs on one output, and signals in the middle of one.

While a prune is at work a second one with the same ``--out`` must say so and end; the first is then
stopped by SIGTERM or SIGINT once a block is finished, must leave nothing under the final name and
say how to go on, and the same command must end in the hashes of an undisturbed run.
"""

from __future__ import annotations

import signal
import time
from functools import partial
from typing import Any

from forks import (
    Child,
    entries_of,
    fault_options,
    fields,
    fresh,
    hashes,
    pace,
    prune_words,
    undisturbed,
)

from harness import Table, bar, save

SIGNALS = {"SIGTERM": (signal.SIGTERM, 143), "SIGINT": (signal.SIGINT, 130)}


def main() -> None:
    parser = fault_options(__doc__, "signals", "en,de,fr")
    parser.add_argument("--blocks", type=int, default=6, help="only the first so many")
    parser.add_argument("--rounds", type=int, default=5, help="of each signal")
    given = parser.parse_args()
    words = prune_words(given, given.blocks, (2, 64))
    pace(0.0, 0.0)
    log, second_log = given.work / "signals.log", given.work / "second.log"
    whole = undisturbed(words, given.work / "signals", log)
    wanted = hashes(whole)
    runs: list[dict[str, Any]] = []
    for name, (number, code) in SIGNALS.items():
        for _ in range(given.rounds):
            out = fresh(given.work / "signals") / "out"
            first = Child([*words, "--out", out], log)
            first.until(partial(entries_of, out))
            second = Child([*words, "--out", out], second_log).wait()
            start = time.monotonic()
            ended = first.kill(number)
            seconds = time.monotonic() - start
            finished, there = entries_of(out), out.exists()
            said = log.read_text().strip()
            again = Child([*words, "--out", out], log).wait()
            same = again == 0 and hashes(out) == wanted
            right = (ended, second, there) == (code, 2, False) and "goes on from there" in said
            message = second_log.read_text().replace(str(out), "OUT").strip()
            runs.append(
                fields(
                    signal=name, second=second, ended=ended, to_end=seconds, finished=finished,
                    right=right, same=same, message=message,
                )
            )  # fmt: skip
            print(runs[-1], flush=True)
    rows = [
        [name, str(len(some)), str(sum(r["second"] == 2 for r in some)),
         str(sum(r["right"] for r in some)), str(sum(r["same"] for r in some))]
        for name in SIGNALS
        if (some := [run for run in runs if run["signal"] == name])
    ]  # fmt: skip
    header = ["signal", "runs", "second run refused", "journal left, said so", "same hashes"]
    save(
        given.results,
        {"model": given.model, "blocks": given.blocks, "runs": runs},
        tables=[Table(header, rows)],
        bars=[
            bar("runs that went wrong", sum(not (r["right"] and r["same"]) for r in runs), most=0)
        ],
    )


if __name__ == "__main__":
    main()
