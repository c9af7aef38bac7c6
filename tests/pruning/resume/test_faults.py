"""Disks that fill up or fail, memory that runs out, shards that change, values that are none."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import mwanda
from mwanda import DataError, MwandaError
from mwanda.model.run.decoder import Decoder
from mwanda.pruning import journal
from mwanda.system import durable
from mwanda.system.refusals import named
from tests.cli.helpers import wait_for
from tests.pruning.pipeline.helpers import Tiny, windows_file
from tests.pruning.resume.helpers import Task, made, steps_of
from tests.support.failpoints import Steps, eager, stop_with
from tests.support.forked import Forked

DENSE: dict[str, Any] = {"mode": "dense", "allocation": "owl", "criterion": "m-wanda"}
SEQUENTIAL: dict[str, Any] = {"mode": "sequential", "allocation": "uniform", "criterion": "wanda"}


def pace() -> None:
    """A journal with an entry for every block."""
    journal.SHARE = journal.PATIENCE = 0.0


def task_of(tiny: Tiny, folder: Path, fields: dict[str, Any], source: Path | None = None) -> Task:
    folder.mkdir(exist_ok=True)
    text = {"calibration": windows_file(folder)}
    return Task(mwanda.prune, source or tiny("llama"), text | fields, {})


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO], ids=["full", "failing"])
def test_a_disk_that_gives_out_at_every_step(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """A clear error, nothing under the final name, and a run that goes on once there is room."""
    eager(monkeypatch)
    task = task_of(tiny, tmp_path / "text", DENSE)
    steps = steps_of(task, tmp_path / "undisturbed", monkeypatch)
    wanted = made(tmp_path / "undisturbed")
    last = [(step, path.name) for step, path in steps].index(("renamed", "undisturbed"))
    out = tmp_path / "place" / "out"
    for stop in range(1, last + 1, 5):
        out.parent.mkdir()
        act = stop_with(OSError(number, os.strerror(number)))
        with monkeypatch.context() as patched:
            patched.setattr(durable, "reached", Steps(stop, act))
            with pytest.raises(MwandaError) as caught:
                task(out)
        assert caught.value.exit_code == 1
        assert os.strerror(number) in str(caught.value)
        assert "run again" in str(caught.value)
        assert not out.exists()
        task(out)
        assert made(out) == wanted
        shutil.rmtree(out.parent)


@pytest.mark.parametrize("share", [0.1, 0.6, 0.95])
@pytest.mark.parametrize("fields", [DENSE, SEQUENTIAL], ids=["dense", "sequential"])
def test_a_file_that_cannot_grow(
    tiny: Tiny, tmp_path: Path, fields: dict[str, Any], share: float
) -> None:
    """The kernel itself refuses to write past a size."""
    task = task_of(tiny, tmp_path / "text", fields)
    size = (tiny("llama") / "model.safetensors").stat().st_size
    out = tmp_path / "place" / "out"
    out.parent.mkdir()
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(size * share),) * 2)
        try:
            task(out)
        except MwandaError as error:
            os._exit(10 if "File too large" in str(error) else 11)
        finally:
            os._exit(12)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 10
    assert not out.exists()
    task(out)
    assert [path.name for path in out.parent.iterdir()] == ["out"]


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)], ids=["TERM", "INT"]
)
def test_a_signal_leaves_the_journal(
    tiny: Tiny, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    """And a line that says how to go on; then it does, to the same bytes."""
    source, windows = tiny("llama", layers=12), windows_file(tmp_path, counts={"de": (60, 64)})
    words = ["prune", source, "-q", "--calibration", windows, "--mode", "sequential", "--out"]
    place = tmp_path / "place"
    place.mkdir()

    def start(out: str) -> Forked:
        return Forked(*words, out, cwd=place, before=pace)

    with start("out") as running:
        wait_for(".out.partial/work/journal.json", place, running)
        running.send_signal(number)
        out, err = running.communicate(timeout=60)
    assert (running.returncode, out) == (code, "")
    assert "Traceback" not in err
    assert "the same command goes on from there" in err
    assert len(err.splitlines()) == (2 if number == signal.SIGINT else 1)
    assert [path.name for path in place.iterdir()] == [".out.partial"]
    for name in ("out", "undisturbed"):
        with start(name) as running:
            assert running.wait(timeout=120) == 0
    assert made(place / "out") == made(place / "undisturbed")
    assert sorted(path.name for path in place.iterdir()) == ["out", "undisturbed"]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("fields", [DENSE, SEQUENTIAL], ids=["dense", "sequential"])
def test_a_weight_that_is_no_number_is_named(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any], bad: float
) -> None:
    """By the linear it is in, whose name says the block, and not by one that it spoils later."""
    eager(monkeypatch)
    source = Path(shutil.copytree(tiny("llama"), tmp_path / "source"))
    tensors = load_file(source / "model.safetensors")
    tensors["model.layers.1.mlp.down_proj.weight"][3, 5] = bad
    save_file(tensors, source / "model.safetensors", {"format": "pt"})
    with pytest.raises(DataError, match=r"linear model\.layers\.1\.mlp\.down_proj"):
        task_of(tiny, tmp_path / "text", fields, source)(tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("fields", [DENSE, SEQUENTIAL], ids=["dense", "sequential"])
def test_an_activation_that_is_no_number_is_named(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any]
) -> None:
    source = Path(shutil.copytree(tiny("llama"), tmp_path / "source"))
    tensors = load_file(source / "model.safetensors")
    tensors["model.layers.1.post_attention_layernorm.weight"][:] = float("nan")
    save_file(tensors, source / "model.safetensors", {"format": "pt"})
    with pytest.raises(DataError, match=r"block 1, linear model\.layers\.1\.mlp\.gate_proj"):
        task_of(tiny, tmp_path / "text", fields, source)(tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("same_time", [False, True])
def test_a_shard_replaced_meanwhile_is_named(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, same_time: bool
) -> None:
    """Also by one of the same size and time of change."""
    source = Path(shutil.copytree(tiny("llama"), tmp_path / "source"))
    shard, count = source / "model.safetensors", 0
    original = Decoder.run_block

    def replacing(self: Decoder, index: int, *rest: Any) -> torch.Tensor:
        nonlocal count
        count += 1
        if count == 5:
            status = shard.stat()
            shutil.copyfile(shard, source / "new")
            if same_time:
                os.utime(source / "new", ns=(status.st_atime_ns, status.st_mtime_ns))
            os.replace(source / "new", shard)
        return original(self, index, *rest)

    monkeypatch.setattr(Decoder, "run_block", replacing)
    with pytest.raises(DataError, match=r"model\.safetensors: expected the shard as it was"):
        task_of(tiny, tmp_path / "text", SEQUENTIAL, source)(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_shard_that_cannot_be_read_is_named(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the run goes on once it can."""
    eager(monkeypatch)
    task = task_of(tiny, tmp_path / "text", SEQUENTIAL)
    task(tmp_path / "undisturbed")
    original = os.preadv
    entries = tmp_path / ".out.partial" / "work" / "journal.json"

    def failing(*given: Any) -> int:
        if entries.exists():
            raise OSError(errno.EIO, "Input/output error")
        return original(*given)

    with monkeypatch.context() as patched:
        patched.setattr(os, "preadv", failing)
        with pytest.raises(DataError, match="Input/output error"):
            task(tmp_path / "out")
    assert entries.exists()
    task(tmp_path / "out")
    assert made(tmp_path / "out") == made(tmp_path / "undisturbed")


