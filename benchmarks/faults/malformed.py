"""What does it cost to be told that an input is wrong?

Every wrong input of ``tests/bad_input/table.py`` meets its command in a process of its own. Kept
are its exit code, whether it said what it has to, whether anything was left behind or changed, the
process's wall time and its largest resident memory. The command runs twice in that process
(``runners/twice.py``): the second time nothing is imported any more, and takes what the refusal
itself takes. What was measured is kept in ``--work`` and not measured again.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent
sys.path += [str(ROOT / "benchmarks"), str(ROOT)]  # the other benchmarks' modules, and the corpus

from harness import Table, bar, options_of, parsed, save  # noqa: E402
from processes import environment  # noqa: E402

# By name: tests are not checked for types.
CASES: Any = import_module("tests.bad_input.table").CASES
Place: Any = import_module("tests.bad_input.place").Place
tree: Any = import_module("tests.cli.helpers").tree

MOST_SECONDS, MOST_MEMORY = 1.0, 500e6
"""Beyond the time to import, and resident."""


@dataclass(frozen=True)
class Told:
    """One wrong input, seen from outside.

    Attributes:
        seconds: of the process; ``again`` of the command when all is imported.
        resident: bytes.
        torch: whether torch was loaded.
        as_expected: its exit code, the expected words in so many lines, no traceback; twice.
        clean: nothing left behind, nothing changed.
    """

    name: str
    code: int
    seconds: float
    again: float
    resident: int
    torch: bool
    as_expected: bool
    clean: bool


def tell(case: Any, good: Any, root: Path, given: argparse.Namespace) -> Told:
    """Make one wrong input and give it to its command."""
    root.mkdir()
    place = good.at(root)
    words = [*map(str, case.make(place)), "-q"]
    before = tree(root)
    report = root.with_suffix(".json")
    line = [given.python, str(ROOT / "benchmarks" / "runners" / "twice.py"), str(report), *words]
    start = time.perf_counter()
    ran = subprocess.run(line, capture_output=True, text=True, cwd=root, check=False,
                         env=environment(given.threads))  # fmt: skip
    seconds = time.perf_counter() - start
    clean = tree(root) == before
    if not report.is_file():
        raise RuntimeError(f"{case.name}: {ran.stderr[-2000:]}")
    found = json.loads(report.read_text())
    said = ran.stderr.splitlines()
    as_expected = (
        found["codes"] == [case.code] * 2
        and not ran.stdout
        and len(said) == 2 * case.lines
        and all(row.startswith("error: ") for row in said)
        and all(part in "\n".join(said[: case.lines]) for part in case.parts(place))
    )
    return Told(case.name, ran.returncode, seconds, found["again"], found["resident"],
                found["torch"], as_expected, clean)  # fmt: skip


def main() -> None:
    parser = options_of(__doc__, "malformed")
    parser.add_argument("--only", default="", help="cases whose name holds this")
    given = parsed(parser)
    given.python = os.path.abspath(given.python)
    with tempfile.TemporaryDirectory(dir=given.work) as work:
        good = Place.make(Path(work).absolute() / "good")
        before = tree(good.good)
        kept = given.work / "told.json"
        known = json.loads(kept.read_text()) if kept.is_file() else {}
        # No process can be given a NUL, nor a call of the library; the tests try these within one.
        named = [c for c in CASES if given.only in c.name and "\\x00" not in c.name]
        chosen = [c for c in named if not c.name.startswith("call:")]
        for number, case in enumerate(chosen):
            if case.name not in known:
                one = tell(case, good, good.good.parent / f"{number:03d}", given)
                known[case.name] = asdict(one)
                kept.write_text(json.dumps(known))
                print(f"{one.seconds:6.2f} s  {case.name}", flush=True)
        sources = tree(good.good) == before
    report([Told(**known[case.name]) for case in chosen], sources, given.results)


def report(told: list[Told], sources: bool, path: Path) -> None:
    kinds: dict[str, list[Told]] = {}
    for one in told:
        kinds.setdefault(one.name.partition(":")[0], []).append(one)
    rows = [
        [kind, str(len(ones)), str(sum(one.as_expected for one in ones)),
         str(sum(not one.torch for one in ones)),
         f"{statistics.median(one.seconds for one in ones):.2f}",
         f"{max(one.again for one in ones):.2f}",
         f"{max(one.resident for one in ones) / 1e6:,.0f}"]
        for kind, ones in kinds.items()
    ]  # fmt: skip
    header = ["kind", "inputs", "refused as expected", "without torch", "median s, imports and all",
              "most without importing, s", "most memory, MB"]  # fmt: skip
    spoilt = sum(not one.clean for one in told) + (not sources)
    save(
        path,
        {"cases": [asdict(one) for one in told]},
        tables=[Table(header, rows)],
        bars=[
            bar("inputs not refused as expected", sum(not o.as_expected for o in told), most=0),
            bar("files left or changed", spoilt, most=0),
            bar("most seconds without importing", max(o.again for o in told), most=MOST_SECONDS),
            bar("most resident MB", max(o.resident for o in told) / 1e6, most=MOST_MEMORY / 1e6),
        ],
    )
    for one in told:
        if not (one.as_expected and one.clean):
            print(f"{one.name}: exit code {one.code}")


if __name__ == "__main__":
    main()
