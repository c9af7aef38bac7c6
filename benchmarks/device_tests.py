"""The suite's tests of accelerators, run on one."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import xml.etree.ElementTree as Xml
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
TESTS = (
    "tests/methods/test_on_a_device.py",
    "tests/pruning/pipeline/test_accelerator.py",
    "tests/pruned/recover/test_accelerator.py",
    "tests/study/test_accelerator.py",
    "tests/system/test_copies.py",
    "tests/system/test_device.py",
)
"""Those that run on whatever device MWANDA_TEST_DEVICE names."""


def run_tests(kind: str, files: Sequence[str], work: Path, limit: float) -> dict[str, Any]:
    """How many passed and were skipped on a kind of device in so many seconds, and the names of
    those that failed; their report goes to ``work``."""
    told, start = work / "tests.xml", time.perf_counter()
    told.unlink(missing_ok=True)
    line = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={told}"]
    try:
        ran = subprocess.run(
            [*line, *files], cwd=ROOT, env={**os.environ, "MWANDA_TEST_DEVICE": kind},
            capture_output=True, text=True, check=False, timeout=limit,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return {"passed": 0, "skipped": 0, "failed": [f"not done after {limit:.0f} seconds"]}
    if not told.is_file():
        return {"passed": 0, "skipped": 0, "failed": [(ran.stdout + ran.stderr)[-400:]]}
    cases = [(one, {child.tag for child in one}) for one in Xml.parse(told).iter("testcase")]
    wrong = [f"{one.get('classname')}::{one.get('name')}" for one, ends in cases
             if ends & {"failure", "error"}]  # fmt: skip
    skipped = sum("skipped" in ends for _, ends in cases)
    passed, seconds = len(cases) - len(wrong) - skipped, time.perf_counter() - start
    return {"passed": passed, "skipped": skipped, "failed": wrong, "seconds": seconds}
