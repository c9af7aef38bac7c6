"""Hidden states between blocks: in memory up to a limit, in one temporary file past it."""

from __future__ import annotations

import math
import os
from pathlib import Path
from types import TracebackType
from typing import Self

import torch

from mwanda.errors import DataError
from mwanda.model.layout import byte_view

__all__ = ["ActivationStore"]


class ActivationStore:
    """A list of hidden-state tensors, written once each and then replaced in place.

    Spilled tensors are read and written with plain file calls, not mapped: mapped pages would
    count as resident memory, and the point of the limit is to bound that.

    Args:
        limit: bytes kept in memory; what does not fit goes to ``folder``.
        folder: where the temporary file is made, on demand; it is removed on close.
        device: where :meth:`__getitem__` puts what it returns.
    """

    def __init__(self, limit: int, folder: Path, device: torch.device) -> None:
        self._limit = limit
        self._path = folder / "activations.tmp"
        self._device = device
        self._held: list[torch.Tensor | None] = []
        self._offsets: list[int] = []
        self._shapes: list[tuple[torch.Size, torch.dtype]] = []
        self._in_memory = 0
        self._end = 0
        self._file: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __len__(self) -> int:
        return len(self._held)

    @property
    def spilled(self) -> int:
        """Bytes kept on disk."""
        return self._end

    def shape(self, index: int) -> torch.Size:
        """Shape of entry ``index``: ``[batch, tokens, width]``."""
        return self._shapes[index][0]

    def append(self, tensor: torch.Tensor) -> None:
        """Add one entry; it goes to disk when the limit is reached."""
        size = tensor.numel() * tensor.element_size()
        self._shapes.append((tensor.shape, tensor.dtype))
        if self._in_memory + size <= self._limit:
            self._in_memory += size
            self._held.append(tensor.detach().to("cpu"))
            self._offsets.append(-1)
            return
        self._held.append(None)
        self._offsets.append(self._end)
        self._end += size
        self._write(self._offsets[-1], tensor)

    def __setitem__(self, index: int, tensor: torch.Tensor) -> None:
        """Replace one entry by a tensor of the same shape and dtype."""
        shape, dtype = self._shapes[index]
        if tensor.shape != shape or tensor.dtype != dtype:
            raise DataError(
                f"activations of batch {index}",
                expected=f"{list(shape)} {dtype}",
                found=f"{list(tensor.shape)} {tensor.dtype}",
                fix="a block must keep the shape and dtype of its hidden states",
            )
        if self._held[index] is not None:
            self._held[index] = tensor.detach().to("cpu")
        else:
            self._write(self._offsets[index], tensor)

    def __getitem__(self, index: int) -> torch.Tensor:
        held = self._held[index]
        if held is not None:
            return held.to(self._device)
        shape, dtype = self._shapes[index]
        buffer = torch.empty(math.prod(shape), dtype=dtype)
        view = byte_view(buffer)
        done = 0
        while done < len(view):
            got = os.preadv(self._descriptor(), [view[done:]], self._offsets[index] + done)
            if got <= 0:
                raise DataError(str(self._path), expected=f"{len(view)} bytes", found=f"{done}")
            done += got
        return buffer.reshape(shape).to(self._device)

    def close(self) -> None:
        """Forget everything and remove the temporary file."""
        self._held.clear()
        if self._file is not None:
            os.close(self._file)
            self._file = None
            self._path.unlink(missing_ok=True)

    def _descriptor(self) -> int:
        if self._file is None:
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        return self._file

    def _write(self, offset: int, tensor: torch.Tensor) -> None:
        view = byte_view(tensor.detach().to("cpu").contiguous())
        done = 0
        try:
            while done < len(view):
                done += os.pwrite(self._descriptor(), view[done:], offset + done)
        except OSError as error:
            raise DataError(
                str(self._path),
                expected=f"room for {len(view):,} more bytes of activations",
                found=error.strerror or "a write error",
                fix="free disk space or raise --activation-memory",
            ) from error
