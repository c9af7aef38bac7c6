"""Which characters a language's text is made of: by the scripts it is written in, or by a text."""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Iterable, Sequence
from functools import cache

import regex

from mwanda.errors import InputError, nearest
from mwanda.text.languages import script_of

_WRITTEN_WITH = {
    "Hans": ("Hani", "Bopo"), "Hant": ("Hani", "Bopo"), "Hanb": ("Hani", "Bopo"),
    "Jpan": ("Hira", "Kana", "Hani"), "Hrkt": ("Hira", "Kana"), "Kore": ("Hang", "Hani"),
    "Jamo": ("Hang",), "Aran": ("Arab",), "Cyrs": ("Cyrl",), "Geok": ("Geor",),
    "Latf": ("Latn",), "Latg": ("Latn",), "Syre": ("Syrc",), "Syrj": ("Syrc",), "Syrn": ("Syrc",),
}  # fmt: skip
"""Codes of ISO 15924 that Unicode has no script for -> the scripts they are written with."""

EVERYWHERE = ("Zyyy", "Zinh")
"""Common and inherited: digits, punctuation, emoji, marks that go on any letter."""


def scripts_of(languages: Sequence[str], also: Sequence[str] = ()) -> tuple[str, ...]:
    """The Unicode scripts that languages are written in, Latin, and others asked for.

    Args:
        languages: BCP-47 tags; a script written in one (``sr-Latn``) is the one taken.
        also: ISO 15924 codes, such as ``Cyrl``.
    """
    found: dict[str, None] = {"Latn": None}
    problems = []
    for code, said in [*((script_of(tag), tag) for tag in languages), *((c, c) for c in also)]:
        for script in _WRITTEN_WITH.get(code.title(), (code.title(),)):
            if script in EVERYWHERE or not _is_script(script):
                problems.append(
                    f"script of {said!r}: expected one of Unicode's by its ISO 15924 code, found "
                    f"{code!r}; {nearest(code, ('Arab', 'Cyrl', 'Deva', 'Grek', 'Hani', 'Latn'))}"
                )
            found[script] = None
    if problems:
        raise InputError.several(problems)
    return tuple(found)


@cache
def characters_in(scripts: tuple[str, ...]) -> frozenset[str]:
    """Every character of the scripts, those that belong to all included. A character that some
    scripts use, as the danda or ㍻, is of each of these (Unicode's ``Script_Extensions``)."""
    classes = [rf"\p{{scx={script}}}" for script in (*EVERYWHERE, *scripts)]
    return frozenset(regex.findall(f"[{''.join(classes)}]", _every_character()))


def characters_of(texts: Iterable[str], within: frozenset[str]) -> frozenset[str]:
    """The characters that texts use, in either case and composed or not, with ASCII and with all
    that is no letter; only those that are in ``within``."""
    used: set[str] = set()
    for text in texts:
        used.update(text)
    more = {form for one in used for form in (one.lower() + one.upper() + one.title())}
    more |= {form for one in used | more for kind in ("NFC", "NFD", "NFKC", "NFKD")
             for form in unicodedata.normalize(kind, one)}  # fmt: skip
    letters = used | more | {chr(code) for code in range(128)}
    return frozenset(one for one in within if one in letters or not _is_letter(one))


def _is_letter(character: str) -> bool:
    """Whether it is one, or a mark that only goes with the letters of its own script."""
    kind = unicodedata.category(character)
    return kind[0] == "L" or kind in ("Mn", "Mc")


def _every_character() -> str:
    surrogates = range(0xD800, 0xE000)
    return "".join(chr(code) for code in range(sys.maxunicode + 1) if code not in surrogates)


def _is_script(code: str) -> bool:
    try:
        regex.compile(rf"\p{{Script={code}}}")
    except regex.error:
        return False
    return True
