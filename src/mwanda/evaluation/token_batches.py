"""Texts as token pieces: cut into strides, sorted by length, padded into batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch


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
