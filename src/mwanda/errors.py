"""The one family of exceptions, each with the exit code the command line ends with.

A message names the thing, what was expected, what was found and what to do, on one line::

    --sparsity: expected a number from 0 to 1, found 1.2; give a share such as 0.5
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError


class MwandaError(Exception):
    """Anything mwanda stops for. ``exit_code`` 1: the work failed.

    Args:
        thing: what the message is about: a file, an option, a tensor, a language.
        expected: what should have been there.
        found: what was there instead.
        fix: what the reader can do about it.
    """

    exit_code = 1

    def __init__(
        self,
        thing: str,
        *,
        expected: str | None = None,
        found: str | None = None,
        fix: str | None = None,
    ) -> None:
        self.thing, self.expected, self.found, self.fix = thing, expected, found, fix
        parts = []
        if expected is not None:
            parts.append(f"expected {expected}")
        if found is not None:
            parts.append(f"found {found}")
        text = f"{thing}: {', '.join(parts)}" if parts else thing
        super().__init__(_one_line(f"{text}; {fix}" if fix else text))

    @property
    def problems(self) -> tuple[str, ...]:
        """Every mistake this error reports, one line each."""
        return (str(self),)


class InputError(MwandaError):
    """Bad input or usage: exit code 2. Nothing has been written."""

    exit_code = 2

    @classmethod
    def several(cls, problems: Iterable[str]) -> InputError:
        """One error for many mistakes, so that all can be mended in one go."""
        lines = tuple(_one_line(problem) for problem in problems)
        if len(lines) == 1:
            return cls(lines[0])
        error = cls(f"{len(lines)} mistakes: " + " | ".join(lines))
        error._problems = lines
        return error

    _problems: tuple[str, ...] | None = None

    @property
    def problems(self) -> tuple[str, ...]:
        return self._problems if self._problems is not None else (str(self),)


class DataError(MwandaError):
    """The work met values it cannot go on with (a NaN, a shard that changed): exit code 1."""


class GateError(MwandaError):
    """A gate the user set was not met: exit code 3."""

    exit_code = 3


def nearest(word: str, choices: Iterable[str]) -> str:
    """``"did you mean 'wanda'? "`` or an empty string; always followed by the choices."""
    names = sorted(choices)
    close = get_close_matches(word, names, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{hint}choose one of {', '.join(names)}"


def unknown_field(name: str, known: Iterable[str]) -> str:
    """What to say of a field that a file or a mapping must not have."""
    return f"unknown field; {nearest(name, known)}"


def first_problem(error: ValidationError) -> tuple[str, str]:
    """Place and words of the first thing that a record was refused for."""
    first = error.errors()[0]
    return ".".join(str(part) for part in first["loc"]), str(first["msg"])


def shown(text: str) -> str:
    """A text from a file as a message may hold it: printable and short."""
    safe = text if text.isprintable() else ascii(text)
    return safe if len(safe) <= 120 else f"{safe[:117]}..."


def _one_line(text: str) -> str:
    return " ".join(text.split())
