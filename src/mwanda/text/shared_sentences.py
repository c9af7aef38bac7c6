"""Whether two texts share sentences, told from hashes alone.

A calibration artefact keeps the hashes of the sentences it has read, so that evaluation on the
same sentences is noticed later, on another machine and without the text.
"""

from __future__ import annotations

import base64
import hashlib
import re
import unicodedata
from collections.abc import Iterable, Iterator, Set

from mwanda.errors import InputError

HASH_BYTES = 8
PART = 1 << 16
_SPACE = re.compile(r"\s")
_SHORTEST = 30
# Unicode 17's Sentence_Terminal, as NFKC leaves them, without the full stop; Tibetan's nyis shad.
_MARKS = (
    r"!?\u0589\u061d-\u061f\u06d4\u0700-\u0702\u07f9\u0837\u0839\u083d\u083e\u0964\u0965\u0f0e"
    r"\u104a\u104b\u1362\u1367\u1368\u166e\u1735\u1736\u17d4\u17d5\u1803\u1809\u1944\u1945"
    r"\u1aa8-\u1aab\u1b4e\u1b4f\u1b5a\u1b5b\u1b5e\u1b5f\u1b7d-\u1b7f\u1c3b\u1c3c\u1c7e\u1c7f"
    r"\u203d\u2cf9-\u2cfb\u2e2e\u2e3c\u2e53\u2e54\u2e60\u2e61\u3002\ua4ff\ua60e\ua60f\ua6f3"
    r"\ua6f7\ua876\ua877\ua8ce\ua8cf\ua92f\ua9c8\ua9c9\uaa5d-\uaa5f\uaaf0\uaaf1\uabeb"
    r"\U00010a56\U00010a57\U00010f55-\U00010f59\U00010f86-\U00010f89\U00011047\U00011048"
    r"\U000110be-\U000110c1\U00011141-\U00011143\U000111c5\U000111c6\U000111cd"
    r"\U000111de\U000111df\U00011238\U00011239\U0001123b\U0001123c\U000112a9"
    r"\U000113d4\U000113d5\U0001144b\U0001144c\U000115c2\U000115c3\U000115c9-\U000115d7"
    r"\U00011641\U00011642\U0001173c-\U0001173e\U00011944\U00011946\U00011a42\U00011a43"
    r"\U00011a9b\U00011a9c\U00011c41\U00011c42\U00011ef7\U00011ef8\U00011f43\U00011f44"
    r"\U00016a6e\U00016a6f\U00016af5\U00016b37\U00016b38\U00016b44\U00016d6e\U00016d6f"
    r"\U00016e98\U0001bc9f\U0001da88"
)
# NFKC has made … three full stops, and ！？ the ASCII ones. A full stop inside a number or a
# name ends nothing, so it needs white space after it; the other marks do not. Greek asks with ;,
# which NFKC and keyboards make of U+037E.
_END = re.compile(
    rf"""(?:[{_MARKS}]+|(?<=[\u0370-\u03ff\u1f00-\u1fff]);+|\.+(?=["'”’»)\]]*(?:\s|$)))"""
    r"""["'”’»」』)\]]*"""
)


def normalised(text: str) -> str:
    """NFKC, case folded, every run of white space one space, none at the ends."""
    # In parts, as the words of a long text would be held one by one. White space ends whatever
    # NFKC looks at together.
    parts = (
        " ".join(unicodedata.normalize("NFKC", part).casefold().split())
        for part in parts_at_space(text)
    )
    return " ".join(part for part in parts if part)


def parts_at_space(text: str, size: int = PART) -> Iterator[str]:
    """The text in parts of about ``size`` characters or more, each but the first beginning with
    white space."""
    start = 0
    while len(text) - start > size:
        space = _SPACE.search(text, start + size)
        if space is None:
            break
        yield text[start : space.start()]
        start = space.start()
    yield text[start:]


def digest(text: str) -> bytes:
    """The first 8 bytes of the SHA-256 of the text in UTF-8."""
    return hashlib.sha256(text.encode("utf-8")).digest()[:HASH_BYTES]


def sentence_hashes(text: str) -> Iterator[bytes]:
    """8 bytes for each sentence of the text, in order.

    A sentence ends at a line's end or at the terminal punctuation of any script, which is not
    part of it. Case, white space and compatibility forms make no difference. Sentences shorter
    than 30 bytes of UTF-8 are left out: headings and labels coincide by chance.
    """
    for line in text.splitlines():
        for piece in _END.split(normalised(line)):
            sentence = piece.strip()
            if len(sentence.encode("utf-8")) >= _SHORTEST:
                yield digest(sentence)


def text_hashes(text: str) -> set[bytes]:
    """The hashes of a text's sentences, and of the whole text whatever its length, so that a file
    of short lines is known from itself too."""
    return {digest(normalised(text)), *sentence_hashes(text)}


def pack_hashes(hashes: Iterable[bytes]) -> str:
    """Base64 of the distinct hashes, sorted, 8 bytes each: a string that JSON can hold."""
    return base64.b64encode(b"".join(sorted(set(hashes)))).decode("ascii")


def unpack_hashes(packed: str) -> frozenset[bytes]:
    """The hashes that :func:`pack_hashes` packed."""
    try:
        data = base64.b64decode(packed.encode("ascii"), validate=True)
        if len(data) % HASH_BYTES:
            raise ValueError(f"{len(data)} bytes")
    except ValueError as error:
        expected = f"base64 of {HASH_BYTES}-byte hashes"
        fix = "the file is damaged or was edited; make it again"
        raise InputError("sentence hashes", expected=expected, found=str(error), fix=fix) from error
    return frozenset(data[i : i + HASH_BYTES] for i in range(0, len(data), HASH_BYTES))


def overlap(texts: Iterable[str], hashes: Set[bytes]) -> list[int]:
    """The positions of the texts that share a sentence, or all they are, with ``hashes``."""
    return [
        position for position, text in enumerate(texts) if not hashes.isdisjoint(text_hashes(text))
    ]