MEMORY: list[Exception] = [
    MemoryError(),
    RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory"),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    OSError(errno.ENOMEM, "Cannot allocate memory"),
    RuntimeError("can't start new thread"),
]


@pytest.mark.parametrize("error", MEMORY, ids=lambda error: type(error).__name__)
def test_memory_that_runs_out_says_what_to_change(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def starved(*_: Any) -> torch.Tensor:
        raise error

    monkeypatch.setattr(Decoder, "run_block", starved)
    with pytest.raises(MwandaError, match="--activation-memory or --batch-tokens") as caught:
        task_of(tiny, tmp_path / "text", SEQUENTIAL)(tmp_path / "out")
    assert caught.value.exit_code == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["text"]


def test_other_errors_are_not_explained_away() -> None:
    here = Path("x")
    others = [ValueError("x"), RuntimeError("shapes"), OSError(errno.ENOENT, "x"), KeyError()]
    assert [named(error, here) for error in others] == [None] * 4
    assert named(MwandaError("x"), here) is None
    copied = OSError(errno.ENOSPC, "No space left on device", "source", None, "target")
    assert str(named(copied, here)).startswith("target: expected room on the disk")
    assert "x: expected room on the disk" in str(named(OSError(errno.EDQUOT, "quota"), here))


@pytest.mark.parametrize("family", ["llama", "gemma3"])
@pytest.mark.parametrize("batch_tokens", [1, 24, 100, 10_000])
def test_batches_move_a_sum_in_its_last_bits_only(
    tiny: Tiny, tmp_path: Path, family: str, batch_tokens: int
) -> None:
    """What goes into a choice of masks differs by rounding where batches do, so a journal goes on
    with the same batches only; with the same, every bit is the same."""
    windows = windows_file(tmp_path)

    def sums(name: str, tokens: int) -> dict[str, torch.Tensor]:
        out, options = tmp_path / name, mwanda.RunOptions(device="cpu", batch_tokens=tokens)
        mwanda.collect_statistics(tiny(family), out, calibration=windows, options=options)
        return load_file(out)

    one = sums("one.safetensors", 48)
    again = sums("again.safetensors", 48)
    other = sums("other.safetensors", batch_tokens)
    for name, tensor in one.items():
        assert torch.equal(again[name], tensor)
        if name.endswith("|square"):
            torch.testing.assert_close(other[name], tensor, rtol=1e-5, atol=0.0)
        elif name.endswith("|tokens"):
            assert torch.equal(other[name], tensor)
        else:  # counts: a value at the very edge may fall on either side
            assert (other[name] - tensor).abs().max() <= 1


@pytest.mark.parametrize("fields", [{"criterion": "magnitude", "allocation": "uniform"}])
def test_without_text_nothing_moves_at_all(
    tiny: Tiny, tmp_path: Path, fields: dict[str, Any], many_threads: Callable[[int], None]
) -> None:
    outs = []
    for threads, batch_tokens in ((1, 24), (2, 1000)):
        many_threads(threads)
        outs.append(tmp_path / str(threads))
        options = mwanda.RunOptions(device="cpu", batch_tokens=batch_tokens)
        mwanda.prune(tiny("llama"), out=outs[-1], options=options, **fields)
    assert made(outs[0]) == made(outs[1])


@pytest.fixture
def many_threads() -> Any:
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)
