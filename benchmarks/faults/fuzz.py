"""Does anything but our own errors come out of a parser that meets changed bytes or structure?

The parsers and the strategies are those of ``tests/bad_input/fuzzers.py``. Round after round each
gets some hundred inputs, drawn by hypothesis from a seed that is the round's number, until the CPU
time is used up; the log names every round, and ``--first ROUND --minutes 0`` draws it again.
"""

from __future__ import annotations

import sys
import tempfile
import time
import traceback
from itertools import count
from pathlib import Path
from typing import Any

sys.path.extend(map(str, Path(__file__).parents[1:3]))  # the other benchmarks, and the tests

from hypothesis import HealthCheck, given, seed, settings
from tests.bad_input.fuzzers import TARGETS, meet
from tests.bad_input.place import Place

from harness import Table, bar, options_of, parsed, save

EXAMPLES = 200
"""Inputs of a parser and round."""


def fuzz(
    name: str, good: Any, folder: Path, number: int, met: list[tuple[bool, float]]
) -> str | None:
    """One round of one parser: what came out of it that is none of our errors. Whether each input
    was taken, and its seconds, go to ``met``."""
    target = TARGETS[name]

    @seed(number)
    @settings(max_examples=EXAMPLES, deadline=None, database=None, print_blob=True,
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(value=target.values(good))
    def run(value: object) -> None:
        start = time.process_time()
        taken = meet(target, folder, value)
        met.append((taken, time.process_time() - start))

    try:
        run()
    except Exception:  # noqa: BLE001 - whatever comes out is what is looked for
        text = traceback.format_exc()
        print(f"CRASH {name}, round {number}\n{text}", flush=True)
        return f"round {number}: {text.strip().splitlines()[-1][:300]}"
    return None


def main() -> None:
    parser = options_of(__doc__, "fuzz")
    parser.add_argument("--minutes", type=float, default=10, help="of CPU time")
    parser.add_argument("--first", type=int, default=1, help="number of the first round")
    given_ = parsed(parser)
    inputs: dict[str, list[tuple[bool, float]]] = {name: [] for name in TARGETS}
    crashes: dict[str, list[str]] = {}
    with tempfile.TemporaryDirectory(dir=given_.work) as work:
        good = Place.make(Path(work).absolute() / "good")
        start = time.process_time()
        for number in count(given_.first):
            for name, met in inputs.items():
                if crash := fuzz(name, good, Path(work) / "at", number, met):
                    crashes.setdefault(name, []).append(crash)
            used = (time.process_time() - start) / 60
            total = sum(map(len, inputs.values()))
            print(f"round {number}: {used:.2f} CPU-minutes, {total:,} inputs", flush=True)
            if used >= given_.minutes:
                break
    rows = []
    for name, met in inputs.items():
        taken, seconds = zip(*met, strict=True)
        rows.append([name, f"{len(met):,}", f"{sum(taken):,}", f"{sum(seconds):.0f}",
                     f"{max(seconds):.2f}", str(len(crashes.get(name, ())))])  # fmt: skip
    header = ["parser", "inputs", "taken", "CPU s", "longest, s", "other errors"]
    save(
        given_.results,
        {"rounds": [given_.first, number], "cpu_minutes": used, "crashes": crashes},
        tables=[Table(header, rows)],
        bars=[
            bar("CPU-minutes", used, least=given_.minutes),
            bar("errors that are not our own", sum(map(len, crashes.values())), most=0),
        ],
    )


if __name__ == "__main__":
    main()
