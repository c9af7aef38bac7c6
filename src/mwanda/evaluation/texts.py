"""The texts an evaluation scores: read, cut to a seeded subset, the same for every model."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Integral
from pathlib import Path
from typing import Any

from mwanda.errors import InputError, shown
from mwanda.system.arguments import whole_given
from mwanda.system.shown import Shown
from mwanda.text.given import open_text
from mwanda.text.languages import tags_of
from mwanda.text.rows import Document
from mwanda.text.text_source import TextSource, check_languages, held_documents


@dataclass(frozen=True, repr=False)
class TextSet(Shown):
    """Texts by language.

    Attributes:
        source: as the user wrote it.
        texts: language -> texts, in the source's order.
        seed: of the subset, None when everything is taken.
        sha256: of all tags and texts, so that two results can be told to be about the same.
        ids: of the texts, in order, where every language has the same: then they are parallel.
        own_ids: language -> ids of its texts, in order, where it has them; else their places in the
            source. A language that is not there has its texts in a row.
    """

    source: str
    texts: dict[str, list[str]]
    seed: int | None
    sha256: str
    ids: tuple[int | str, ...] | None = None
    own_ids: Mapping[str, tuple[int | str, ...]] = field(default_factory=dict)

    @property
    def counted(self) -> str:
        """``3 languages x 24 sentences``."""
        counts = {*map(len, self.texts.values())}
        languages = f"{len(self.texts)} language{'s' * (len(self.texts) != 1)}"
        if len(counts) == 1:
            return f"{languages} x {counts.pop()} sentences"
        return f"{languages}, {min(counts)} to {max(counts)} sentences each"

    def _summary(self) -> str:
        counts = ", ".join(f"{tag} {len(texts)}" for tag, texts in self.texts.items())
        return f"{self.source}, {counts}"

    def _records(self) -> list[dict[str, Any]]:
        ids = {tag: self.own_ids.get(tag) or range(len(texts)) for tag, texts in self.texts.items()}
        return [
            {"language": tag, "id": one, "text": text}
            for tag, texts in self.texts.items()
            for one, text in zip(ids[tag], texts, strict=True)
        ]


def read_texts(
    text: str | Path | Mapping[str, Any],
    languages: str | Sequence[str] | None = None,
    *,
    sentences: int | None = None,
    seed: int = 0,
    ids: tuple[int, int | None] | str | None = None,
) -> TextSet:
    """Read the texts to score, once for every model that is compared on them.

    Args:
        text: a source as :func:`mwanda.text.given.open_text` takes it.
        languages: tags in any style; None takes all there are.
        sentences: size of a seeded subset a language, None for all.
        ids: lowest and highest record id taken, or ``"0:999"``.

    Raises:
        InputError: unreadable text, or a language that is not there.
    """
    if sentences is not None:
        whole_given("sentences", sentences, 1)
    whole_given("seed", seed, 0)
    source = open_text(text)
    chosen = source.languages() if languages is None else tags_of(languages)
    check_languages(source, chosen)
    return load_texts(source, chosen, sentences=sentences, seed=seed, ids=ids_given(ids))


def texts_given(text: Any, languages: Any, *, seed: int, **which: Any) -> TextSet:
    """Texts read before, which are what they are, or read now."""
    if not isinstance(text, TextSet):
        return read_texts(text, languages, seed=seed, **which)
    for name, value in {"languages": languages, **which}.items():
        if value is not None:
            found = shown(repr(value))
            raise InputError(name, expected="none for texts that were read before", found=found)
    return text


def ids_given(ids: Any) -> tuple[int, int | None] | None:
    """A range of ids from Python: its lowest and highest, or ``"0:999"``."""
    if ids is None:
        return None
    if isinstance(ids, str):
        return parse_ids(ids, "ids")
    pair = list(ids) if isinstance(ids, list | tuple) else []
    whole = [isinstance(one, Integral) and not isinstance(one, bool) for one in pair]
    if len(pair) != 2 or not whole[0] or not (whole[1] or pair[1] is None):
        raise InputError(
            "ids", expected='lowest and highest, (0, 999) or "0:999"', found=shown(repr(ids))
        )
    low, high = int(pair[0]), None if pair[1] is None else int(pair[1])
    return parse_ids(f"{low}:{'' if high is None else high}", "ids")


def parse_ids(text: str, option: str = "--ids") -> tuple[int, int | None]:
    """``1000:`` or ``0:999`` -> lowest and highest ``id`` taken, both included."""
    low, colon, high = text.partition(":")
    try:
        start, stop = int(low or 0), int(high) if high else None
    except ValueError:
        start, stop = 0, -1
    if not colon or start < 0 or (stop is not None and stop < start):
        raise InputError(option, expected="LOWEST:HIGHEST, either may be empty", found=text)
    return start, stop


def within(one: int | str | None, ids: tuple[int, int | None] | None) -> bool:
    """Whether an id is in a range of them; no range holds all."""
    if ids is None:
        return True
    low, high = ids
    return isinstance(one, int) and low <= one and (high is None or one <= high)


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
    seed. Of a stream the first :data:`~mwanda.text.text_source.HELD_OF_STREAM` documents are read.
    """
    read = {
        tag: held_documents(source, tag, draw=(sentences, ids) != (None, None)) for tag in languages
    }
    problems = []
    if ids is not None:
        for tag, documents in read.items():
            if not all(isinstance(document.id, int) for document in documents):
                problems.append(f"{source.name}, {tag}: --ids needs an integer id in every record")
        if problems:
            raise InputError.several(problems)
    places = {
        tag: [place for place, one in enumerate(documents) if within(one.id, ids)]
        for tag, documents in read.items()
    }
    problems += [f"{source.name}, {tag}: no text to score" for tag, p in places.items() if not p]
    if problems:
        raise InputError.several(problems)
    if sentences is not None:
        places = _subset(read, places, sentences, seed)
    found = {tag: [read[tag][place] for place in chosen] for tag, chosen in places.items()}
    texts = {tag: [document.text for document in documents] for tag, documents in found.items()}
    own = {tag: _own_ids(read[tag], chosen) for tag, chosen in places.items()}
    drawn = None if sentences is None else seed
    return TextSet(source.name, texts, drawn, digest_of(texts), _common_ids(found), own)


