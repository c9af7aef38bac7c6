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
# NFKC has made … three full stops, and ！？ the ASCII ones. A full stop inside a number or a
# name ends nothing, so it needs white space after it; the other marks do not.
_END = re.compile(r"""(?:[!?。।॥؟۔።፧፨។៕။༎։꯫᱾᱿᠃᠉]+|\.+(?=["'”’»)\]]*(?:\s|$)))["'”’»」』)\]]*""")


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
