"""The benchmark for an accelerator runs on the pretend one: nothing of it waits for a real one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.pretend.device import KIND, Pretend

ROOT = Path(__file__).parent.parent.parent


def test_a_dry_run(counting: Pretend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All but the tests, which this suite runs anyway."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import gpu

    results = tmp_path / "gpu.json"
    line = ["gpu.py", "--dry", "--work", str(tmp_path / "work"), "--results", str(results)]
    monkeypatch.setattr(sys, "argv", [*line, "--tests"])
    gpu.main()
    found = json.loads(results.read_text())
    assert found["device"] == "a pretend accelerator"
    assert [one["differing"] for one in found["masks"]] == [0, 0]
    assert {one["recipe"] for one in found["prunes"]} == {"wanda", "best-quality"}
    assert all(one["met"] for one in found["bars"])
    assert found["evaluation"]["tokens"] > 0
    assert found["left out"] == []


def test_tests_on_a_device_are_run_and_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    from device_tests import TESTS, run_tests

    assert all((ROOT / name).is_file() for name in TESTS)
    lines = []

    def run(line: list[str], *, env: dict[str, str], **_: Any) -> Any:
        lines.append((line, env["MWANDA_TEST_DEVICE"]))
        told = next(word for word in line if word.startswith("--junitxml=")).partition("=")[2]
        Path(told).write_text(
            "<testsuites><testsuite>"
            '<testcase classname="tests.a" name="one"/>'
            '<testcase classname="tests.a" name="two"><skipped/></testcase>'
            '<testcase classname="tests.b" name="three"><failure>why</failure></testcase>'
            "</testsuite></testsuites>"
        )
        return subprocess.CompletedProcess(line, 1, "", "")

    monkeypatch.setattr(subprocess, "run", run)
    found = run_tests(KIND, ["tests/x.py"], tmp_path, 9.0)
    assert (found["passed"], found["skipped"], found["failed"]) == (1, 1, ["tests.b::three"])
    assert lines[0][0][-1] == "tests/x.py"
    assert lines[0][1] == KIND
