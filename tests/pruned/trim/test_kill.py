"""A trim that is ended anywhere leaves nothing under its output's name, and is done again by the
same command."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import mwanda
from mwanda.cli import main
from mwanda.pruned.trim import cut, gguf_vocabulary
from tests.pruning.pipeline.helpers import Tiny
from tests.pruning.resume.helpers import Task, kill_and_go_on, made, steps_of
from tests.support.failpoints import eager
from tests.support.gguf_files import gguf_model, write_gguf

KINDS = ("folder", "gguf")


def trim_task(tiny: Tiny, folder: Path, kind: str) -> Task:
    given = {"languages": "de"}
    if kind == "folder":
        return Task(mwanda.trim, tiny("llama"), given, {"max_shard_size": 100_000})
    source = write_gguf(folder / "model.gguf", "llama", gguf_model("llama"))
    return Task(mwanda.trim, source, given, {}, "out.gguf")


@pytest.mark.parametrize("kind", KINDS)
def test_before_and_after_the_rename(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    eager(monkeypatch)
    task = trim_task(tiny, tmp_path, kind)
    (tmp_path / "whole").mkdir()
    steps = steps_of(task, tmp_path / "whole" / task.name, monkeypatch)
    wanted = contents(tmp_path / "whole" / task.name)
    last = next(n for n, (step, _) in enumerate(steps, 1) if step == "rename")
    for stop in (last, last + 1):
        place = tmp_path / str(stop)
        place.mkdir()
        assert kill_and_go_on(task, place, stop, contents) == wanted, steps[stop - 1]


@pytest.mark.parametrize(
    ("kind", "number", "code"),
    [
        ("folder", signal.SIGKILL, -9), ("gguf", signal.SIGKILL, -9),
        ("folder", signal.SIGTERM, 143),
    ],
)  # fmt: skip
def test_in_the_midst_of_the_weights(
    tiny: Tiny, tmp_path: Path, kind: str, number: signal.Signals, code: int
) -> None:
    task = trim_task(tiny, tmp_path, kind)
    place = tmp_path / "place"
    place.mkdir()
    words = ["trim", task.source, "--languages", "de", "--out", place / task.name, "-q"]
    assert ended(words, number) == code
    left = [] if number != signal.SIGKILL else [f".{task.name}.partial"]
    assert [path.name for path in place.iterdir()] == left
    task(place / task.name)
    assert [path.name for path in place.iterdir()] == [task.name]


def ended(words: list[object], number: signal.Signals) -> int:
    """Exit code of a command, in a process of its own, that gets a signal once half of the weights
    are written; minus the signal's number where that ended it."""
    child = os.fork()
    if child == 0:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115  it ends with the process
        reads, data = cut.CutCheckpoint.read_bytes, gguf_vocabulary._data

        def read_bytes(self: cut.CutCheckpoint, name: str, *rest: Any) -> None:
            if "layers.1.mlp" in name:
                os.kill(os.getpid(), number)
            reads(self, name, *rest)

        def pieces(tensor: Any, *rest: Any) -> Iterator[bytes]:
            if tensor.name.startswith("blk.1."):
                os.kill(os.getpid(), number)
            return data(tensor, *rest)

        cut.CutCheckpoint.read_bytes = read_bytes  # type: ignore[method-assign]
        gguf_vocabulary._data = pieces
        code = 99
        try:
            main([str(word) for word in words])
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def contents(out: Path) -> Any:
    """All that was made, for comparison with another run."""
    return out.read_bytes() if out.is_file() else made(out)
