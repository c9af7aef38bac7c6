"""What ``benchmarks/gpu.py`` looks at beside time: the suite's tests of accelerators; copies."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import xml.etree.ElementTree as Xml
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from mwanda.system.device import wait_for

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


def count_copies(work: Callable[[], object], device: torch.device, *, dry: bool) -> dict[str, int]:
    """Copies between host and device of some work, as the pretend device or torch's profiler
    counts them."""
    if dry:
        from tests.support.pretend.device import pretend

        with pretend().counted() as copies:
            work()
        return {"to_device": copies.to_device, "to_host": copies.to_host + copies.reads}
    activities = torch.profiler.supported_activities()
    with torch.profiler.profile(activities=activities) as profile:
        work()
        wait_for(device)
    events, names = profile.key_averages(), {"to_device": "HtoD", "to_host": "DtoH"}
    return {
        key: sum(event.count for event in events if part in event.key)
        for key, part in names.items()
    }
