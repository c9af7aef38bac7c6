"""Reading ahead and writing behind, each in a thread of its own, while a block computes."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self

import torch

from mwanda.device import to_host
from mwanda.model.reader import Checkpoint
from mwanda.model.writer import ShardWriter

__all__ = ["BEHIND", "ReadAhead", "WriteBehind"]

BEHIND = 128 << 20
"""Bytes of finished tensors that may wait to be written."""


class ReadAhead:
    """Tensors of a checkpoint, some of them read before they are asked for.

    Args:
        checkpoint: is read from this thread and one more.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._checkpoint = checkpoint
        self._thread: ThreadPoolExecutor | None = None
        self._coming: dict[str, Future[torch.Tensor]] = {}

    def expect(self, names: Iterable[str]) -> None:
        """Begin to read these; what was expected before and not taken is forgotten."""
        self._forget()
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="mwanda-read")
        for name in names:
            self._coming[name] = self._thread.submit(self._checkpoint.read, name)

    def take(self, name: str, dtype: torch.dtype | None = None) -> torch.Tensor:
        """One tensor, waited for or read now.

        Args:
            dtype: of the result; None for the stored one.

        Raises:
            DataError: as :meth:`~mwanda.model.reader.Checkpoint.read`.
        """
        coming = self._coming.pop(name, None)
        if coming is None:
            return self._checkpoint.read(name, dtype)
        read = coming.result()
        return read if dtype is None else read.to(dtype)

    def close(self) -> None:
        """Stop reading; no read is under way when this returns."""
        self._forget()
        if self._thread is not None:
            self._thread.shutdown(wait=True)
            self._thread = None

    def _forget(self) -> None:
        for coming in self._coming.values():
            coming.cancel()
        self._coming.clear()


class WriteBehind:
    """Hands tensors to a writer from a thread; at most ``limit`` bytes wait for it.

    What fails there is raised by the next call here, at the latest when the block ends.

    Args:
        writer: an open writer, closed only after this.
        limit: bytes of tensors that may wait; one larger than that waits alone.
    """

    def __init__(self, writer: ShardWriter, limit: int = BEHIND) -> None:
        self._writer = writer
        self._limit = limit
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="mwanda-write")
        self._waiting: deque[tuple[Future[None], int]] = deque()
        self._held = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None:
            self._thread.shutdown(wait=True, cancel_futures=True)
            return
        try:
            while self._waiting:
                self._settle()
        finally:
            self._thread.shutdown(wait=True, cancel_futures=True)

    def write(self, name: str, tensor: torch.Tensor) -> None:
        """Write one tensor, which must not change afterwards; see :meth:`ShardWriter.write`."""
        while self._waiting and (self._held + tensor.nbytes > self._limit or self._done()):
            self._settle()
        self._held += tensor.nbytes
        here = to_host(tensor) if not tensor.is_cpu else tensor
        self._waiting.append((self._thread.submit(self._writer.write, name, here), tensor.nbytes))

    def copy(self, name: str, checkpoint: Checkpoint) -> None:
        """Copy one tensor bit for bit; see :meth:`ShardWriter.write_from`."""
        while self._waiting and self._done():
            self._settle()
        self._waiting.append((self._thread.submit(self._writer.write_from, name, checkpoint), 0))

    def overwrite(self, name: str, start: int, part: torch.Tensor) -> None:
        """Write over a stretch of a tensor handed on before; see :meth:`ShardWriter.overwrite`."""
        while self._waiting and (self._held + part.nbytes > self._limit or self._done()):
            self._settle()
        self._held += part.nbytes
        here = to_host(part) if not part.is_cpu else part
        future = self._thread.submit(self._writer.overwrite, name, start, here)
        self._waiting.append((future, part.nbytes))

    def _done(self) -> bool:
        return self._waiting[0][0].done()

    def _settle(self) -> None:
        """Wait for the oldest and raise what it met."""
        future, size = self._waiting.popleft()
        self._held -= size
        future.result()
