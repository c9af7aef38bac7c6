"""Made-up text that differs from language to language, as real text does."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from pathlib import Path

# The letters a tag is written in; every other tag is Latin.
_ALPHABETS: dict[str, str] = {
    "am": "ሀለሐመሠረሰሸቀበተነአከወዘየደገጠጸፈ",
    "ar": "ابتجدرزسشصعفقكلمنهوي",
    "el": "αβγδεζηθικλμνξοπρστυφχω",
    "he": "אבגדהוזחטיכלמנסעפצקרשת",
    "hi": "अइउएकखगघचजतदनपबमयरलवसह",
    "ja": "あいうえおかきくけこさしすせそたちつてと人日本国",
    "ko": "가나다라마바사아자차카타파하고노도로모보",
    "ru": "абвгдежзиклмнопрстуфхцчшыэюя",
    "th": "กขคงจชซดตถทนบปพฟมยรลวสหอ",
    "zh": "人权的一国自由不在有和法律平等社会教育世界",
}
_UNSPACED = frozenset({"ja", "th", "zh"})
_WORDS = 120


def write_corpus(
    folder: Path, languages: Iterable[str], lines: int = 200, seed: int = 0
) -> dict[str, Path]:
    """Write ``<tag>.txt`` for each language, one sentence a line; return the files by tag.

    A language's words, and how often each comes, follow from its tag and ``seed`` alone.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = {}
    for tag in languages:
        draw = random.Random(f"{seed}/{tag}")
        words = _words(tag, draw)
        often = [1 / (rank + 1) for rank in range(len(words))]
        space = "" if tag in _UNSPACED else " "
        text = [
            space.join(draw.choices(words, often, k=draw.randint(6, 16))) + "."
            for _ in range(lines)
        ]
        files[tag] = folder / f"{tag}.txt"
        files[tag].write_text("\n".join(text) + "\n", encoding="utf-8")
    return files


def _words(tag: str, draw: random.Random) -> list[str]:
    if tag in _ALPHABETS:
        letters = _ALPHABETS[tag]
        return ["".join(draw.choices(letters, k=draw.randint(2, 5))) for _ in range(_WORDS)]
    # Latin languages differ in the syllables they use.
    syllables = [a + b for a in "bcdfghjklmnprstvz" for b in "aeiouyéöåı"]
    own = draw.sample(syllables, 24)
    return ["".join(draw.choices(own, k=draw.randint(1, 4))) for _ in range(_WORDS)]


def write_parallel(folder: Path, languages: Iterable[str], lines: int = 6) -> Path:
    """Write ``<tag>.jsonl`` for each language: short sentences, one id in all languages."""
    for tag, path in write_corpus(folder / "lines", languages, lines=lines).items():
        rows = path.read_text(encoding="utf-8").splitlines()
        made = [json.dumps({"id": n, "text": row[:12]}) for n, row in enumerate(rows)]
        (folder / f"{tag}.jsonl").write_text("\n".join(made) + "\n", encoding="utf-8")
    return folder
