"""What every source of text gives, and how its languages are checked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from mwanda.errors import InputError
from mwanda.text.rows import Document


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
