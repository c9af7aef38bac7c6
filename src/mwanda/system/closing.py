"""What is closed when its block ends."""

from __future__ import annotations

from types import TracebackType
from typing import Self


class Closing:
    """A context that gives itself, and is closed however the block ends."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of what is held open."""
