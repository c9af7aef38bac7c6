"""Documents to token windows: cleaned, shuffled by a seed, packed, hashed.

Documents are put end to end and cut into windows, so a short document is as welcome as a long
one and nothing is padded. A language's windows depend on the source, the tokenizer, the seed
and that language alone: adding a language changes no other's.
"""

from __future__ import annotations

import hashlib
import logging
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch

from mwanda.errors import InputError
from mwanda.text.cleaning import Cleaner, english_lines, speaks_english_words
from mwanda.text.overlap import pack_hashes, text_hashes
from mwanda.text.sources import Document, TextSource, available, check_languages
from mwanda.text.tokens import Tokenizes, pieces_of_ids
from mwanda.text.window_files import LanguageDraw, Windows, load, save, window_sha256

__all__ = [
    "LanguageDraw",
    "Tokenizes",
    "Windows",
    "bos_rule",
    "draw",
    "load",
    "save",
    "window_sha256",
]

log = logging.getLogger("mwanda")

_SEPARATOR = "\n"
_SHUFFLE_BUFFER = 10_000


def bos_rule(tokenizer: Tokenizes) -> int | None:
    """The id the tokenizer itself puts before every text, or None if it puts none there."""
    first = tokenizer.bos_token_id
    ids = list(tokenizer("a", add_special_tokens=True, verbose=False)["input_ids"])
    return first if first is not None and ids[:1] == [first] else None


def draw(
    source: TextSource,
    tokenizer: Tokenizes,
    languages: Sequence[str],
    *,
    windows: int,
    length: int,
    seed: int,
    allow_short: bool = False,
    keep_english: bool = False,
    keep_repeated: bool = False,
) -> Windows:
    """Draws the same number of windows of each language, without padding.

    Every document is followed by a line feed and the documents are put end to end. Where the
    tokenizer itself begins a text with a BOS token, every window begins with it. Reading stops
    with the document that fills the last window; the rest of that document is not used.

    Args:
        languages: canonical tags, each once.
        windows: windows of each language, at least 1.
        length: tokens in a window, at least 2, the BOS token included.
        seed: of the order of the documents.
        allow_short: take what there is where a language has too little text: as many whole
            windows as it fills, or else a single shorter one.
        keep_english: leave lines of English in other languages' text.
        keep_repeated: leave pages that come again.

    Returns:
        int64 ``[windows, length]`` for each language, in the order given.

    Raises:
        InputError: sizes too small, a language the source lacks, or one with too little text;
            all languages at once.
    """
    for name, value, least in (("windows", windows, 1), ("length", length, 2)):
        if value < least:
            raise InputError(name, expected=f"at least {least}", found=str(value))
    if not languages or len(set(languages)) < len(languages):
        found = ", ".join(languages) or "none"
        raise InputError("languages", expected="at least one, each once", found=found)
    check_languages(source, languages)
    bos = bos_rule(tokenizer)
    english = frozenset() if keep_english else _english(source, languages)
    tokens: dict[str, torch.Tensor] = {}
    draws: dict[str, LanguageDraw] = {}
    problems: list[str] = []
    for language in languages:
        cleaner = Cleaner(
            language, english=english, keep_english=keep_english, keep_repeated=keep_repeated
        )
        try:
            documents = _shuffled(source, cleaner, language, seed)
            packed = _pack(documents, tokenizer, bos, windows, length)
            tokens[language] = _cut(language, packed, bos, windows, length, allow_short)
        except InputError as error:
            dropped = (
                f"; dropped before that: {cleaner.counts.words}" if cleaner.counts.words else ""
            )
            problems.extend(f"{problem}{dropped}" for problem in error.problems)
            continue
        if cleaner.counts.words:
            log.info("%s, %s: dropped %s", source.name, language, cleaner.counts.words)
        draws[language] = _describe(language, tokens[language], packed, cleaner, source, bos)
    if problems:
        raise InputError.several(problems)
    rule = "none" if bos is None else f"first token of every window: id {bos}"
    kept = (("english", keep_english), ("repeated", keep_repeated))
    return Windows(
        tokens, draws, source.name, seed, rule, length, tuple(name for name, on in kept if on)
    )


