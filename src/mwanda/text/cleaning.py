"""Two things that spoil a language's calibration text: repeated pages, and English left in.

Parallel and crawled text is full of pages that come twice and of lines nobody translated. What
is dropped is counted, so that a report can say so; either can be kept.

A line is English by its words alone, so whoever mixes languages is at risk: text in Latin script of
languages that are usually written in another (``hi-Latn``), and the languages of the Philippines
(Taglish), keep their lines but for those that the English page has too, and so do lines of
romanised Hindi and Urdu (Hinglish) wherever they are. So do lines with several words in small
letters that the same text often has elsewhere: English titles in a German sentence.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice

from mwanda.text.languages import canonical, script_of
from mwanda.text.rows import Document
from mwanda.text.shared_sentences import digest, normalised

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
# More of what English is made of, whoever else writes it.
_COMMON_WORDS = """
a i to for have has had is in on as was we he she his her him me my our us do does did an at by or
but if so no all any some more most one two up out over just now than then here how who may our
could only other such also like get go see use used make made new time people after before between
under where while both each being very its am
"""
# Where a sentence of the language and one of English have many words in common all the time.
_MIXED = frozenset(["fil", "ceb", "hil", "ilo", "pam", "war", "bik", "pag"])
_HINDI_URDU_LIST = """
hai hain ka ki ke ko se nahi nahin kya kyun kyon mein aur bhi tha thi raha rahi rahe gaya gayi hota
hoti kar karo karna karke bhai yaar tum aap hum mujhe mera meri wala wali toh koi kuch yeh woh abhi
kal aaj bahut bohat acha accha sab lekin magar phir agar jab tak log lagta matlab
"""
_HINDI_URDU = frozenset(_HINDI_URDU_LIST.split())
_ENGLISH = frozenset(_FUNCTION_WORDS.split())
_COMMON = _ENGLISH | frozenset(_COMMON_WORDS.split())
_EXEMPT = frozenset(_ENGLISH_WORDED.split())
_LATIN = frozenset({"Latn", "Latf", "Latg"})
_WORD = re.compile(r"[^\W\d_]+")
_FEWEST_WORDS, _SHARE, _COMMON_SHARE = 8, 0.15, 0.25
_FEWEST_LETTERS, _ASCII_SHARE, _COMMON_SHARE_ELSEWHERE = 20, 0.8, 1 / 3
_LEARN_FROM, _LEARN_LETTERS, _OWN_WORDS, _OWN_TIMES = 1000, 1 << 20, 100, 2
_SHORTEST_SAME = 20


@dataclass
class CleaningCounts:
    """What was read and what was dropped of one language, in documents and in lines."""

    documents_seen: int = 0
    duplicates_dropped: int = 0
    english_lines_dropped: int = 0
    documents_emptied: int = 0

    @property
    def words(self) -> str:
        """What was dropped, for a message; empty where nothing was."""
        told = []
        if self.duplicates_dropped:
            told.append(
                f"{self.duplicates_dropped} of {self.documents_seen} documents as repeated "
                "(--keep-repeated keeps them)"
            )
        if self.english_lines_dropped:
            told.append(
                f"{self.english_lines_dropped} lines as English, all there was of "
                f"{self.documents_emptied} documents (--keep-english keeps them)"
            )
        return " and ".join(told)


class Cleaner:
    """Cleans the documents of one language, lazily, and counts as it goes.

    Args:
        language: canonical tag. English, and languages that share its function words, keep
            their lines: only repeated pages are dropped.
        english: what :func:`english_lines` gives for the English text of the same source; a line
            of 20 or more characters that is among them was never translated.
        keep_english: drop no line.
        keep_repeated: drop no page.
    """

    def __init__(
        self,
        language: str,
        *,
        english: frozenset[bytes] = frozenset(),
        keep_english: bool = False,
        keep_repeated: bool = False,
    ) -> None:
        self.counts = CleaningCounts()
        self._exempt = keep_english or speaks_english_words(language)
        self._mixed = mixes_english(language)
        self._keep_repeated = keep_repeated
        self._latin = script_of(language) in _LATIN
        self._english = english
        self._seen: set[bytes] = set()
        self._own: frozenset[str] = frozenset()

    def clean(self, documents: Iterable[Document]) -> Iterator[Document]:
        """The documents that are new and not empty, without their English lines.

        The first of them are read ahead, to learn the words that the text is made of.
        """
        rest = iter(documents)
        first: list[Document] = []
        if self._latin and not self._exempt:
            letters = 0
            for document in islice(rest, _LEARN_FROM):
                first.append(document)
                letters += len(document.text)
                if letters >= _LEARN_LETTERS:
                    break
            self._own = _own_words(line for one in first for line in one.text.splitlines())
        for document in chain(first, rest):
            self.counts.documents_seen += 1
            if not self._keep_repeated:
                page = digest(normalised(document.text))
                if page in self._seen:
                    self.counts.duplicates_dropped += 1
                    continue
                self._seen.add(page)
            lines = document.text.splitlines()
            kept = [line for line in lines if not self.is_english(line)]
            if len(kept) == len(lines):
                yield document
                continue
            self.counts.english_lines_dropped += len(lines) - len(kept)
            if any(line.strip() for line in kept):
                yield Document("\n".join(kept), document.id)
            else:
                self.counts.documents_emptied += 1

    def is_english(self, line: str) -> bool:
        """Whether a line is English that was left in this language's text."""
        if self._exempt:
            return False
        if self._english:
            plain = normalised(line)
            if len(plain) >= _SHORTEST_SAME and digest(plain) in self._english:
                return True
        if self._mixed:
            return False
        return _latin_english(line, self._own) if self._latin else _english_elsewhere(line)


