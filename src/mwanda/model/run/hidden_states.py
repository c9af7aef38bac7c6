"""Hidden states between blocks: in memory up to a limit, past it in one memory-mapped file.

On an accelerator the limit is of its own memory, and what is past it lies in the host's, pinned.
"""

from __future__ import annotations

import hashlib
import mmap
import os
from collections.abc import Sequence
from pathlib import Path

import torch

from mwanda.errors import DataError
from mwanda.model.stored.layout import byte_view
from mwanda.system.closing import Closing
from mwanda.system.device import DTYPES, computes_on_host, dtype_name, pins, to_host, wait_for
from mwanda.system.refusals import disk_error


class ActivationStore(Closing):
    """A list of hidden-state tensors, written once each and then replaced in place.

    Spilled tensors are mapped one by one, and the pages of one are given back when the next is
    used: mapped pages count as resident memory, and the point of the limit is to bound that.

    Args:
        limit: bytes kept in the device's memory; what does not fit goes to ``folder``, or to the
            host's memory where the device is another.
        folder: where the temporary file is made, on demand; it is removed on close.
        device: where :meth:`__getitem__` puts what it returns.
        beside: another store, full by now, that shares the limit.

    Attributes:
        spilled: bytes kept on disk.
    """

    def __init__(
        self,
        limit: int,
        folder: Path,
        device: torch.device,
        *,
        beside: ActivationStore | None = None,
    ) -> None:
        self._beside = beside
        self._limit = limit
        self._path = folder / ("activations.tmp" if beside is None else "probed.tmp")
        self._device = device
        self._held: list[torch.Tensor] = []
        self._maps: dict[int, mmap.mmap] = {}
        self._touched: mmap.mmap | None = None
        self._in_memory = 0
        self.spilled = 0
        self._end = 0
        self._file: int | None = None

    def __len__(self) -> int:
        return len(self._held)

    def shape(self, index: int) -> torch.Size:
        """Shape of entry ``index``: ``[batch, tokens, width]``."""
        return self._held[index].shape

    def append(self, tensor: torch.Tensor) -> None:
        """Add one entry; it goes to disk when the limit is reached."""
        taken = 0 if self._beside is None else self._beside._in_memory
        if taken + self._in_memory + tensor.nbytes <= self._limit:
            self._in_memory += tensor.nbytes
            self._held.append(self._near(tensor))
            return
        if not computes_on_host(self._device):
            away = not tensor.is_cpu or not pins(self._device)
            self._held.append(to_host(tensor) if away else tensor.pin_memory())
            return
        mapped = self._map(tensor.nbytes)
        self._maps[len(self._held)] = mapped
        self._held.append(torch.frombuffer(mapped, dtype=tensor.dtype).reshape(tensor.shape))
        self.spilled += tensor.nbytes
        self[len(self._held) - 1] = tensor

    def __setitem__(self, index: int, tensor: torch.Tensor) -> None:
        """Replace one entry by a tensor of the same shape and dtype."""
        held = self._held[index]
        if tensor.shape != held.shape or tensor.dtype != held.dtype:
            raise DataError(
                f"activations of batch {index}",
                expected=f"{list(held.shape)} {held.dtype}",
                found=f"{list(tensor.shape)} {tensor.dtype}",
                fix="a block must keep the shape and dtype of its hidden states",
            )
        if index in self._maps:
            self._touch(self._maps[index])
            held.copy_(tensor.detach())
        elif held.device == tensor.device:
            self._held[index] = self._near(tensor)
        else:  # in the order of the device's work, as is what is read of it later
            held.copy_(tensor.detach(), non_blocking=pins(self._device))

    def __getitem__(self, index: int) -> torch.Tensor:
        if index in self._maps:
            self._touch(self._maps[index])
        return self._held[index].to(self._device, non_blocking=True)

    def save(self, path: Path) -> tuple[list[tuple[str, list[int]]], str]:
        """Write all entries into one file, one after the other; dtype and shape of each, and the
        SHA-256 of the file."""
        entries, digest = [], hashlib.sha256()
        wait_for(self._device)
        try:
            with path.open("wb") as file:
                for index in range(len(self)):
                    if index in self._maps:
                        self._touch(self._maps[index])
                    held = self._held[index]
                    entries.append((dtype_name(held.dtype), [*held.shape]))
                    raw = byte_view(held.cpu())
                    file.write(raw)
                    digest.update(raw)
        except OSError as error:
            raise disk_error(path, error) from error
        return entries, digest.hexdigest()

    def load(self, path: Path, entries: Sequence[tuple[str, Sequence[int]]]) -> None:
        """Append what :meth:`save` wrote."""
        try:
            with path.open("rb") as file:
                for dtype, shape in entries:
                    tensor = torch.empty([*shape], dtype=DTYPES[dtype])
                    raw = byte_view(tensor)
                    if file.readinto(raw) < len(raw):
                        expected = "all hidden states"
                        raise DataError(str(path), expected=expected, found="the end of the file")
                    self.append(tensor)
        except OSError as error:
            found = error.strerror or "a read error"
            raise DataError(str(path), expected="a file that can be read", found=found) from error

    def _near(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor.detach().to(self._device).contiguous()

    def close(self) -> None:
        """Forget everything and remove the temporary file."""
        # The maps go when the last tensor over them does; the file's name goes now.
        self._touched = None
        self._held.clear()
        self._maps.clear()
        if self._file is not None:
            os.close(self._file)
            self._file = None
            self._path.unlink(missing_ok=True)

    def _map(self, size: int) -> mmap.mmap:
        """The next ``size`` bytes of the file; they are there, so that no write can fail later."""
        try:
            if self._file is None:
                self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            start = -(-self._end // mmap.ALLOCATIONGRANULARITY) * mmap.ALLOCATIONGRANULARITY
            if hasattr(os, "posix_fallocate"):  # not on macOS
                os.posix_fallocate(self._file, start, size)
            else:
                os.ftruncate(self._file, start + size)
            self._end = start + size
            return mmap.mmap(self._file, size, offset=start)
        except OSError as error:
            raise DataError(
                str(self._path),
                expected=f"room for {size:,} more bytes of activations",
                found=error.strerror or "a write error",
                fix="free disk space or raise --activation-memory",
            ) from error

    def _touch(self, mapped: mmap.mmap) -> None:
        last = self._touched
        if last is not None and last is not mapped and hasattr(mmap, "MADV_DONTNEED"):
            last.madvise(mmap.MADV_DONTNEED)  # its pages stay the file's, and leave this process
        self._touched = mapped
