"""What a wrong input is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.bad_input.place import Place

__all__ = ["Case", "Made"]

Made = list[Any] | Callable[[], object]
"""The words of a command, or a call of the library."""


@dataclass(frozen=True)
class Case:
    """One wrong input.

    Attributes:
        name: kind and what is wrong with it.
        make: puts it under the place's root; gives the command or the call that meets it.
        says: parts of what is said of it; ``{root}`` and ``{good}`` stand for the place's folders.
        lines: how many mistakes are named.
        code: exit code: 2 for an input that cannot be, 1 for one that ends the work.
    """

    name: str
    make: Callable[[Place], Made]
    says: tuple[str, ...]
    lines: int = 1
    code: int = 2

    def parts(self, place: Place) -> list[str]:
        """What is said of it at a place."""
        folders = {"{root}": str(place.root), "{good}": str(place.good)}
        found = list(self.says)
        for name, path in folders.items():
            found = [part.replace(name, path) for part in found]
        return found
