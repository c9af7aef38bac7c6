"""What goes into the store comes out, from memory or from disk."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
import torch

from mwanda.errors import DataError
from mwanda.model.run.hidden_states import ActivationStore

CPU = torch.device("cpu")
DTYPES = [torch.float32, torch.bfloat16, torch.float16, torch.float64]


def tensors(dtype: torch.dtype) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = [(2, 5, 8), (1, 5, 8), (2, 3, 8), (1, 1, 8)]
    return [torch.randn(*shape, generator=generator).to(dtype) for shape in shapes]


@pytest.mark.parametrize("limit", [0, 100, 500, 10**9])
@pytest.mark.parametrize("dtype", DTYPES)
def test_round_trip_and_replacement(tmp_path: Path, dtype: torch.dtype, limit: int) -> None:
    given = tensors(dtype)
    with ActivationStore(limit, tmp_path, CPU) as store:
        for tensor in given:
            store.append(tensor)
        assert len(store) == len(given)
        held = sum(tensor.nbytes for tensor in given) - store.spilled
        assert held <= limit
        assert bool(store.spilled) is bool(list(tmp_path.iterdir()))
        for index in (2, 0, 3, 1):
            assert torch.equal(store[index], given[index])
            assert store[index].dtype == dtype
        for index in (3, 1, 0, 2):
            store[index] = given[index] * 2
        assert all(torch.equal(store[index], tensor * 2) for index, tensor in enumerate(given))
        assert store.spilled == sum(t.nbytes for t in given) - held
    assert not list(tmp_path.iterdir())


def test_the_order_of_memory_does_not_matter(tmp_path: Path) -> None:
    turned = torch.randn(2, 8, 5).transpose(1, 2)
    with ActivationStore(0, tmp_path, CPU) as store:
        store.append(turned)
        assert torch.equal(store[0], turned)


@pytest.mark.parametrize("limit", [0, 10**6])
def test_another_shape_or_dtype_is_refused(tmp_path: Path, limit: int) -> None:
    with ActivationStore(limit, tmp_path, CPU) as store:
        store.append(torch.zeros(1, 2, 3))
        for wrong in (torch.zeros(1, 2, 4), torch.zeros(1, 2, 3, dtype=torch.float64)):
            with pytest.raises(DataError, match="activations of batch 0: expected"):
                store[0] = wrong


def test_the_file_goes_away_after_an_error(tmp_path: Path) -> None:
    def work() -> None:
        with ActivationStore(0, tmp_path, CPU) as store:
            store.append(torch.zeros(1, 2, 3))
            assert list(tmp_path.iterdir())
            raise RuntimeError

    with pytest.raises(RuntimeError):
        work()
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with ActivationStore(0, tmp_path, CPU) as store:
        store.append(torch.zeros(1, 2, 3))
        monkeypatch.setattr(os, "posix_fallocate", full)
        with pytest.raises(DataError, match=r"room for 24 more bytes .* No space left on device"):
            store.append(torch.ones(1, 2, 3))
        monkeypatch.undo()
        store[0] = torch.ones(1, 2, 3)  # what has its place can still be replaced
        assert torch.equal(store[0], torch.ones(1, 2, 3))


def test_pages_of_earlier_entries_are_given_back(tmp_path: Path) -> None:
    """Otherwise the mapped file would be resident memory that grows with the text."""
    status = Path("/proc/self/status")
    if not status.is_file():
        pytest.skip("only Linux tells")

    def mapped() -> int:
        line = next(x for x in status.read_text().splitlines() if x.startswith("RssFile:"))
        return int(line.split()[1]) * 1024

    entry = torch.ones(1, 1024, 512)
    before = mapped()
    with ActivationStore(0, tmp_path, CPU) as store:
        for _ in range(32):
            store.append(entry)
        assert all(float(store[index].sum()) == entry.numel() for index in range(32))
        assert store.spilled == 32 * entry.nbytes
        assert mapped() - before < 6 * entry.nbytes
