"""Background text: a little in many languages that nobody named, pooled as if it were of one."""

from __future__ import annotations

import hashlib
import json
import logging
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from mwanda.errors import InputError
from mwanda.system.arguments import whole_given
from mwanda.text.given import GivenText
from mwanda.text.languages import MULTIPLE, same_language
from mwanda.text.packed import read_lines
from mwanda.text.shared_sentences import pack_hashes, unpack_hashes
from mwanda.text.sources import open_source
from mwanda.text.start import start_of
from mwanda.text.text_source import TextSource
from mwanda.text.tokens import Tokenizes
from mwanda.text.window_files import LanguageDraw, Windows, window_sha256
from mwanda.text.window_sizes import BACKGROUND_LENGTH, BACKGROUND_PIECES, BACKGROUND_WINDOWS, UDHR
from mwanda.text.windows import draw

log = logging.getLogger("mwanda")


def open_background(spec: str) -> TextSource:
    """The text that a recipe names, any but none: ``udhr``, or a source of text."""
    if spec != UDHR:
        return open_source(spec)
    path = Path(__file__).parent / "bundled" / "udhr" / "background.jsonl.xz"
    rows = map(json.loads, read_lines(path))
    return GivenText({row["language"]: row["texts"] for row in rows}, name=UDHR)


def with_background(
    named: Windows,
    source: TextSource,
    tokenizer: Tokenizes,
    *,
    windows: int = BACKGROUND_WINDOWS,
    seed: int = 0,
    context: int | None = None,
) -> Windows:
    """The windows of the languages that a user named, and those of the background beside them.

    The background is one more entry, :data:`~mwanda.text.languages.MULTIPLE`. Each of its windows
    is made of pieces in several languages, one after the other, so that few windows hold many.
    Every language of the source that was not named has as many pieces as every other, where there
    is text; where there are more languages than pieces, the seed says which. It also says the
    order. Pieces that fill no window, which may be all of a language, are left out. The windows are
    then fewer than asked for, and one line of the log says how many.

    A language with text for less than a piece, or with none after cleaning, is left out; one line
    of the log names them.

    Args:
        windows: of all languages together, at most; 1 or more.
        context: tokens that the model takes at once; None for any number.
    """
    check_background_windows(windows)
    tags = [
        tag for tag in source.languages()
        if not any(same_language(tag, other) for other in named.languages)
    ]  # fmt: skip
    order, pieces = random.Random(f"{seed}/{MULTIPLE}"), windows * BACKGROUND_PIECES
    if len(tags) > pieces:
        tags = sorted(order.sample(tags, pieces))
    if not tags:
        log.warning("background: none, %s has no language beside those named", source.name)
        return named
    start = start_of(tokenizer)
    room = (min(BACKGROUND_LENGTH, context or BACKGROUND_LENGTH) - len(start)) // BACKGROUND_PIECES
    clean = source.name == UDHR  # was cleaned before it was bundled
    # Three languages with one piece each fill no window.
    each = max(pieces // len(tags), -(-BACKGROUND_PIECES // len(tags)))
    drawn = draw(
        source, tokenizer, tags, windows=each, length=room + len(start), seed=seed,
        allow_short=True, keep_english=clean, keep_repeated=clean, part=True,
    )  # fmt: skip
    rows = [(tag, row) for tag, ids in drawn.tokens.items() for row in ids[:, len(start) :]]
    rows = [(tag, row) for tag, row in rows if len(row) == room]
    short = sorted({*tags} - {tag for tag, _ in rows})
    if short:
        log.info(
            "background: left out, with text for less than a piece of %d tokens: %s", room,
            ", ".join(short),
        )  # fmt: skip
    order.shuffle(rows)
    rows = rows[: len(rows) // BACKGROUND_PIECES * BACKGROUND_PIECES]
    if not rows:
        raise InputError(
            f"background {source.name}",
            expected=f"{BACKGROUND_PIECES} pieces of {room} tokens or more", found="less text",
            fix="give more, or --background none",
        )  # fmt: skip
    if len(rows) < pieces:
        told = "background: %d of the %d windows asked for, filled by %d languages"
        log.info(told, len(rows) // BACKGROUND_PIECES, windows, len({tag for tag, _ in rows}))
    text = torch.stack([row for _, row in rows]).view(-1, BACKGROUND_PIECES * room)
    first = torch.tensor(start, dtype=torch.int64).expand(len(text), len(start))
    tokens, used = torch.cat([first, text], dim=1), {tag for tag, _ in rows}
    return replace(
        named,
        tokens={**named.tokens, MULTIPLE: tokens},
        draws={
            **named.draws,
            MULTIPLE: _pooled([drawn.draws[tag] for tag in sorted(used)], tokens),
        },
        background=tuple(sorted(used)),
        background_source=source.name,
    )


def check_background_windows(windows: int) -> None:
    """Refuse a number of windows of background text that is none."""
    whole_given("--background-windows", windows, 1)


def chosen(windows: Windows, languages: Sequence[str], *, background: bool) -> Windows:
    """Windows of these languages, in this order, with the background that is there or without."""
    kept = background and MULTIPLE in windows.tokens
    tags = [*languages, MULTIPLE] if kept else languages
    return replace(
        windows,
        tokens={tag: windows.tokens[tag] for tag in tags},
        draws={tag: windows.draws[tag] for tag in tags},
        background=windows.background if kept else (),
        background_source=windows.background_source if kept else None,
    )


def _pooled(draws: Sequence[LanguageDraw], tokens: torch.Tensor) -> LanguageDraw:
    """Several languages' draws as one."""
    hashes = frozenset[bytes]().union(*(unpack_hashes(one.sentence_hashes) for one in draws))
    prints = [one.source_sha256 for one in draws]
    known = hashlib.sha256(" ".join(map(str, prints)).encode()).hexdigest()
    return LanguageDraw(
        language=MULTIPLE,
        windows=len(tokens),
        tokens=tokens.numel(),
        documents=sum(one.documents for one in draws),
        duplicates_dropped=sum(one.duplicates_dropped for one in draws),
        english_lines_dropped=sum(one.english_lines_dropped for one in draws),
        documents_emptied=sum(one.documents_emptied for one in draws),
        window_sha256=window_sha256(tokens),
        sentence_hashes=pack_hashes(hashes),
        source_sha256=None if None in prints else known,
    )