def _subset(
    read: Mapping[str, list[Document]], places: dict[str, list[int]], sentences: int, seed: int
) -> dict[str, list[int]]:
    """Places in each language's documents, out of those given."""
    common: set[int | str] | None = None
    for tag, allowed in places.items():
        ids = [one for place in allowed if (one := read[tag][place].id) is not None]
        unique = len(ids) == len(allowed) == len(set(ids))
        if not unique:
            common = None
            break
        common = set(ids) if common is None else common & set(ids)
    if common is not None and len(common) >= sentences:
        chosen = set(random.Random(seed).sample(sorted(common, key=str), sentences))
        return {tag: [p for p in allowed if read[tag][p].id in chosen]
                for tag, allowed in places.items()}  # fmt: skip
    subset = {}
    for tag, allowed in places.items():
        drawn = random.Random(seed).sample(range(len(allowed)), min(sentences, len(allowed)))
        subset[tag] = [allowed[place] for place in sorted(drawn)]
    return subset


def _common_ids(found: dict[str, list[Document]]) -> tuple[int | str, ...] | None:
    orders = {tuple(document.id for document in documents) for documents in found.values()}
    ids = [identity for identity in orders.pop() if identity is not None] if orders else []
    unique = bool(ids) and not orders and len(set(ids)) == len(ids)
    return tuple(ids) if unique and all(len(ids) == len(d) for d in found.values()) else None


def _own_ids(documents: list[Document], places: list[int]) -> tuple[int | str, ...]:
    """Of the documents at these places: where any has no id, the places."""
    ids = [one for place in places if (one := documents[place].id) is not None]
    return tuple(ids if len(ids) == len(places) else places)


def digest_of(texts: dict[str, list[str]]) -> str:
    """SHA-256 of tags and texts, in the order of the tags."""
    state = hashlib.sha256()
    for tag in sorted(texts):
        for text in texts[tag]:
            state.update(f"{tag}\0{text}\0".encode())
    return state.hexdigest()
