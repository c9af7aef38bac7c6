"""What a wrong input is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.cli.strange.place import Place

__all__ = ["Case"]


@dataclass(frozen=True)
class Case:
    """One wrong input.

    Attributes:
        name: kind and what is wrong with it.
        make: puts it under the place's root; gives the words of a command.
        says: parts of what the command has to say.
        lines: how many mistakes it names.
    """

    name: str
    make: Callable[[Place], list[object]]
    says: tuple[str, ...]
    lines: int = 1
