"""Run one command of mwanda twice in this process: what the second time takes is not importing.

``twice.py REPORT WORDS…``: the report is JSON, and the process ends as the command did first.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path


def once(words: tuple[str, ...]) -> tuple[int, float]:
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


def main(report: str, *words: str) -> int:
    code, _ = once(words)
    found = {"torch": "torch._C" in sys.modules, "resident": high_water()}
    second, again = once(words)
    Path(report).write_text(json.dumps(found | {"codes": [code, second], "again": again}))
    return code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
