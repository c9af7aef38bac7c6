"""One run at a time writes an output; a lock that nobody holds is stale."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import mwanda
from mwanda import InputError
from mwanda.system.output import OutputFile, OutputFolder
from tests.pruning.pipeline.helpers import Tiny


@contextmanager
def writing(target: Path) -> Iterator[int]:
    """Another process that is at work on an output; its number."""
    ready, begun = os.pipe()
    child = os.fork()
    if child == 0:  # nothing of the tests' own goes on here
        try:
            with OutputFolder(target, overwrite=True) as folder:
                (folder / "a").touch()
                os.write(begun, b"x")
                time.sleep(600)
        finally:
            os._exit(1)
    os.close(begun)
    try:
        assert os.read(ready, 1) == b"x"
        yield child
    finally:
        os.close(ready)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def jobs(source: Path, out: Path) -> dict[str, Callable[[], object]]:
    """Everything that writes an output, and where."""
    archive = out.parent / "a.mwz"
    mwanda.pack(source, archive)
    return {
        "prune": lambda: mwanda.prune(source, out=out, criterion="magnitude", allocation="uniform"),
        "masks": lambda: mwanda.prune(
            source, out=out.with_suffix(".safetensors"), masks_only=True, criterion="magnitude",
            allocation="uniform",
        ),
        "pack": lambda: mwanda.pack(source, out.with_suffix(".mwz")),
        "unpack": lambda: mwanda.unpack(archive, out),
    }  # fmt: skip


@pytest.mark.parametrize("job", ["prune", "masks", "pack", "unpack"])
def test_the_second_run_is_refused(tiny: Tiny, tmp_path: Path, job: str) -> None:
    names = {"prune": "out", "masks": "out.safetensors", "pack": "out.mwz", "unpack": "out"}
    work = jobs(tiny("llama"), tmp_path / "out")[job]
    with writing(tmp_path / names[job]) as process:
        with pytest.raises(InputError) as caught:
            work()
        for part in (names[job], "expected no other run that writes it", f"process {process} on"):
            assert part in str(caught.value)
        assert (tmp_path / f".{names[job]}.partial" / "output" / "a").exists()
    # Killed, it left its lock behind, which is nobody's now.
    assert (tmp_path / f".{names[job]}.partial" / "lock").exists()
    work()
    assert {path.name for path in tmp_path.iterdir()} == {"a.mwz", names[job]}


def test_even_in_one_process(tmp_path: Path) -> None:
    with OutputFolder(tmp_path / "out", overwrite=False) as folder:
        (folder / "a").touch()
        second = OutputFolder(tmp_path / "out", overwrite=False)
        for refused in (second.check, second.__enter__):
            with pytest.raises(InputError, match=f"process {os.getpid()} on"):
                refused()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_what_is_left_of_a_removal_is_taken_over(tmp_path: Path) -> None:
    """A process can end at any moment, also while it tidies up."""
    partial = tmp_path / ".out.partial"
    for left in ((), ("lock",), ("lock", "scratch")):
        for name in left:
            (partial / name).mkdir(parents=True) if name != "lock" else None
        partial.mkdir(exist_ok=True)
        if "lock" in left:
            (partial / "lock").touch()
        with OutputFolder(tmp_path / "out", overwrite=True) as folder:
            (folder / "mwanda.json").write_text('{"files": {}}')
        assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_two_names_do_not_wait_for_each_other(tmp_path: Path) -> None:
    made = [
        OutputFile(
            tmp_path / f"{name}.x", suffix=".x", what="x", is_ours=lambda _: True, overwrite=False
        )
        for name in "ab"
    ]
    with made[0] as one, made[1] as two:
        assert one != two
