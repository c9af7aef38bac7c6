"""A model folder written as a stream and seen under its final name only when it is whole."""

from __future__ import annotations

import errno
import json
import os
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import torch

from mwanda.errors import DataError, MwandaError
from mwanda.model.layout import DTYPE_NAMES, byte_view
from mwanda.model.reader import INDEX, SINGLE, Checkpoint

__all__ = ["Shard", "ShardWriter", "plan_shards"]

PIECE = 16 << 20
"""Bytes copied at a time."""


@dataclass(frozen=True)
class Shard:
    """One file to write: its name and what goes into it, in order."""

    name: str
    tensors: tuple[tuple[str, torch.dtype, tuple[int, ...]], ...]


def plan_shards(
    tensors: Iterable[tuple[str, torch.dtype, Sequence[int]]], max_shard_size: int
) -> list[Shard]:
    """Distribute tensors over files of at most ``max_shard_size`` bytes, keeping their order.

    A tensor larger than that gets a file of its own.
    """
    groups: list[list[tuple[str, torch.dtype, tuple[int, ...]]]] = []
    filled = 0
    for name, dtype, shape in tensors:
        size = _nbytes(dtype, shape)
        if not groups or (groups[-1] and filled + size > max_shard_size):
            groups.append([])
            filled = 0
        groups[-1].append((name, dtype, tuple(shape)))
        filled += size
    if len(groups) == 1:
        return [Shard(SINGLE, tuple(groups[0]))]
    count = len(groups)
    return [
        Shard(f"model-{number:05d}-of-{count:05d}.safetensors", tuple(group))
        for number, group in enumerate(groups, 1)
    ]


@dataclass
class _Place:
    file: Path
    descriptor: int
    offset: int
    dtype: torch.dtype
    shape: tuple[int, ...]
    written: bool = False


class ShardWriter:
    """Writes planned shards tensor by tensor, in any order and from any thread.

    Args:
        folder: where the shards go.
        shards: from :func:`plan_shards`.
    """

    def __init__(self, folder: Path, shards: Sequence[Shard]) -> None:
        self._folder = folder
        self._shards = shards
        self._places: dict[str, _Place] = {}
        self._descriptors: list[int] = []
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        try:
            for shard in self._shards:
                self._begin(shard)
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            self._close()

    def write(self, name: str, tensor: torch.Tensor) -> None:
        """Write one tensor; each is written exactly once.

        Raises:
            DataError: unknown, another dtype or shape than planned, or a second time.
            MwandaError: the disk is full.
        """
        place = self._claim(name)
        if tensor.dtype != place.dtype or tuple(tensor.shape) != place.shape:
            raise DataError(
                f"tensor {name}",
                expected=f"{place.dtype} {list(place.shape)}",
                found=f"{tensor.dtype} {list(tensor.shape)}",
            )
        self._put(place, 0, byte_view(tensor.detach().to("cpu").contiguous()))

    def write_from(self, name: str, checkpoint: Checkpoint) -> None:
        """Copy one tensor bit for bit from a checkpoint, in pieces.

        Raises:
            DataError: as :meth:`write`.
        """
        info, place = checkpoint.tensors[name], self._claim(name)
        if info.dtype != place.dtype or info.shape != place.shape:
            raise DataError(
                f"tensor {name}",
                expected=f"{place.dtype} {list(place.shape)}",
                found=f"{info.dtype} {list(info.shape)}",
            )
        buffer = memoryview(bytearray(min(PIECE, info.nbytes)))
        for start in range(0, info.nbytes, PIECE):
            part = buffer[: min(PIECE, info.nbytes - start)]
            checkpoint.read_bytes(name, start, part)
            self._put(place, start, part)

    def _begin(self, shard: Shard) -> None:
        path = self._folder / shard.name
        header: dict[str, object] = {"__metadata__": {"format": "pt"}}
        end = 0
        for name, dtype, shape in shard.tensors:
            size = _nbytes(dtype, shape)
            header[name] = {
                "dtype": DTYPE_NAMES[dtype],
                "shape": list(shape),
                "data_offsets": [end, end + size],
            }
            end += size
        raw = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        raw += b" " * (-len(raw) % 8)
        start = 8 + len(raw)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
        self._descriptors.append(descriptor)
        try:
            # Reserve the room now: a full disk shows before the work and not after it.
            os.posix_fallocate(descriptor, 0, start + end)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
                raise _disk_error(path, error) from error
            os.ftruncate(descriptor, start + end)
        offset = start
        for name, dtype, shape in shard.tensors:
            self._places[name] = _Place(path, descriptor, offset, dtype, shape)
            offset += _nbytes(dtype, shape)
        _write_all(path, descriptor, 0, memoryview(len(raw).to_bytes(8, "little") + raw))

    def _claim(self, name: str) -> _Place:
        with self._lock:
            place = self._places.get(name)
            if place is None or place.written:
                found = "a second write" if place is not None else "an unplanned tensor"
                raise DataError(f"tensor {name}", expected="one write of it", found=found)
            place.written = True
            return place

    def _put(self, place: _Place, start: int, data: memoryview) -> None:
        _write_all(place.file, place.descriptor, place.offset + start, data)

    def _finish(self) -> None:
        absent = [name for name, place in self._places.items() if not place.written]
        if absent:
            raise DataError(
                f"tensor {absent[0]}",
                expected="every planned tensor to be written",
                found=f"{len(absent)} that were not",
            )
        if len(self._shards) > 1:
            weight_map = {t[0]: shard.name for shard in self._shards for t in shard.tensors}
            total = sum(_nbytes(t[1], t[2]) for shard in self._shards for t in shard.tensors)
            index = {
                "metadata": {"total_size": total},
                "weight_map": dict(sorted(weight_map.items())),
            }
            text = json.dumps(index, indent=2, ensure_ascii=False) + "\n"
            (self._folder / INDEX).write_text(text, encoding="utf-8")

    def _close(self) -> None:
        for descriptor in self._descriptors:
            os.close(descriptor)
        self._descriptors.clear()


def _nbytes(dtype: torch.dtype, shape: Sequence[int]) -> int:
    count = 1
    for size in shape:
        count *= size
    return count * dtype.itemsize


def _write_all(path: Path, descriptor: int, offset: int, data: memoryview) -> None:
    done = 0
    try:
        while done < len(data):
            done += os.pwrite(descriptor, data[done:], offset + done)
    except OSError as error:
        raise _disk_error(path, error) from error


def _disk_error(path: Path, error: OSError) -> MwandaError:
    return MwandaError(
        str(path),
        expected="room on the disk",
        found=error.strerror or "a write error",
        fix="free some space and run again",
    )
