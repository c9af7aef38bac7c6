"""Documents to token windows: cleaned, shuffled by a seed, packed, hashed.

Documents are put end to end and cut into windows, so a short document is as welcome as a long
one and nothing is padded. A language's windows depend on the source, the tokenizer, the seed
and that language alone: adding a language changes no other's.
"""

from __future__ import annotations

import hashlib
import logging
import random
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch

from mwanda.errors import InputError
from mwanda.text.cleaning import Cleaner, english_lines, speaks_english_words
from mwanda.text.rows import Document
from mwanda.text.shared_sentences import pack_hashes, text_hashes
from mwanda.text.start import shown_start, start_of
from mwanda.text.text_source import HELD_OF_STREAM, TextSource, available, check_languages
from mwanda.text.tokens import Tokenizes, pieces_of_ids, vocabulary_sha256
from mwanda.text.window_files import LanguageDraw, Windows, window_sha256
from mwanda.text.window_sizes import Sizes, say_shrunk

log = logging.getLogger("mwanda")

_SEPARATOR = "\n"


def draw(
    source: TextSource,
    tokenizer: Tokenizes,
    languages: Sequence[str],
    *,
    windows: int | None = None,
    length: int | None = None,
    seed: int,
    allow_short: bool = False,
    context: int | None = None,
    keep_english: bool = False,
    keep_repeated: bool = False,
    part: bool = False,
) -> Windows:
    """Draws windows of each language, without padding: of all as many, where there is text.

    Every document is followed by a line feed and the documents are put end to end. Every window
    begins with what the tokenizer itself puts before a text. Reading stops with the document that
    fills the last window; the rest of that document is not used.

    Args:
        languages: canonical tags, each once.
        windows, length: of each language, and tokens in one, those that begin a text included.
            Where one of the two is None, the default shrinks to the context and to each language's
            text, said in one line.
        seed: of the order of the documents.
        allow_short: take what there is where a language has less text than was asked for: as many
            whole windows as it fills, or else a single shorter one.
        context: tokens that the model takes at once; None for any number.
        keep_english: leave lines of English in other languages' text.
        keep_repeated: leave pages that come again.
        part: of another draw: languages with too little text are left out, the log says nothing
            of it, and the vocabulary is not hashed.

    Returns:
        int64 ``[windows, length]`` for each language that was not left out, in the order given.
    """
    if not languages or len(set(languages)) < len(languages):
        found = ", ".join(languages) or "none"
        raise InputError("languages", expected="at least one, each once", found=found)
    start = start_of(tokenizer)
    asked = Sizes.of(windows, length, allow_short=allow_short)
    used = asked.within(context)
    least = max(1, len(start)) + 1
    for name, value, lowest in (("windows", used.windows, 1), ("length", used.length, least)):
        if value < lowest:
            raise InputError(name, expected=f"at least {lowest}", found=str(value))
    check_languages(source, languages)
    prints = fingerprints(source, languages, keep_english=keep_english)
    english = frozenset() if keep_english else _english(source, languages)
    tokens: dict[str, torch.Tensor] = {}
    draws: dict[str, LanguageDraw] = {}
    problems: list[str] = []
    short: dict[str, int] = {}
    dropped: dict[str, str] = {}
    for language in languages:
        cleaner = Cleaner(
            language, english=english, keep_english=keep_english, keep_repeated=keep_repeated
        )
        try:
            documents = _shuffled(source, cleaner, language, seed)
            packed = _pack(documents, tokenizer, used.windows * (used.length - len(start)))
        except InputError as error:
            words = _after_dropping(cleaner.counts.words)
            problems.extend(f"{problem}{words}" for problem in error.problems)
            continue
        if cleaner.counts.words:
            dropped[language] = cleaner.counts.words
        if cleaner.counts.words and not part:
            log.info("%s, %s: dropped %s", source.name, language, cleaner.counts.words)
        shape = used.fitted(len(packed.ids), len(start))
        if shape is None:
            short[language] = len(packed.ids)
            continue
        tokens[language] = _cut(packed, start, *shape)
        draws[language] = _describe(
            language, tokens[language], packed, cleaner, prints[language], start
        )
    if short and not part:
        told = used.too_little(short, len(start), [*tokens]).problems
        for tag, problem in zip(short, told, strict=True):
            problems.append(problem + _after_dropping(dropped.get(tag)))
    if problems:
        raise InputError.several(problems)
    if not part:
        say_shrunk(asked, used, {tag: tuple(ids.shape) for tag, ids in tokens.items()})
    places = "first token of every window" if len(start) < 2 else "first tokens of every window"
    rule = shown_start(start, places)
    kept = (("english", keep_english), ("repeated", keep_repeated))
    left = tuple(name for name, on in kept if on)
    known = None if part else vocabulary_sha256(tokenizer)
    return Windows(tokens, draws, source.name, seed, rule, used.length, left, known)


