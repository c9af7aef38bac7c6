"""What every source of text gives, and how its languages are checked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Protocol

from mwanda.errors import InputError
from mwanda.text.rows import Document

HELD_OF_STREAM = 10_000
"""Documents of a streamed source that are held at once, for a seed to draw from."""


class TextSource(Protocol):
    """Text by language.

    Attributes:
        name: the source as the user wrote it.
        streamed: whether the text comes over a network and may be without end.
    """

    @property
    def name(self) -> str: ...

    @property
    def streamed(self) -> bool: ...

    def languages(self) -> list[str]:
        """The canonical tags there is text for, sorted."""
        ...

    def documents(self, language: str) -> Iterator[Document]:
        """The documents of a language, read as they are asked for."""
        ...

    def fingerprint(self, language: str) -> str | None:
        """SHA-256 of the language's file in hexadecimal; None for a data set of the Hub."""
        ...


def available(source: TextSource) -> list[str]:
    """All tags there is text for, those included that are taken only where they are named."""
    told: Callable[[], list[str]] = getattr(source, "available", source.languages)
    return told()


def held_documents(source: TextSource, language: str, *, draw: bool) -> list[Document]:
    """The documents of a language, or those of a stream's beginning.

    Args:
        draw: whether some will be drawn. Where all are wanted, a stream with more is refused.
    """
    if not source.streamed:
        return list(source.documents(language))
    found = list(islice(source.documents(language), HELD_OF_STREAM + (not draw)))
    if len(found) > HELD_OF_STREAM:
        raise InputError(
            f"{source.name}, {language}",
            expected=f"at most {HELD_OF_STREAM} texts of a stream, where all are wanted",
            found="more",
            fix="draw some of them: --sentences 48",
        )
    return found


def check_languages(source: TextSource, wanted: Sequence[str]) -> None:
    """Raises :class:`InputError`, naming each, if the source lacks a wanted language, or a look at
    the first row of each file shows that it cannot be read. Files of other names, which may be what
    is missed, are named beside that."""
    there = available(source)
    told: Callable[[Sequence[str]], list[str]] = getattr(source, "problems", lambda _tags: [])
    problems = [
        f"language {language!r} of {source.name}: expected one of {', '.join(there)}; "
        f"drop it or add its text"
        for language in wanted
        if language not in there
    ]
    problems += told([language for language in wanted if language in there])
    if problems:
        meant: Sequence[str] = getattr(source, "meant", ())
        raise InputError.several([*problems, *meant])
