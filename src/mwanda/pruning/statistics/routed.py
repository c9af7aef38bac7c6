"""Statistics of experts: they see only the tokens routed to them, some languages' not at all."""

from __future__ import annotations

from collections.abc import Mapping

from mwanda.methods.input_statistics import FeatureSums, InputStatistics, summarise
from mwanda.model.run.structure import expert_of
from mwanda.pruning.statistics.capture import BlockSums

Routing = dict[str, dict[str, list[int | None]]]
"""Path of the experts -> language -> tokens routed to expert 0, 1, …; None where not looked at."""


def tokens_seen(sums: Mapping[str, FeatureSums], weights: Mapping[str, float]) -> int:
    """Tokens of all languages that count (weight above 0)."""
    return sum(entry.tokens for tag, entry in sums.items() if weights[tag] > 0)


def inputs_of(
    name: str, sums: Mapping[str, FeatureSums], weights: Mapping[str, float], minimum: int
) -> InputStatistics | None:
    """What is known of a linear's inputs; None where an expert saw fewer tokens than the minimum,
    at least 1, of the languages that count.

    A language none of whose tokens reached an expert is left out there; the weights of the others
    are scaled to sum to 1."""
    known = {tag: entry for tag, entry in sums.items() if entry.tokens}
    if expert_of(name) is not None and tokens_seen(known, weights) < max(minimum, 1):
        return None
    return summarise(known, weights)


def routed_tokens(sums: BlockSums) -> Routing:
    """How many tokens of each language went to each expert of one block."""
    tags = sorted({tag for entries in sums.values() for tag in entries})
    found: Routing = {}
    for name, entries in sums.items():
        place = expert_of(name)
        if place is None:
            continue
        path, number = place
        for tag in tags:
            counts = found.setdefault(path, {}).setdefault(tag, [])
            counts += [None] * (number + 1 - len(counts))
            counts[number] = entries[tag].tokens if tag in entries else 0
    return found
