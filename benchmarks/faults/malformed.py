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
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

sys.path.extend(map(str, Path(__file__).parents[1:3]))  # the other benchmarks, and the tests

from tests.bad_input.place import Place
from tests.bad_input.table import CASES
from tests.cli.helpers import tree

from harness import Table, bar, kept, options_of, parsed, save
from processes import environment

TWICE = Path(__file__).absolute().parents[1] / "runners" / "twice.py"


def tell(case: Any, good: Any, root: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Make one wrong input, give it to its command, and look at the process from outside.

    Returns:
        ``seconds`` of the process, and ``again`` of the command when all is imported; ``resident``
        bytes; whether ``torch`` was loaded; ``as_expected``: its exit code, the expected words in
        so many lines, no traceback, twice; ``clean``: nothing left behind, nothing changed.
    """
    root.mkdir()
    place = good.at(root)
    words = [*map(str, case.make(place)), "-q"]
    before = tree(root)
    report = root.with_suffix(".json")
    line = [sys.executable, str(TWICE), str(report), *words]
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
    told = {key: found[key] for key in ("again", "resident", "torch")}
    return {"name": case.name, "code": ran.returncode, "seconds": seconds, **told,
            "as_expected": as_expected, "clean": clean}  # fmt: skip


def main() -> None:
    given = parsed(options_of(__doc__, "malformed"))
    with tempfile.TemporaryDirectory(dir=given.work) as work:
        good = Place.make(Path(work).absolute() / "good")
        before = tree(good.good)
        told = []
        # No process can be given a NUL, nor a call of the library; the tests try these within one.
        chosen = [c for c in CASES if "\\x00" not in c.name and not c.name.startswith("call:")]
        for number, case in enumerate(chosen):
            place = good.good.parent / f"{number:03d}"
            path = given.work / "told" / f"{quote(case.name, safe='')}.json"
            told.append(kept(path, partial(tell, case, good, place, given)))
            print(f"{told[-1]['seconds']:6.2f} s  {case.name}", flush=True)
        sources = tree(good.good) == before
    report(told, sources, given.results)


def report(told: list[dict[str, Any]], sources: bool, path: Path) -> None:
    kinds: dict[str, list[dict[str, Any]]] = {}
    for one in told:
        kinds.setdefault(one["name"].partition(":")[0], []).append(one)
    rows = [
        [kind, str(len(ones)), str(sum(one["as_expected"] for one in ones)),
         str(sum(not one["torch"] for one in ones)),
         f"{statistics.median(one['seconds'] for one in ones):.2f}",
         f"{max(one['again'] for one in ones):.2f}",
         f"{max(one['resident'] for one in ones) / 1e6:,.0f}"]
        for kind, ones in kinds.items()
    ]  # fmt: skip
    header = ["kind", "inputs", "refused as expected", "without torch", "median s, imports and all",
              "most without importing, s", "most memory, MB"]  # fmt: skip
    wrong = [one for one in told if not one["as_expected"]]
    spoilt = [one for one in told if not one["clean"]]
    again, resident = (max(one[key] for one in told) for key in ("again", "resident"))
    save(
        path,
        {"cases": told},
        tables=[Table(header, rows)],
        bars=[
            bar("inputs not refused as expected", len(wrong), most=0),
            bar("files left or changed", len(spoilt) + (not sources), most=0),
            bar("most seconds without importing", again, most=1.0),
            bar("most resident MB", resident / 1e6, most=500),
        ],
    )
    for one in [*wrong, *spoilt]:
        print(f"{one['name']}: exit code {one['code']}")


if __name__ == "__main__":
    main()