def _english(source: TextSource, languages: Sequence[str]) -> frozenset[bytes]:
    """The source's own English lines, unless no language needs them or the text has no end."""
    if source.streamed or all(map(speaks_english_words, languages)):
        return frozenset()
    tags = [tag for tag in available(source) if tag.split("-")[0] == "en"]
    return english_lines(source.documents(tags[0])) if tags else frozenset()


def _shuffled(source: TextSource, cleaner: Cleaner, language: str, seed: int) -> Iterator[Document]:
    """The cleaned documents in an order that the seed and the language alone decide."""
    # hash() differs between runs, so the generator is seeded through SHA-256.
    key = hashlib.sha256(f"{seed}/{language}".encode()).digest()
    generator = random.Random(int.from_bytes(key, "big"))
    documents = cleaner.clean(source.documents(language))
    if not source.streamed:
        everything = list(documents)
        generator.shuffle(everything)
        yield from everything
        return
    buffer: list[Document] = []
    for document in documents:
        if len(buffer) < _SHUFFLE_BUFFER:
            buffer.append(document)
            continue
        place = generator.randrange(_SHUFFLE_BUFFER)
        yield buffer[place]
        buffer[place] = document
    generator.shuffle(buffer)
    yield from buffer


@dataclass(frozen=True)
class _Packed:
    """A stream of tokens and the documents it is made of, each with where it begins."""

    ids: list[int]
    documents: list[tuple[int, Document]]


def _pack(
    documents: Iterable[Document],
    tokenizer: Tokenizes,
    bos: int | None,
    windows: int,
    length: int,
) -> _Packed:
    """Tokens of whole documents, at least as many as the windows need if there are."""
    need = windows * _room(length, bos)
    packed = _Packed([], [])
    for document in documents:
        packed.documents.append((len(packed.ids), document))
        for ids in pieces_of_ids(tokenizer, document.text.strip() + _SEPARATOR):
            packed.ids.extend(ids)
            if len(packed.ids) >= need:
                return packed
    return packed


def _cut(
    language: str,
    packed: _Packed,
    bos: int | None,
    windows: int,
    length: int,
    allow_short: bool,
) -> torch.Tensor:
    """The windows, int64 ``[windows, length]``; fewer or a shorter one if that is allowed."""
    room = _room(length, bos)
    have, need = len(packed.ids), windows * room
    if have < need:
        if not allow_short or have < _room(2, bos):
            raise InputError(
                f"language {language!r}",
                expected=f"{need} tokens of text for {windows} windows of {length}",
                found=str(have),
                fix="add text"
                if allow_short
                else "add text, ask for fewer or shorter windows, or pass --allow-short",
            )
        windows, room = (have // room, room) if have >= room else (1, have)
    cut = torch.tensor(packed.ids[: windows * room], dtype=torch.int64).view(windows, room)
    if bos is None:
        return cut
    return torch.cat([torch.full((windows, 1), bos, dtype=torch.int64), cut], dim=1)


def _room(length: int, bos: int | None) -> int:
    """Tokens of text in a window."""
    return length if bos is None else length - 1


def _describe(
    language: str,
    tokens: torch.Tensor,
    packed: _Packed,
    cleaner: Cleaner,
    source: TextSource,
    bos: int | None,
) -> LanguageDraw:
    used = tokens.shape[0] * _room(tokens.shape[1], bos)
    documents = [document for start, document in packed.documents if start < used]
    hashes = {known for item in documents for known in text_hashes(item.text)}
    return LanguageDraw(
        language=language,
        windows=tokens.shape[0],
        tokens=tokens.numel(),
        documents=len(documents),
        duplicates_dropped=cleaner.counts.duplicates_dropped,
        english_lines_dropped=cleaner.counts.english_lines_dropped,
        documents_emptied=cleaner.counts.documents_emptied,
        window_sha256=window_sha256(tokens),
        sentence_hashes=pack_hashes(hashes),
        source_sha256=source.fingerprint(language),
    )
