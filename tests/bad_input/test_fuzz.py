"""Whatever a parser meets, only our own errors come out.

``benchmarks/faults/fuzz.py`` goes on for minutes where this takes seconds.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from tests.bad_input.fuzzers import TARGETS, meet
from tests.bad_input.place import Place


@pytest.mark.parametrize("name", TARGETS)
def test_only_our_own_errors_come_out(good: Place, tmp_path: Path, name: str) -> None:
    target = TARGETS[name]

    @seed(0)
    @settings(max_examples=60, database=None, suppress_health_check=list(HealthCheck))
    @given(value=target.values(good))
    def run(value: object) -> None:
        meet(target, tmp_path / "at", value)

    run()


def test_something_else_than_our_own_errors_would_come_out(good: Place, tmp_path: Path) -> None:
    from tests.bad_input.fuzzers import Target

    def read(_folder: Path, value: object) -> None:
        if isinstance(value, bytes) and value[:1] > b"\x80":
            raise LookupError("not ours")

    target = Target(lambda _place: st.binary(), read)

    @settings(max_examples=300, database=None)
    @given(value=target.values(good))
    def run(value: object) -> None:
        meet(target, tmp_path / "at", value)

    with pytest.raises(LookupError):
        run()
