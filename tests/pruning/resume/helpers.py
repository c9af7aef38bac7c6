"""Runs that are stopped and gone on with, and what they must end in."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import mwanda
from mwanda.system import durable
from tests.support.failpoints import Steps, killed_at

Made = dict[str, bytes | dict[str, Any]]


def made(out: Path) -> Made:
    """Every file of an output; of what is said of the run, all but how long it took."""
    if out.is_file():
        return {out.name: _untimed_header(out.read_bytes())}
    found: Made = {}
    for path in sorted(out.rglob("*")):
        if path.is_file():
            name, raw = path.relative_to(out).as_posix(), path.read_bytes()
            found[name] = json.loads(raw) | {"seconds": {}} if name == "mwanda.json" else raw
    return found


def _untimed_header(raw: bytes) -> dict[str, Any]:
    size = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + size])
    record = json.loads(header["__metadata__"]["mwanda"])
    record.get("manifest", record)["seconds"] = {}
    return {"header": header | {"__metadata__": record}, "tensors": raw[8 + size :]}


@dataclass(frozen=True)
class Task:
    """Something that writes an output, and can be told to write it elsewhere."""

    run: Callable[..., object]
    source: Path
    fields: dict[str, Any]
    options: dict[str, Any]
    name: str = "out"

    def __call__(self, out: Path, **more: Any) -> Any:
        options = mwanda.RunOptions(**{"device": "cpu", "batch_tokens": 24, **self.options, **more})
        return self.run(self.source, out=out, options=options, **self.fields)


def steps_of(task: Task, out: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Path]]:
    """Every sync and rename of an undisturbed run."""
    steps = Steps()
    with monkeypatch.context() as patched:
        patched.setattr(durable, "reached", steps)
        task(out)
    return steps.seen


def kill_and_go_on(task: Task, folder: Path, stop: int, made: Callable[[Path], Any] = made) -> Any:
    """What there is after a run killed at a step and started again; nothing else is left."""
    out = folder / task.name
    assert killed_at(stop, lambda: task(out))
    # With the output in its place there is nothing to go on with but to tidy up.
    task(out, overwrite=out.exists())
    assert [path.name for path in folder.iterdir()] == [task.name]
    return made(out)
