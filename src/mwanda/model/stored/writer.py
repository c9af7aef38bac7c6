"""A model folder written as a stream and seen under its final name only when it is whole."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import threading
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch

from mwanda.errors import DataError, shown
from mwanda.model.stored.layout import DTYPE_NAMES, INDEX, byte_view
from mwanda.model.stored.reader import Checkpoint
from mwanda.model.stored.shards import Shard, dense_bytes, nbytes_of
from mwanda.system.device import HOST
from mwanda.system.durable import sync_descriptor
from mwanda.system.refusals import disk_error

PIECE = 16 << 20
"""Bytes copied at a time."""


@dataclass
class _Place:
    file: Path
    descriptor: int
    offset: int
    dtype: torch.dtype
    shape: tuple[int, ...]
    claimed: bool = False
    written: bool = False


class ShardWriter:
    """Writes planned shards tensor by tensor, in any order and from any thread.

    When the block ends well, every tensor has been written and there is an index if there is more
    than one shard. On an exception the files stay as they are, unfinished: write into an
    :class:`~mwanda.system.output.OutputFolder`.

    Args:
        kept: tensors that an earlier run has written into the same shards, which then may be there
            already; None for new ones.
    """

    def __init__(
        self, folder: Path, shards: Sequence[Shard], kept: Collection[str] | None = None
    ) -> None:
        self._folder = folder
        self._shards = shards
        self._kept = kept
        self._places: dict[str, _Place] = {}
        self._descriptors: list[int] = []
        self._changed = threading.Condition()
        self._busy = 0
        self._closed = True

    def __enter__(self) -> Self:
        try:
            for shard in self._shards:
                self._begin(shard)
        except BaseException:
            self._close()
            raise
        self._closed = False
        return self

    def __exit__(self, kind: object, *_error: object) -> None:
        with self._changed:
            # A descriptor closed under a write could by then be another file's.
            self._closed = True
            # Not forever: an interrupt may have come in the middle of the counting.
            self._changed.wait_for(lambda: self._busy == 0, timeout=60)
        try:
            if kind is None:
                self._finish()
        finally:
            self._close()

    def write(self, name: str, tensor: torch.Tensor) -> None:
        """Write one tensor, from whatever device; each is written exactly once."""
        self.write_parts(name, tensor.dtype, tensor.shape, [tensor])

    def write_parts(
        self, name: str, dtype: torch.dtype, shape: Sequence[int], parts: Iterable[torch.Tensor]
    ) -> None:
        """Write one tensor in parts that lie one after the other, as :meth:`write`."""
        with self._writing(name, dtype, tuple(shape)) as place:
            at = place.offset
            for part in parts:
                data = dense_bytes(name, part, dtype)
                _write_all(place.file, place.descriptor, at, data)
                at += len(data)
            if at - place.offset != nbytes_of(dtype, shape):
                raise DataError(f"tensor {shown(name)}", expected="all of it", found="other parts")

    def write_from(self, name: str, checkpoint: Checkpoint) -> None:
        """Copy one tensor bit for bit from a checkpoint, in pieces of 16 MiB."""
        info = checkpoint.tensors.get(name)
        if info is None:
            found = f"none in {checkpoint.folder}"
            raise DataError(f"tensor {shown(name)}", expected="one to copy", found=found)
        with self._writing(name, info.dtype, info.shape) as place:
            buffer = memoryview(bytearray(min(PIECE, info.nbytes)))
            for start in range(0, info.nbytes, PIECE):
                part = buffer[: min(PIECE, info.nbytes - start)]
                checkpoint.read_bytes(name, start, part)
                _write_all(place.file, place.descriptor, place.offset + start, part)

    def overwrite(self, name: str, start: int, part: torch.Tensor) -> None:
        """Write over a tensor that was written before, from element ``start`` on; ``part`` is in
        its dtype."""
        place = self._places.get(name)
        size = 0 if place is None else math.prod(place.shape)
        fits = place is not None and part.dtype == place.dtype and start + part.numel() <= size
        if self._closed or place is None or not place.written or start < 0 or not fits:
            expected = "a stretch of a tensor that was written before"
            found = f"{part.numel()} values of {part.dtype} from {start} on"
            raise DataError(f"tensor {shown(name)}", expected=expected, found=found)
        here = part.detach().to(HOST).contiguous()
        offset = place.offset + start * place.dtype.itemsize
        _write_all(place.file, place.descriptor, offset, byte_view(here))

    def stored_sha256(self, name: str, start: int, count: int) -> str:
        """SHA-256 of ``count`` elements of a written tensor from number ``start`` on."""
        place = self._places.get(name)
        if place is None or not place.written or start + count > math.prod(place.shape):
            expected = "a stretch of a tensor that was written"
            raise DataError(f"tensor {shown(name)}", expected=expected, found=f"{count} values")
        at = place.offset + start * place.dtype.itemsize
        end = at + count * place.dtype.itemsize
        digest = hashlib.sha256()
        try:
            while at < end and (part := os.pread(place.descriptor, min(PIECE, end - at), at)):
                digest.update(part)
                at += len(part)
        except OSError as error:
            raise disk_error(place.file, error) from error
        return digest.hexdigest()

    def sync(self) -> None:
        """See all that was written on the disk."""
        for descriptor, file in {p.descriptor: p.file for p in self._places.values()}.items():
            sync_descriptor(descriptor, file)

    def _begin(self, shard: Shard) -> None:
        path = self._folder / shard.name
        # Largest elements first, as the reference writer: each tensor is aligned for its dtype.
        tensors = sorted(shard.tensors, key=lambda tensor: -tensor[1].itemsize)
        header: dict[str, object] = {"__metadata__": dict(shard.metadata)}
        ends: list[int] = []
        for name, dtype, shape in tensors:
            if name in header or name in self._places:
                raise DataError(f"tensor {shown(name)}: stands in the plan twice")
            if dtype not in DTYPE_NAMES:
                expected = "a dtype that safetensors has"
                raise DataError(f"tensor {shown(name)}", expected=expected, found=str(dtype))
            begin = ends[-1] if ends else 0
            ends.append(begin + nbytes_of(dtype, shape))
            header[name] = {
                "dtype": DTYPE_NAMES[dtype],
                "shape": list(shape),
                "data_offsets": [begin, ends[-1]],
            }
        raw = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        raw += b" " * (-len(raw) % 8)
        start = 8 + len(raw)
        descriptor = self._reserve(path, start + (ends[-1] if ends else 0))
        for (name, dtype, shape), end in zip(tensors, ends, strict=True):
            offset = start + end - nbytes_of(dtype, shape)
            there = self._kept is not None and name in self._kept
            self._places[name] = _Place(path, descriptor, offset, dtype, shape, there, there)
        _write_all(path, descriptor, 0, memoryview(len(raw).to_bytes(8, "little") + raw))

    def _reserve(self, path: Path, size: int) -> int:
        """A file of ``size`` bytes; a full disk shows now and not after hours of work."""
        new = os.O_EXCL if self._kept is None else 0
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | new, 0o644)
            self._descriptors.append(descriptor)
            if hasattr(os, "posix_fallocate"):  # not on macOS
                try:
                    os.posix_fallocate(descriptor, 0, size)
                except OSError as error:
                    if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
                        raise
            os.ftruncate(descriptor, size)
        except OSError as error:
            raise disk_error(path, error) from error
        return descriptor

    @contextmanager
    def _writing(self, name: str, dtype: torch.dtype, shape: tuple[int, ...]) -> Iterator[_Place]:
        """A tensor's place, this thread's alone; written once the block ends well."""
        what = f"tensor {shown(name)}"
        with self._changed:
            place = self._places.get(name)
            if self._closed:
                raise DataError(what, expected="an open writer", found="a closed one")
            if place is None or place.claimed:
                found = "a second write" if place is not None else "an unplanned tensor"
                raise DataError(what, expected="one write of it", found=found)
            if dtype != place.dtype or shape != place.shape:
                expected = f"{place.dtype} {list(place.shape)}"
                raise DataError(what, expected=expected, found=f"{dtype} {list(shape)}")
            place.claimed = True
            self._busy += 1
        try:
            yield place
            place.written = True
        finally:
            with self._changed:
                place.claimed = place.written
                self._busy -= 1
                self._changed.notify_all()

    def _finish(self) -> None:
        absent = [name for name, place in self._places.items() if not place.written]
        if absent:
            expected = "every planned tensor to be written"
            found = f"{len(absent)} that were not"
            raise DataError(f"tensor {shown(absent[0])}", expected=expected, found=found)
        if len(self._shards) > 1:
            weight_map = {t[0]: shard.name for shard in self._shards for t in shard.tensors}
            total = sum(nbytes_of(t[1], t[2]) for shard in self._shards for t in shard.tensors)
            index = {
                "metadata": {"total_size": total},
                "weight_map": dict(sorted(weight_map.items())),
            }
            text = json.dumps(index, indent=2, ensure_ascii=False) + "\n"
            try:
                (self._folder / INDEX).write_text(text, encoding="utf-8")
            except OSError as error:
                raise disk_error(self._folder / INDEX, error) from error

    def _close(self) -> None:
        while self._descriptors:
            os.close(self._descriptors.pop())


def _write_all(path: Path, descriptor: int, offset: int, data: memoryview) -> None:
    done = 0
    try:
        while done < len(data):
            done += os.pwrite(descriptor, data[done:], offset + done)
    except OSError as error:
        raise disk_error(path, error) from error
