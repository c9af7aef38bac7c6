"""Which sentences are of one article, told by their ids."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

ARTICLE = 5
"""Sentences whose ids are at most this far apart are taken to be of one article. On FLORES the
losses of neighbours correlate at 0.36, those of sentences 7 to 9 ids apart not at all."""

LONGEST = 4
"""A cluster reaches over at most so many times that: ids in a row are not one endless article."""

SHARED = 3
"""Ids that so many sentences share on average are those of articles, not of sentences."""


def clusters_of(ids: Sequence[int | str], apart: int = ARTICLE) -> list[int]:
    """The article of every sentence, numbered from 0.

    Equal ids are of one article, and where most come again, an id is an article. Elsewhere
    neighbours are of one, in whatever order they stand; a name that holds a number is that number
    in the document of the name, and another is alone. Where ids follow each other without a gap for
    longer than an article can be, they are cut at the widest gap, of equal ones in the middle.

    Args:
        apart: sentences whose ids differ by at most this are of one article; 0 takes each alone.
    """
    numbers = {identity: number for number, identity in enumerate(dict.fromkeys(ids))}
    if len(ids) >= SHARED * len(numbers):
        return [numbers[identity] for identity in ids]
    places = _places(ids)
    order = sorted(range(len(ids)), key=places.__getitem__)
    found = [0] * len(ids)
    number, start = 0, 0
    for end in range(1, len(order) + 1):
        if end < len(order):
            (name, last), (next_name, here) = places[order[end - 1]], places[order[end]]
            if name == next_name and here - last <= apart:
                continue
        for group in _short([(places[index][1], index) for index in order[start:end]], apart):
            for _, index in group:
                found[index] = number
            number += 1
        start = end
    return found


def _places(ids: Sequence[int | str]) -> list[tuple[str, int]]:
    """The document of every sentence, and its number in it.

    Of several numbers in a name it is the last, as in ``doc3-17``, unless that changes less than
    half as often from line to line as another: ``17_doc3``.
    """
    split = [["", str(one), ""] if isinstance(one, int) else re.split(_NUMBER, one) for one in ids]
    alike: dict[tuple[str, ...], list[list[str]]] = {}
    for parts in split:
        alike.setdefault(tuple(parts[::2]), []).append(parts[1::2])
    counting = {name: _counting(numbers) for name, numbers in alike.items()}
    found = []
    for parts in split:
        column = counting[tuple(parts[::2])]
        place = 0 if column is None else int(parts.pop(2 * column + 1))
        found.append(("".join(parts), place))
    return found


def _counting(numbers: list[list[str]]) -> int | None:
    """Which number of names alike, in the order of the text, counts sentences."""
    changes = [sum(a != b for a, b in pairwise(column)) for column in zip(*numbers, strict=True)]
    if not changes:
        return None
    last = len(changes) - 1
    most = max(range(len(changes)), key=changes.__getitem__)
    return most if 2 * changes[last] < changes[most] else last


_NUMBER = r"(?<!\d)(\d{1,15})(?!\d)"
"""More digits than a line number has are a name's."""


def _short(group: list[tuple[int, int]], apart: int) -> list[list[tuple[int, int]]]:
    """Sentences in order of their numbers, cut until no piece reaches too far."""
    pieces, waiting = [], [group]
    while waiting:
        piece = waiting.pop()
        if piece[-1][0] - piece[0][0] <= LONGEST * apart:
            pieces.append(piece)
            continue
        cut = max(
            (piece[n][0] - piece[n - 1][0], -abs(n - len(piece) / 2), n)
            for n in range(1, len(piece))
        )[2]
        waiting += [piece[cut:], piece[:cut]]
    return pieces
