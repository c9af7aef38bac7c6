"""The bundled declarations: every one complete, and in the script its tag says."""

from __future__ import annotations

import json
import unicodedata
from collections import Counter
from functools import cache
from importlib.resources import files
from itertools import combinations

import pytest

FOLDER = files("mwanda") / "text" / "bundled" / "udhr"
TAGS = sorted(
    entry.name.removesuffix(".jsonl") for entry in FOLDER.iterdir() if entry.name.endswith(".jsonl")
)
# The first word of a letter's Unicode name says its script.
SCRIPTS = {
    "am": "ETHIOPIC",
    "ar": "ARABIC",
    "bn": "BENGALI",
    "el": "GREEK",
    "fa": "ARABIC",
    "gu": "GUJARATI",
    "he": "HEBREW",
    "hi": "DEVANAGARI",
    "hy": "ARMENIAN",
    "ja": "CJK HIRAGANA KATAKANA KATAKANA-HIRAGANA",
    "ka": "GEORGIAN",
    "ko": "HANGUL",
    "ru": "CYRILLIC",
    "ta": "TAMIL",
    "te": "TELUGU",
    "th": "THAI",
    "uk": "CYRILLIC",
    "zh": "CJK",
}
# A word more frequent in that language than in any other, for tags that share a script.
WORDS = {
    "cs": "právo",
    "de": "jeder",
    "en": "everyone",
    "es": "derecho",
    "fi": "jokaisella",
    "fr": "toute",
    "id": "setiap",
    "it": "individuo",
    "nl": "ieder",
    "pl": "człowiek",
    "pt": "humano",
    "sw": "haki",
    "tr": "hakkı",
    "vi": "người",
    "yo": "ẹnì",
    "ru": "каждый",
    "uk": "кожна",
    "ar": "لكل",
    "fa": "هر",
}


def paragraphs(tag: str) -> list[tuple[int, str]]:
    lines = (FOLDER / f"{tag}.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    assert all(set(row) == {"article", "text"} for row in rows)
    return [(row["article"], row["text"]) for row in rows]


def scripts(tag: str) -> Counter[str]:
    letters = (c for _, text in paragraphs(tag) for c in text if c.isalpha())
    return Counter(unicodedata.name(letter).split()[0] for letter in letters)


@cache
def words(tag: str) -> Counter[str]:
    text = unicodedata.normalize("NFC", " ".join(text for _, text in paragraphs(tag)))
    return Counter(word.strip(".,;:()") for word in text.lower().split())


@pytest.mark.parametrize("tag", TAGS)
def test_every_declaration_is_complete_and_in_order(tag: str) -> None:
    rows = paragraphs(tag)
    order = [article for article, _ in rows]
    assert order == sorted(order)
    assert set(order) == set(range(31))
    for _, text in rows:
        assert text
        assert text == " ".join(text.split())
    assert sum(len(text) for _, text in rows) > 2500


@pytest.mark.parametrize("tag", TAGS)
def test_the_letters_are_of_the_script_of_the_language(tag: str) -> None:
    counts = scripts(tag)
    expected = SCRIPTS.get(tag, "LATIN").split()
    assert sum(counts[name] for name in expected) / counts.total() > 0.99


@pytest.mark.parametrize("tag", sorted(WORDS))
def test_languages_that_share_a_script_are_told_apart_by_a_word(tag: str) -> None:
    counts = {other: words(other)[unicodedata.normalize("NFC", WORDS[tag])] for other in TAGS}
    assert counts.pop(tag) >= max(5, *(2 * count for count in counts.values()))


def test_there_are_enough_languages_and_scripts_and_none_twice() -> None:
    assert len(TAGS) >= 24
    assert len({SCRIPTS.get(tag, "LATIN") for tag in TAGS}) >= 10
    assert {tag for tag in TAGS if tag not in SCRIPTS} <= set(WORDS)
    texts = {tag: {text for _, text in paragraphs(tag)} for tag in TAGS}
    assert all(not texts[one] & texts[other] for one, other in combinations(TAGS, 2))


def test_the_source_and_licence_are_told() -> None:
    source = (FOLDER / "SOURCE.md").read_text(encoding="utf-8")
    assert all(f"| {tag} | declaration/" in source for tag in TAGS)
    assert "6.0.0" in source
    assert "MIT" in (FOLDER / "LICENSE.udhr").read_text(encoding="utf-8")
