"""Which tokens of a BPE vocabulary a token is built from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any


class MergeTrees:
    """What BPE makes of a token's own text on the way to it.

    The first rule that makes a token is often not the one that is used: most tokens of a large
    vocabulary can be made in several ways, and which one is taken is decided by the order of all
    the rules.
    """

    def __init__(
        self, ids: Mapping[str, int], merges: Iterable[tuple[str, str]], prefix: str, suffix: str
    ) -> None:
        self._ids, self._prefix, self._suffix = ids, prefix, suffix
        self._ranks = {pair: rank for rank, pair in enumerate(merges)}

    def nodes(self, token: str) -> set[int]:
        """Ids of every piece there is at any time while the token's own text is merged."""
        parts = self._letters(token)
        seen = {token, *parts}
        while len(parts) > 1:
            pairs = [self._ranks.get(pair) for pair in pairwise(parts)]
            ranks = [rank for rank in pairs if rank is not None]
            if not ranks:
                break
            at = pairs.index(min(ranks))
            parts[at : at + 2] = [parts[at] + parts[at + 1][len(self._prefix) :]]
            seen.add(parts[at])
        return {self._ids[text] for text in seen if text in self._ids}

    def _letters(self, token: str) -> list[str]:
        """Where merging begins: one character each, marked as inside of or as the end of a word."""
        prefix, suffix = self._prefix, self._suffix
        inside = bool(prefix) and token.startswith(prefix)
        ends = bool(suffix) and token.endswith(suffix)
        text = token[len(prefix) if inside else 0 : len(token) - (len(suffix) if ends else 0)]
        parts = [prefix + one if inside or number else one for number, one in enumerate(text)]
        return [*parts[:-1], parts[-1] + suffix] if parts and ends else parts


def pair_of(merge: Any) -> tuple[str, str]:
    """A rule of BPE, which older files write as one text."""
    left, right = merge.split(" ") if isinstance(merge, str) else merge
    return left, right