def _after_dropping(words: str | None) -> str:
    """What an error about too little text says of the text that cleaning took out."""
    return f"; dropped before that: {words}" if words else ""


def _english_page(source: TextSource, languages: Sequence[str]) -> str | None:
    """The tag of the source's own English, in which cleaning looks other languages' lines up; None
    where no language needs it or the text has no end. A file that is read on request alone, as
    ``en-de``, is never it."""
    if source.streamed or all(map(speaks_english_words, languages)):
        return None
    passed_over: Collection[str] = getattr(source, "on_request", ())
    there = (tag for tag in available(source) if tag not in passed_over)
    return next((tag for tag in there if tag.split("-")[0] == "en"), None)


def _english(source: TextSource, languages: Sequence[str]) -> frozenset[bytes]:
    """Lines of the source's own English, where they are needed and can be read."""
    page = _english_page(source, languages)
    if page is None:
        return frozenset()
    try:
        return english_lines(source.documents(page))
    except (InputError, OSError) as error:
        log.warning(
            "no line of other languages is looked up in the English text, which cannot be read: %s",
            error,
        )
        return frozenset()


def fingerprints(
    source: TextSource, languages: Sequence[str], *, keep_english: bool
) -> dict[str, str | None]:
    """SHA-256 of what a language's windows are drawn from: its file, joined with the English one
    where cleaning looks its lines up there; None for a data set of the Hub."""
    found = {tag: source.fingerprint(tag) for tag in languages}
    page = None if keep_english else _english_page(source, languages)
    if page is None:
        return found
    try:
        english = source.fingerprint(page)
    except (InputError, OSError):  # cleaning goes without it too
        return found
    return {
        tag: own
        if own is None or speaks_english_words(tag)
        else hashlib.sha256(f"{own} {english}".encode()).hexdigest()
        for tag, own in found.items()
    }


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
        if len(buffer) < HELD_OF_STREAM:
            buffer.append(document)
            continue
        place = generator.randrange(HELD_OF_STREAM)
        yield buffer[place]
        buffer[place] = document
    generator.shuffle(buffer)
    yield from buffer


@dataclass(frozen=True)
class _Packed:
    """A stream of tokens and the documents it is made of, each with where it begins."""

    ids: list[int]
    documents: list[tuple[int, Document]]


def _pack(documents: Iterable[Document], tokenizer: Tokenizes, need: int) -> _Packed:
    """Tokens of whole documents, at least as many as are needed if there are."""
    packed = _Packed([], [])
    for document in documents:
        packed.documents.append((len(packed.ids), document))
        for ids in pieces_of_ids(tokenizer, document.text.strip() + _SEPARATOR):
            packed.ids.extend(ids)
            if len(packed.ids) >= need:
                return packed
    return packed


def _cut(packed: _Packed, start: Sequence[int], windows: int, room: int) -> torch.Tensor:
    """The windows with their start, int64 ``[windows, start + room]``."""
    text = torch.tensor(packed.ids[: windows * room], dtype=torch.int64).view(windows, room)
    first = torch.tensor(start, dtype=torch.int64).expand(windows, len(start))
    return torch.cat([first, text], dim=1)


def _describe(
    language: str,
    tokens: torch.Tensor,
    packed: _Packed,
    cleaner: Cleaner,
    source_sha256: str | None,
    start: Sequence[int],
) -> LanguageDraw:
    used = tokens.shape[0] * (tokens.shape[1] - len(start))
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
        source_sha256=source_sha256,
    )
