"""Texts as token pieces: cut into strides, sorted by length, padded into batches."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch

from mwanda.errors import InputError

log = logging.getLogger("mwanda")

MAX_LENGTH = 2048
"""Longest input in tokens unless the model's context is shorter; longer texts go in strides."""


@dataclass(frozen=True)
class Piece:
    """Part of a text: tokens, of which those from ``first`` on are scored."""

    text: int
    ids: list[int]
    first: int


def cut(text: int, ids: list[int], start: Sequence[int], limit: int) -> Iterator[Piece]:
    """One text's tokens as pieces of at most ``limit``, the start before each included.

    Of the start nothing is scored; a text of which nothing else can be scored has no piece.
    Longer texts overlap by half: each token is scored once, with at least half a piece of context
    (the first piece apart).
    """
    prefix = list(start)
    room = limit - len(prefix)
    begin, scored = 0, 0 if prefix else 1  # without a start the first token has no context
    stride = max(1, room // 2)
    while scored < len(ids):
        end = min(begin + room, len(ids))
        yield Piece(text, prefix + ids[begin:end], scored - begin + len(prefix))
        scored, begin = end, begin + stride


def text_pieces(
    texts: Iterable[list[int]],
    start: Sequence[int],
    max_length: int | None,
    context: int | None,
    vocabulary: int | None,
) -> list[Piece]:
    """All texts' tokens as pieces.

    Args:
        texts: the ids of every text, without any put before it.
        start: the ids put before every piece, see :func:`mwanda.text.start.start_of`.
        max_length: tokens of one piece; None for :data:`MAX_LENGTH`.
        context: most that the model takes, None where any number.
        vocabulary: ids that the model has; None where that is not known.
    """
    asked = MAX_LENGTH if max_length is None else max_length
    limit = min(asked, context or asked)
    if limit < asked != MAX_LENGTH:
        log.warning("max_length %d: the model's context is %d tokens, which is taken", asked, limit)
    least = max(1, len(start)) + 1
    if limit < least:
        raise InputError("max_length", expected=f"at least {least}", found=str(limit))
    pieces = [piece for index, ids in enumerate(texts) for piece in cut(index, ids, start, limit)]
    highest = max((max(piece.ids) for piece in pieces), default=0)
    if vocabulary is not None and highest >= vocabulary:
        raise InputError(
            "tokenizer",
            expected=f"token ids below the model's vocabulary of {vocabulary}",
            found=str(highest),
            fix="use the tokenizer that belongs to the model",
        )
    return pieces


def scored_tokens(pieces: Sequence[Piece], texts: int) -> list[int]:
    """How many tokens of every text are scored."""
    counts = [0] * texts
    for piece in pieces:
        counts[piece.text] += len(piece.ids) - piece.first
    return counts


def stride_settings(pieces: Sequence[Piece]) -> dict[str, int]:
    """Tokens of the longest piece where a text is longer than one; nothing where none is."""
    if len({piece.text for piece in pieces}) == len(pieces):
        return {}
    return {"strides_of": max(len(piece.ids) for piece in pieces)}


def batches_of(pieces: Sequence[Piece], batch_tokens: int) -> list[list[Piece]]:
    """Pieces of like length together, longest first, so that padding is little."""
    batches: list[list[Piece]] = []
    width = 0
    for piece in sorted(pieces, key=lambda p: len(p.ids), reverse=True):
        if not batches or (len(batches[-1]) + 1) * width > batch_tokens:
            batches.append([])
            width = len(piece.ids)
        batches[-1].append(piece)
    return batches


def padded(batch: Sequence[Piece]) -> torch.Tensor:
    """``int64 [batch, longest]``, filled on the right with a row's own first token.

    No mask goes with it: in a causal model no position sees those after it, so the filling changes
    nothing that is scored, and the blocks may take the path that they have for unmasked input.
    """
    width = max(len(piece.ids) for piece in batch)
    rows = [piece.ids + [piece.ids[0]] * (width - len(piece.ids)) for piece in batch]
    return torch.tensor(rows, dtype=torch.int64)
