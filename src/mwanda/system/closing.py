"""What is closed when its block ends."""

from __future__ import annotations

from typing import Self


class Closing:
    """A context that gives itself, and is closed however the block ends."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of what is held open."""
