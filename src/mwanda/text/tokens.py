"""Token ids of a text, a long one's piece by piece, so that what a tokenizer holds stays small.

A tokenizer keeps a few hundred bytes for every token it gives, until all of a text is done. A text
of more than :data:`PIECE` characters is given to it in pieces that overlap, and the pieces are
joined where both have the same tokens at the same places to either side: the ids are then those of
the text as a whole.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from mwanda.text.shared_sentences import parts_at_space

PIECE = 1 << 17
"""Characters that are tokenised at once."""

OVERLAP = 1 << 11
"""Characters that two pieces have in common."""

AGREEING = 16
"""Tokens to either side of a join that both pieces have."""


class Tokenizes(Protocol):
    """What is used of a transformers tokenizer."""

    def __call__(
        self, text: str, *, add_special_tokens: bool = ..., verbose: bool = ...
    ) -> Mapping[str, Any]: ...


def token_ids(tokenizer: Any, text: str) -> list[int]:
    """All ids of a text, without any that the tokenizer adds."""
    return [one for ids in pieces_of_ids(tokenizer, text) for one in ids]


def first_ids(tokenizer: Any, text: str, count: int) -> list[int]:
    """The first ``count`` ids of a text, or all there are; the rest is not looked at."""
    found: list[int] = []
    for ids in pieces_of_ids(tokenizer, text):
        found += ids
        if len(found) >= count:
            break
    return found[:count]


def pieces_of_ids(tokenizer: Any, text: str) -> Iterator[list[int]]:
    """The ids of a text in order, a piece at a time."""
    if len(text) <= PIECE + OVERLAP:
        yield list(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])
    elif getattr(tokenizer, "is_fast", False):
        yield from _joined(tokenizer, text)
    else:
        for part in parts_at_space(text, PIECE):
            yield list(tokenizer(part, add_special_tokens=False, verbose=False)["input_ids"])


class _Piece:
    """A part of a text as tokens, with where each begins and ends in the whole."""

    def __init__(self, tokenizer: Any, text: str, begin: int, end: int) -> None:
        made = tokenizer(
            text[begin:end], add_special_tokens=False, verbose=False, return_offsets_mapping=True
        )
        self.ids: list[int] = list(made["input_ids"])
        self.starts = [begin + start for start, _ in made["offset_mapping"]]
        self.end = end


def _joined(tokenizer: Any, text: str) -> Iterator[list[int]]:
    piece, first = _Piece(tokenizer, text, 0, PIECE + OVERLAP), 0
    while piece.end < len(text):
        begin = piece.end - OVERLAP
        following = _Piece(tokenizer, text, begin, min(begin + PIECE + OVERLAP, len(text)))
        last, next_first = _join(piece, following)
        yield piece.ids[first:last]
        piece, first = following, next_first
    yield piece.ids[first:]


def _join(piece: _Piece, following: _Piece) -> tuple[int, int]:
    """Where to leave one piece, and where to enter the next; nearest to the overlap's middle."""
    middle = piece.end - OVERLAP // 2
    at = bisect_left(piece.starts, middle)
    low = bisect_left(piece.starts, piece.end - OVERLAP)
    for distance in range(len(piece.ids)):
        for place in {at - distance, at + distance}:
            if low + AGREEING <= place <= len(piece.ids) - AGREEING:
                other = bisect_left(following.starts, piece.starts[place])
                if _agree(piece, place, following, other):
                    return place, other
        if at - distance < low and at + distance > len(piece.ids):
            break
    return at, bisect_left(following.starts, middle)


def _agree(piece: _Piece, place: int, following: _Piece, other: int) -> bool:
    """Whether the tokens around two places are the same, at the same characters."""
    if other < AGREEING or bisect_left(piece.starts, piece.starts[place]) < place:
        return False
    mine = slice(place - AGREEING, place + AGREEING)
    theirs = slice(other - AGREEING, other + AGREEING)
    same = piece.ids[mine] == following.ids[theirs]
    return same and piece.starts[mine] == following.starts[theirs]


def vocabulary_sha256(tokenizer: Any) -> str | None:
    """Of a tokenizer's tokens and their ids; None for one that does not tell them."""
    tell = getattr(tokenizer, "get_vocab", None)
    if tell is None:
        return None
    told = sorted((number, token) for token, number in tell().items())
    text = "".join(f"{number} {token}\n" for number, token in told)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
