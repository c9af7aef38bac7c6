"""A checkpoint read lazily: headers first, one tensor at a time after that, nothing mapped.

Tensors are read into ordinary memory with plain file calls. Mapped shards would be resident pages
that grow with the model.
"""

from __future__ import annotations

import math
import mmap
import os
import threading
from pathlib import Path

import torch

from mwanda.errors import DataError, InputError, shown
from mwanda.model.stored.completeness import check_complete, check_folder, check_named, single_shard
from mwanda.model.stored.layout import INDEX, SINGLE, TensorInfo, byte_view, read_header, read_index
from mwanda.system.closing import Closing

PIECE = 32 << 20
"""Bytes of a tensor that are converted at a time."""

NEAR = 4
"""Rows apart at which two are still read in one go."""

_State = tuple[int, int, int]
"""Size in bytes, time of change in nanoseconds, and number of the file on its disk."""


class Checkpoint(Closing):
    """The tensors of a local model folder in the hub's layout; made by :meth:`open`.

    Any number of threads may read at once; :meth:`close` only after the last of them.

    Attributes:
        tensors: name -> where its bytes are; shard after shard, in each in the order of the bytes.
        metadata: of the first shard.
        states: file -> size and time of change when it was opened.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tensors: dict[str, TensorInfo] = {}
        self.metadata: dict[str, str] = {}
        self.states: dict[Path, _State] = {}
        self._descriptors: dict[Path, int] = {}
        self._closed = False
        self._lock = threading.Lock()

    @classmethod
    def open(cls, folder: Path) -> Checkpoint:
        """Read and check every header; no weight is touched.

        As transformers does: ``model.safetensors`` before the index, and a tensor that the index
        forgets is still one of the model's.
        """
        check_folder(folder)
        check_named(folder)
        sharded = not (folder / SINGLE).is_file() and (folder / INDEX).is_file()
        wanted = read_index(folder, folder / INDEX) if sharded else {}
        made = cls(folder)
        tensors = made.tensors
        for shard in sorted(set(wanted.values())) if sharded else [single_shard(folder)]:
            made.states[shard] = _state(shard)  # before the header: a change since is a change
            infos, metadata = read_header(shard)
            made.metadata = made.metadata or metadata
            for info in infos:
                if wanted.get(info.name, shard) != shard:
                    continue
                if info.name in tensors:
                    raise InputError(
                        f"{shard}: tensor {shown(info.name)}",
                        expected=f"it in one shard only, or the one to use in {INDEX}",
                        found=f"another in {tensors[info.name].file.name}",
                        fix="download the model again",
                    )
                tensors[info.name] = info
        check_complete(folder / INDEX, wanted, tensors)
        if not tensors:
            raise InputError(str(folder), expected="tensors in the checkpoint", found="none")
        return made

    @property
    def files(self) -> tuple[Path, ...]:
        """The shards."""
        return tuple(self.states)

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors."""
        return sum(info.nbytes for info in self.tensors.values())

    @property
    def numbers(self) -> int:
        """How many numbers all tensors hold."""
        return sum(info.nbytes // info.dtype.itemsize for info in self.tensors.values())

    def read(self, name: str, dtype: torch.dtype | None = None) -> torch.Tensor:
        """One tensor in ordinary memory of its own, in the stored dtype or another. A matrix that
        has to be converted is read in pieces of rows, so that it is never held twice."""
        info = self._info(name)
        wanted = info.dtype if dtype is None else dtype
        tensor = torch.empty(info.shape, dtype=wanted)
        if wanted == info.dtype:
            self.read_bytes(name, 0, byte_view(tensor))
        elif len(info.shape) == 2 and info.nbytes > PIECE:
            step = max(1, PIECE // (info.nbytes // info.shape[0]))
            for start in range(0, info.shape[0], step):
                stop = min(start + step, info.shape[0])
                tensor[start:stop] = self.read_rows(name, start, stop)
        else:
            tensor.copy_(self.read(name))
        return tensor

    def read_rows(self, name: str, start: int, stop: int) -> torch.Tensor:
        """Rows ``start`` to ``stop`` of a matrix: [stop - start, columns], in its stored dtype."""
        info = self._info(name)
        if len(info.shape) != 2 or not 0 <= start <= stop <= info.shape[0]:
            expected = f"a matrix with rows {start} to {stop}"
            found = f"shape {list(info.shape)}"
            raise DataError(f"{info.file}: tensor {shown(name)}", expected=expected, found=found)
        columns = info.shape[1]
        rows = torch.empty((stop - start, columns), dtype=info.dtype)
        self.read_bytes(name, start * columns * info.dtype.itemsize, byte_view(rows))
        return rows

    def read_scattered(
        self, name: str, rows: torch.Tensor, dtype: torch.dtype | None = None
    ) -> torch.Tensor:
        """A matrix [rows, columns] of which only some rows are read; all others are zero.

        Rows never written hold no memory, so a large embedding costs what its tokens cost. The
        numbers of those read are int64, ascending, without repetition.
        """
        info = self._info(name)
        matrix = _untouched(info.shape, info.dtype if dtype is None else dtype)
        # One read for neighbours that are near enough: a read costs more than a few rows.
        ends = torch.nonzero(rows.diff() > NEAR).flatten() + 1
        for part in torch.tensor_split(rows, ends):
            if len(part):
                start, stop = int(part[0]), int(part[-1]) + 1
                matrix[start:stop] = self.read_rows(name, start, stop)
        return matrix

    def read_bytes(self, name: str, start: int, into: memoryview) -> None:
        """Fill ``into`` with a tensor's stored bytes from byte ``start`` on."""
        info = self._info(name)
        what = f"{info.file}: tensor {shown(name)}"
        if start < 0 or start + len(into) > info.nbytes:
            found = f"{start} to {start + len(into)}"
            raise DataError(what, expected=f"bytes 0 to {info.nbytes} to be read", found=found)
        descriptor = self._descriptor(info.file)
        done = 0
        while done < len(into):
            try:
                got = os.preadv(descriptor, [into[done:]], info.offset + start + done)
            except OSError as error:
                raise _fault(what, error) from error
            if got <= 0:
                raise DataError(
                    what,
                    expected=f"{info.nbytes} bytes",
                    found=f"the end of the file after {start + done}",
                    fix="the shard changed while it was being read; run again",
                )
            done += got
        self._check_unchanged(info.file, _state(info.file))

    def check_unchanged(self) -> None:
        """Refuse a checkpoint that was written to since it was opened."""
        for file in self.files:
            self._check_unchanged(file, _state(file))

    def close(self) -> None:
        """Close the shards; nothing can be read after that."""
        with self._lock:
            self._closed = True
            while self._descriptors:
                os.close(self._descriptors.popitem()[1])

    def _info(self, name: str) -> TensorInfo:
        info = self.tensors.get(name)
        if info is None:
            what, found = f"{self.folder}: tensor {shown(name)}", "no such tensor"
            raise DataError(what, expected="a tensor of the checkpoint", found=found)
        return info

    def _descriptor(self, file: Path) -> int:
        with self._lock:
            if self._closed:
                raise DataError(f"{self.folder}: read after the checkpoint was closed")
            if file not in self._descriptors:
                try:
                    self._descriptors[file] = descriptor = os.open(file, os.O_RDONLY)
                except OSError as error:
                    raise _fault(str(file), error) from error
                # By the descriptor: the name may lead to another file by now.
                self._check_unchanged(file, _state_of(os.fstat(descriptor)))
            return self._descriptors[file]

    def _check_unchanged(self, file: Path, state: _State) -> None:
        if state != self.states[file]:
            raise DataError(
                str(file),
                expected="the shard as it was when it was opened",
                found="another file, or another size or time of change",
                fix="do not write to a model while it is being read; run again",
            )


def _untouched(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    """Zeros of which no page is there before something is written to it."""
    size = math.prod(shape) * dtype.itemsize
    if not size:
        return torch.zeros(shape, dtype=dtype)
    # Not torch.zeros: that writes them. Not huge pages: one row would bring two megabytes.
    pages = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_NOHUGEPAGE"):
        pages.madvise(mmap.MADV_NOHUGEPAGE)
    return torch.frombuffer(pages, dtype=dtype).reshape(shape)


def _state(file: Path) -> _State:
    try:
        return _state_of(file.stat())
    except OSError as error:
        raise _fault(str(file), error) from error


def _state_of(status: os.stat_result) -> _State:
    return status.st_size, status.st_mtime_ns, status.st_ino


def _fault(what: str, error: OSError) -> DataError:
    found = error.strerror or type(error).__name__
    fix = "leave the model in place and run again"
    return DataError(what, expected="a shard that can be read", found=found, fix=fix)
