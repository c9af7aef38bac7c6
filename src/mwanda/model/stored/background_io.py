"""Reading ahead and writing behind, each in a thread of its own, while a block computes."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import Self

import torch

from mwanda.model.stored.layout import byte_view
from mwanda.model.stored.reader import Checkpoint
from mwanda.model.stored.writer import ShardWriter
from mwanda.system.copies import Coming, Lane, fetch
from mwanda.system.device import HOST, holds
from mwanda.system.threads import Task, Worker

BEHIND = 128 << 20
"""Bytes of finished tensors that may wait to be written."""


class ReadAhead:
    """Tensors of a checkpoint, some of them read in a thread before they are asked for, and sent on
    to the device that computes."""

    def __init__(self, checkpoint: Checkpoint, device: torch.device = HOST) -> None:
        self._checkpoint = checkpoint
        self._device, self._lane = device, Lane(device)
        self._thread: Worker | None = None
        self._coming: dict[str, Task[Coming]] = {}

    def expect(self, names: Iterable[str]) -> None:
        """Begin to read these; what was expected before and not taken is forgotten."""
        self._forget()
        if self._thread is None:
            self._thread = Worker()
        for name in names:
            self._coming[name] = self._thread.submit(partial(self._bring, name))

    def take(self, name: str, dtype: torch.dtype | None = None) -> torch.Tensor:
        """One tensor, waited for or read now; in the stored dtype or another. What was expected is
        on the device."""
        coming = self._coming.pop(name, None)
        if coming is None:
            return self._checkpoint.read(name, dtype)
        read = coming.result()()
        return read if dtype is None else read.to(dtype)

    def _bring(self, name: str) -> Coming:
        read = self._checkpoint.read(name)
        return self._lane.send(read) if holds(self._device, read.dtype) else lambda: read

    def close(self) -> None:
        """Stop reading; no read is under way when this returns."""
        self._forget()
        if self._thread is not None:
            self._thread.close(drop=True)
            self._thread = None

    def _forget(self) -> None:
        for coming in self._coming.values():
            coming.dropped = True
        self._coming.clear()


class WriteBehind:
    """Hands tensors to an open writer from a thread. At most ``limit`` bytes wait for it, or one
    larger tensor alone.

    What fails there is raised by the next call here, at the latest when the block ends.
    """

    def __init__(self, writer: ShardWriter, limit: int = BEHIND) -> None:
        self._writer = writer
        self._limit = limit
        self._thread = Worker()
        self._waiting: deque[tuple[Task[tuple[str, str] | None], int]] = deque()
        self._held = 0
        self._digests: dict[str, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_error: object) -> None:
        try:
            if kind is None:
                self.drain()
        finally:
            self._thread.close(drop=True)

    def write(self, name: str, tensor: torch.Tensor, key: str | None = None) -> None:
        """Write one tensor, which must not change afterwards; see :meth:`ShardWriter.write`. With a
        key, :meth:`drain` gives the SHA-256 of its bytes under that."""
        self._send(partial(self._writer.write, name), tensor, key)

    def copy(self, name: str, checkpoint: Checkpoint) -> None:
        """Copy one tensor bit for bit; see :meth:`ShardWriter.write_from`."""
        self._hand_on(partial(self._writer.write_from, name, checkpoint), 0)

    def overwrite(self, name: str, start: int, part: torch.Tensor, key: str | None = None) -> None:
        """Write over a stretch of a tensor handed on before; see :meth:`ShardWriter.overwrite`."""
        self._send(partial(self._writer.overwrite, name, start), part, key)

    def drain(self) -> dict[str, str]:
        """Wait until all that was handed on is written; the digests asked for so far, by key."""
        while self._waiting:
            self._settle()
        return dict(self._digests)

    def _send(
        self, write: Callable[[torch.Tensor], None], tensor: torch.Tensor, key: str | None
    ) -> None:
        coming = fetch(tensor) if not tensor.is_cpu else lambda: tensor

        def work() -> tuple[str, str] | None:
            here = coming()
            write(here)
            if key is None:
                return None
            return key, hashlib.sha256(byte_view(here.detach().contiguous())).hexdigest()

        self._hand_on(work, tensor.nbytes)

    def _hand_on(self, work: Callable[[], tuple[str, str] | None], size: int) -> None:
        while self._waiting and (
            self._waiting[0][0].done or (size and self._held + size > self._limit)
        ):
            self._settle()
        self._held += size
        self._waiting.append((self._thread.submit(work), size))

    def _settle(self) -> None:
        """Wait for the oldest and raise what it met."""
        task, size = self._waiting.popleft()
        self._held -= size
        made = task.result()
        if made is not None:
            self._digests[made[0]] = made[1]
