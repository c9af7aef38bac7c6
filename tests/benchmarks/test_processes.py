"""Child processes of the benchmarks, seen from outside."""

from __future__ import annotations

import sys

import pytest

from tests.support import REPOSITORY


def test_the_memory_of_a_child_is_not_that_of_its_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    """What ``wait4`` says begins with the peak of the process that it was forked from."""
    monkeypatch.syspath_prepend(str(REPOSITORY / "benchmarks"))
    from processes import run

    held = bytes(300_000_000)
    child = run([sys.executable, "-c", "import time; time.sleep(0.3); print({})"])
    assert 1_000_000 < child.resident < 100_000_000 < len(held)
    assert child.output == {}
