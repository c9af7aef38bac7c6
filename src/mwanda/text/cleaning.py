"""Two things that spoil a language's calibration text: repeated pages, and English left in.

Parallel and crawled text is full of pages that come twice and of lines nobody translated. What
is dropped is counted, so that a report can say so.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from mwanda.text.languages import script_of
from mwanda.text.overlap import digest, normalised
from mwanda.text.sources import Document

__all__ = ["Cleaner", "CleaningCounts", "clean", "english_lines", "speaks_english_words"]

# Words that carry no topic and that hardly any other language writes. Left out on purpose: words
# that other languages in Latin script write often (to, for, have, is, in, we, was, over, on, as).
_FUNCTION_WORDS = """
the and of that with are this from which you be can your it will not has they their these there
when what would should about into been were because through
"""
# English itself, and the creoles and sisters whose function words are English.
_ENGLISH_WORDED = """
en enm ang sco fy frr pcm jam bi tpi srn kri pis gul bzj icr hwc djk srm rop tcs gcl aig bah fpe wes
"""
_ENGLISH = frozenset(_FUNCTION_WORDS.split())
_EXEMPT = frozenset(_ENGLISH_WORDED.split())
_LATIN = frozenset({"Latn", "Latf", "Latg"})
_WORD = re.compile(r"[^\W\d_]+")
_FEWEST_WORDS, _SHARE = 8, 0.15
_FEWEST_LETTERS, _ASCII_SHARE, _SHARE_ELSEWHERE = 20, 0.8, 0.05
_SHORTEST_SAME = 20


@dataclass(frozen=True)
class CleaningCounts:
    """What was read and what was dropped of one language, in documents and in lines."""

    documents_seen: int = 0
    duplicates_dropped: int = 0
    english_lines_dropped: int = 0
    documents_emptied: int = 0


class Cleaner:
    """Cleans the documents of one language, lazily, and counts as it goes.

    Args:
        language: canonical tag. English, and languages that share its function words, keep
            their lines: only repeated pages are dropped.
        english: what :func:`english_lines` gives for the English text of the same source; a line
            of 20 or more characters that is among them was never translated.
    """

    def __init__(self, language: str, *, english: frozenset[bytes] = frozenset()) -> None:
        self.counts = CleaningCounts()
        self._exempt = speaks_english_words(language)
        self._latin = script_of(language) in _LATIN
        self._english = english
        self._seen: set[bytes] = set()

    def clean(self, documents: Iterable[Document]) -> Iterator[Document]:
        """The documents that are new and not empty, without their English lines."""
        for document in documents:
            self._count(documents_seen=1)
            page = digest(normalised(document.text))
            if page in self._seen:
                self._count(duplicates_dropped=1)
                continue
            self._seen.add(page)
            lines = document.text.splitlines()
            kept = [line for line in lines if not self.is_english(line)]
            if len(kept) == len(lines):
                yield document
                continue
            self._count(english_lines_dropped=len(lines) - len(kept))
            if any(line.strip() for line in kept):
                yield Document("\n".join(kept), document.id)
            else:
                self._count(documents_emptied=1)

    def is_english(self, line: str) -> bool:
        """Whether a line is English that was left in this language's text."""
        if self._exempt:
            return False
        if self._english:
            plain = normalised(line)
            if len(plain) >= _SHORTEST_SAME and digest(plain) in self._english:
                return True
        words = [word.casefold() for word in _WORD.findall(line)]
        english = [word for word in words if word in _ENGLISH]
        share = len(english) / len(words) if words else 0.0
        if self._latin:
            # One word alone may be another language's, repeated: Dutch "of", Vietnamese "can".
            return len(words) >= _FEWEST_WORDS and len(set(english)) > 1 and share >= _SHARE
        letters = [character for character in line if character.isalpha()]
        ascii_letters = sum(character.isascii() for character in letters)
        return (
            share >= _SHARE_ELSEWHERE
            and len(letters) >= _FEWEST_LETTERS
            and ascii_letters > _ASCII_SHARE * len(letters)
        )

    def _count(self, **more: int) -> None:
        now = {name: getattr(self.counts, name) + number for name, number in more.items()}
        self.counts = replace(self.counts, **now)


def clean(
    documents: Iterable[Document], language: str, *, english: frozenset[bytes] = frozenset()
) -> tuple[list[Document], CleaningCounts]:
    """All of a language's documents cleaned at once, and what was dropped; see :class:`Cleaner`."""
    cleaner = Cleaner(language, english=english)
    kept = list(cleaner.clean(documents))
    return kept, cleaner.counts


def english_lines(documents: Iterable[Document], *, most: int = 200_000) -> frozenset[bytes]:
    """Hashes of the lines of 20 or more characters in English text, of the first ``most`` lines."""
    hashes: set[bytes] = set()
    read = 0
    for document in documents:
        for line in document.text.splitlines():
            plain = normalised(line)
            if len(plain) >= _SHORTEST_SAME:
                hashes.add(digest(plain))
            read += 1
            if read >= most:
                return frozenset(hashes)
    return frozenset(hashes)


def speaks_english_words(language: str) -> bool:
    """Whether the language is English or shares its function words, as its creoles do."""
    return language.split("-")[0] in _EXEMPT
