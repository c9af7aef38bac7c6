"""The texts an evaluation scores: read, cut to a seeded subset, the same for every model."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass

from mwanda.errors import InputError
from mwanda.text.rows import Document
from mwanda.text.text_source import TextSource


@dataclass(frozen=True)
class TextSet:
    """Texts by language.

    Attributes:
        source: as the user wrote it.
        texts: language -> texts, in the source's order.
        seed: of the subset, None when everything is taken.
        sha256: of all tags and texts, so that two results can be told to be about the same.
        ids: of the texts, in order, where every language has the same: then they are parallel.
    """

    source: str
    texts: dict[str, list[str]]
    seed: int | None
    sha256: str
    ids: tuple[int | str, ...] | None = None


def parse_ids(text: str) -> tuple[int, int | None]:
    """``1000:`` or ``0:999`` -> lowest and highest ``id`` taken, both included."""
    low, colon, high = text.partition(":")
    try:
        start, stop = int(low or 0), int(high) if high else None
    except ValueError:
        start, stop = 0, -1
    if not colon or start < 0 or (stop is not None and stop < start):
        raise InputError("--ids", expected="LOWEST:HIGHEST, either may be empty", found=text)
    return start, stop


def load_texts(
    source: TextSource,
    languages: Sequence[str],
    *,
    sentences: int | None,
    seed: int,
    ids: tuple[int, int | None] | None = None,
) -> TextSet:
    """Read every language and take a seeded subset.

    Where all documents carry ids and enough of them are in every language, the subset is drawn from
    those, so the texts are parallel; otherwise positions are drawn for each language from the same
    seed.
    """
    found = {tag: list(source.documents(tag)) for tag in languages}
    problems = []
    if ids is not None:
        for tag, documents in found.items():
            if not all(isinstance(document.id, int) for document in documents):
                problems.append(f"{source.name}, {tag}: --ids needs an integer id in every record")
        if not problems:
            low, high = ids
            found = {
                tag: [d for d in documents if low <= _id(d) and (high is None or _id(d) <= high)]
                for tag, documents in found.items()
            }
    problems += [f"{source.name}, {tag}: no text to score" for tag, d in found.items() if not d]
    if problems:
        raise InputError.several(problems)
    if sentences is not None:
        found = _subset(found, sentences, seed)
    texts = {tag: [document.text for document in documents] for tag, documents in found.items()}
    chosen = None if sentences is None else seed
    return TextSet(source.name, texts, chosen, digest_of(texts), _common_ids(found))


def _subset(
    found: dict[str, list[Document]], sentences: int, seed: int
) -> dict[str, list[Document]]:
    common: set[int | str] | None = None
    for documents in found.values():
        ids = [d.id for d in documents if d.id is not None]
        unique = len(ids) == len(documents) == len(set(ids))
        if not unique:
            common = None
            break
        common = set(ids) if common is None else common & set(ids)
    if common is not None and len(common) >= sentences:
        chosen = set(random.Random(seed).sample(sorted(common, key=str), sentences))
        return {tag: [d for d in docs if d.id in chosen] for tag, docs in found.items()}
    subset = {}
    for tag, documents in found.items():
        places = random.Random(seed).sample(range(len(documents)), min(sentences, len(documents)))
        subset[tag] = [documents[place] for place in sorted(places)]
    return subset


def _common_ids(found: dict[str, list[Document]]) -> tuple[int | str, ...] | None:
    orders = {tuple(document.id for document in documents) for documents in found.values()}
    ids = [identity for identity in orders.pop() if identity is not None] if orders else []
    unique = bool(ids) and not orders and len(set(ids)) == len(ids)
    return tuple(ids) if unique and all(len(ids) == len(d) for d in found.values()) else None


def _id(document: Document) -> int:
    return document.id if isinstance(document.id, int) else -1


def digest_of(texts: dict[str, list[str]]) -> str:
    """SHA-256 of tags and texts, in the order of the tags."""
    state = hashlib.sha256()
    for tag in sorted(texts):
        for text in texts[tag]:
            state.update(f"{tag}\0{text}\0".encode())
    return state.hexdigest()
