"""A run stopped at a chosen sync or rename: killed in a process of its own, or by an error."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from mwanda.pruning import journal
from mwanda.system import durable

__all__ = ["Steps", "eager", "killed_at", "stop_with"]


class Steps:
    """Stands in for :func:`mwanda.system.durable.reached`: counts, and acts at one step."""

    def __init__(self, stop: int = 0, act: Callable[[], None] = lambda: None) -> None:
        self.seen: list[tuple[str, Path]] = []
        self._stop, self._act = stop, act

    def __call__(self, step: str, path: Path) -> None:
        self.seen.append((step, path))
        if len(self.seen) == self._stop:
            self._act()


def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every block gets its entry in the journal, however quick it was. Nothing waits for the disk:
    what a killed process has written stays, synced or not."""
    monkeypatch.setattr(os, "fsync", lambda _descriptor: None)
    monkeypatch.setattr(journal, "SHARE", 0.0)
    monkeypatch.setattr(journal, "PATIENCE", 0.0)


def stop_with(error: BaseException) -> Callable[[], None]:
    """Raise at the step."""

    def act() -> None:
        raise error

    return act


def killed_at(stop: int, work: Callable[[], object]) -> bool:
    """Whether ``work`` was killed with SIGKILL at that step, in a process of its own."""
    child = os.fork()
    if child == 0:  # nothing of the tests' own goes on here
        code = 1
        try:
            durable.reached = Steps(stop, lambda: os.kill(os.getpid(), signal.SIGKILL))
            work()
            code = 0
        except BaseException:  # noqa: BLE001  it ends here, whatever it is
            traceback.print_exc(file=sys.stderr)
        finally:
            os._exit(code)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, -signal.SIGKILL), "the run failed before the step: see its traceback"
    return status != 0
