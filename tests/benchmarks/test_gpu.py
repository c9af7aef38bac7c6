"""The benchmark for an accelerator runs on the pretend one: nothing of it waits for a real one."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.support.pretend.device import Pretend

BENCHMARKS = Path(__file__).parent.parent.parent / "benchmarks"


def test_a_dry_run(counting: Pretend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import gpu

    results = tmp_path / "gpu.json"
    line = ["gpu.py", "--dry", "--work", str(tmp_path / "work"), "--results", str(results)]
    line += ["--tests", "tests/system/test_copies.py"]
    monkeypatch.setattr(sys, "argv", line)
    gpu.main()
    found = json.loads(results.read_text())
    assert found["device"] == "a pretend accelerator"
    assert (found["tests"]["passed"], found["tests"]["failed"]) == (2, [])
    assert [one["differing"] for one in found["masks"]] == [0, 0]
    assert {one["recipe"] for one in found["prunes"]} == {"wanda", "best-quality"}
    assert all(one["met"] for one in found["bars"])
    assert found["evaluation"]["tokens"] > 0
    assert found["left out"] == []