def _words(line: str) -> Counter[str]:
    """Words and how often each is there; a long line's are not kept one by one."""
    return Counter(found.group().casefold() for found in _WORD.finditer(line))


def _small_words(line: str) -> Counter[str]:
    """The words in small letters alone: names are none of a language's own."""
    return Counter(word for found in _WORD.finditer(line) if (word := found.group()).islower())


def _own_words(lines: Iterable[str]) -> frozenset[str]:
    """The words in small letters that a text has most often, and in lines of its own more often
    than in English ones."""
    found: Counter[str] = Counter()
    for line in lines:
        words = _words(line)
        if words.total() < _FEWEST_WORDS:
            continue
        small = _small_words(line).keys() - _COMMON
        if _is_english(words, _COMMON_SHARE):
            found.subtract(small)
        elif _share(words, _COMMON) < _COMMON_SHARE:
            found.update(small)
    return frozenset(word for word, times in found.most_common(_OWN_WORDS) if times >= _OWN_TIMES)


def _is_english(words: Counter[str], common_share: float) -> bool:
    # One word alone may be another language's, repeated: Dutch "of", Vietnamese "can".
    return (
        len(words.keys() & _ENGLISH) > 1
        and _share(words, _ENGLISH) >= _SHARE
        and _share(words, _COMMON) >= common_share
    )


def _latin_english(line: str, own: frozenset[str]) -> bool:
    words = _words(line)
    if words.total() < _FEWEST_WORDS or not _is_english(words, _COMMON_SHARE):
        return False
    small = _small_words(line)
    of_own = small.keys() & own
    return len(of_own) < 2 or sum(small[word] for word in of_own) < _SHARE * words.total()


def _english_elsewhere(line: str) -> bool:
    """In a language of another script any line of Latin letters is suspicious."""
    letters = sum(map(str.isalpha, line))
    ascii_letters = sum(character.isascii() and character.isalpha() for character in line)
    if letters < _FEWEST_LETTERS or ascii_letters <= _ASCII_SHARE * letters:
        return False
    words = _words(line)
    if len(words.keys() & _HINDI_URDU) > 1:
        return False
    return _is_english(words, _COMMON_SHARE_ELSEWHERE)


def _share(words: Counter[str], known: frozenset[str]) -> float:
    return sum(words[word] for word in words.keys() & known) / max(words.total(), 1)


def english_lines(documents: Iterable[Document], *, most: int = 200_000) -> frozenset[bytes]:
    """Hashes of the lines of 20 or more characters in English text, of the first ``most`` lines."""
    lines = (line for document in documents for line in document.text.splitlines())
    plain = map(normalised, islice(lines, most))
    return frozenset(digest(line) for line in plain if len(line) >= _SHORTEST_SAME)


def mixes_english(language: str) -> bool:
    """Whether lines of the language mix English in as a habit: those in Latin script of languages
    usually written in another, and those of the Philippines."""
    tag = canonical(language)
    return "Latn" in tag.split("-")[1:] or tag.split("-")[0] in _MIXED


def speaks_english_words(language: str) -> bool:
    """Whether the language is English or shares its function words, as its creoles do."""
    return language.split("-")[0] in _EXEMPT
