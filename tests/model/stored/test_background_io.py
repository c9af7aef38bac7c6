"""What is read ahead is what would be read now; what is written behind is written, or said."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import torch

from mwanda.errors import DataError
from mwanda.model.stored.background_io import ReadAhead, WriteBehind
from mwanda.model.stored.reader import Checkpoint
from mwanda.model.stored.shards import plan_shards
from mwanda.model.stored.writer import ShardWriter
from tests.model.helpers import model_folder, same_bytes

TENSORS = {name: torch.full((4, 3), float(k)).bfloat16() for k, name in enumerate("abcd")}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return model_folder(tmp_path / "model", {"model.safetensors": TENSORS})


def test_taken_whether_expected_or_not(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    readers: dict[str, int] = {}
    original = Checkpoint.read

    def noting(self: Checkpoint, name: str, dtype: torch.dtype | None = None) -> torch.Tensor:
        readers[name] = threading.get_ident()
        return original(self, name, dtype)

    monkeypatch.setattr(Checkpoint, "read", noting)
    with Checkpoint.open(folder) as checkpoint:
        ahead = ReadAhead(checkpoint)
        ahead.expect(["a", "b"])
        assert same_bytes(ahead.take("b"), TENSORS["b"])
        assert same_bytes(ahead.take("a", torch.float32), TENSORS["a"].float())
        assert same_bytes(ahead.take("c", torch.float32), TENSORS["c"].float())
        assert readers["a"] == readers["b"] != threading.get_ident()
        assert readers["c"] == threading.get_ident()
        ahead.expect(["a"])
        ahead.expect(["d"])  # what nobody took is forgotten
        assert same_bytes(ahead.take("a"), TENSORS["a"])
        ahead.close()


def test_a_fault_ahead_shows_where_the_tensor_is_wanted(folder: Path) -> None:
    with Checkpoint.open(folder) as checkpoint:
        ahead = ReadAhead(checkpoint)
        ahead.expect(["a", "none"])
        assert same_bytes(ahead.take("a"), TENSORS["a"])
        with pytest.raises(DataError, match="tensor none: expected"):
            ahead.take("none")
        ahead.close()


def writer_of(folder: Path) -> ShardWriter:
    folder.mkdir()
    return ShardWriter(
        folder, plan_shards([(n, t.dtype, t.shape) for n, t in TENSORS.items()], 10**6)
    )


@pytest.mark.parametrize("limit", [1, 10**6])
def test_everything_is_written_when_the_block_ends(
    folder: Path, tmp_path: Path, limit: int
) -> None:
    with (
        Checkpoint.open(folder) as source,
        writer_of(tmp_path / "out") as writer,
        WriteBehind(writer, limit) as behind,
    ):
        behind.copy("d", source)
        for name in "abc":
            behind.write(name, TENSORS[name])
    (tmp_path / "out" / "config.json").write_text("{}")
    with Checkpoint.open(tmp_path / "out") as written:
        assert all(same_bytes(written.read(name), TENSORS[name]) for name in "abcd")


def test_no_more_waits_than_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go, size, most = threading.Event(), TENSORS["a"].nbytes, []
    original = ShardWriter.write

    def slow(self: ShardWriter, name: str, tensor: torch.Tensor) -> None:
        go.wait(10)
        original(self, name, tensor)

    monkeypatch.setattr(ShardWriter, "write", slow)
    with writer_of(tmp_path / "out") as writer, WriteBehind(writer, 2 * size) as behind:
        behind.write("a", TENSORS["a"])
        behind.write("b", TENSORS["b"])
        waiting = threading.Thread(target=lambda: behind.write("c", TENSORS["c"]))
        waiting.start()
        waiting.join(0.2)
        most.append(waiting.is_alive())
        go.set()
        waiting.join(10)
        behind.write("d", TENSORS["d"])
    assert most == [True]


def test_a_failed_write_is_raised_and_nothing_more_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[str] = []

    def failing(self: ShardWriter, name: str, tensor: torch.Tensor) -> None:
        tried.append(name)
        raise DataError("disk", expected="room", found="none")

    monkeypatch.setattr(ShardWriter, "write", failing)

    def work() -> None:
        with writer_of(tmp_path / "out") as writer, WriteBehind(writer, 1) as behind:
            for name in "abcd":
                behind.write(name, TENSORS[name])

    with pytest.raises(DataError, match="disk: expected room"):
        work()
    assert tried[0] == "a"
    assert "d" not in tried
