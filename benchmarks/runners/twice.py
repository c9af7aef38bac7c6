"""Run one command of mwanda twice in this process: what the second time takes is not importing.

``twice.py REPORT WORDS…``: the report is JSON, and the process ends as the command did first.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path


def once(words: list[str]) -> tuple[int, float]:
    """Exit code and seconds."""
    from mwanda.cli import main

    start = time.perf_counter()
    try:
        main(words)
    except SystemExit as left:
        code = left.code if isinstance(left.code, int) else 1
    return code, time.perf_counter() - start


def high_water() -> int:
    """Most resident memory so far, bytes; getrusage would count that of the process before exec."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


def run(report: str, words: list[str]) -> int:
    first = once(words)
    found: dict[str, object] = {
        "torch": "torch._C" in sys.modules,
        "resident": high_water(),
        "first": first[1],
    }
    again = once(words)
    found |= {"codes": [first[0], again[0]], "again": again[1]}
    Path(report).write_text(json.dumps(found))
    return first[0]


if __name__ == "__main__":
    sys.exit(run(sys.argv[1], sys.argv[2:]))
