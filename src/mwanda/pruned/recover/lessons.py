"""What a model learns from and what it is watched on: windows of every language, in which order."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from mwanda.errors import InputError
from mwanda.text.window_files import Windows

Window = tuple[str, int]
"""Language, and number among its windows."""

SHARE_HELD_OUT, MOST_HELD_OUT = 8, 4
"""Of so many windows of a language one is held out by default, and at most so many: each is run
ten times."""

HASTE, LEAST = 4, 0.5
"""Power by which a language takes more turns the more of its divergence is left; nobody has less
left than this part of what the worst has."""


def held_of(windows: int) -> int:
    """How many of a language's windows are held out by default: an eighth, one to four."""
    return min(max(1, windows // SHARE_HELD_OUT), MOST_HELD_OUT)


def held_out_of(source: str, sizes: Mapping[str, int], held_out: int | None) -> dict[str, int]:
    """How many windows of each language are held out.

    Args:
        source: of the text, for a message.
        sizes: language -> how many windows it has.
        held_out: how many; None for :func:`held_of`.

    Raises:
        InputError: a language with nothing left to learn from.
    """
    held = {tag: held_of(size) if held_out is None else held_out for tag, size in sizes.items()}
    short = [tag for tag, size in sizes.items() if size <= held[tag]]
    if short:
        raise InputError.several(
            str(InputError(
                f"{source}, {tag}",
                expected=f"at least {held[tag] + 1} windows: {held[tag]} held out, the rest to "
                "learn from",
                found=str(sizes[tag]),
                fix="give more text, shorter windows, or leave the language out",
            ))
            for tag in short
        )  # fmt: skip
    return held


@dataclass(frozen=True)
class Lessons:
    """Windows to learn from and windows held out, of every language.

    Attributes:
        tokens: language -> ``int64 [windows, length]``; those held out are its last.
        held_out: language -> how many.
        weights: language -> weight, summing to 1.
    """

    tokens: Mapping[str, torch.Tensor]
    held_out: Mapping[str, int]
    weights: Mapping[str, float]

    @classmethod
    def of(cls, windows: Windows, weights: Mapping[str, float], held_out: int | None) -> Lessons:
        """Some windows of each language held out.

        Args:
            held_out: how many; None for :func:`held_of`.

        Raises:
            InputError: a language with nothing left to learn from.
        """
        sizes = {tag: len(ids) for tag, ids in windows.tokens.items()}
        held = held_out_of(windows.source, sizes, held_out)
        return cls(windows.tokens, held, dict(weights))

    @property
    def to_learn(self) -> dict[str, int]:
        """Language -> how many of its windows are there to learn from."""
        return {tag: len(ids) - self.held_out[tag] for tag, ids in self.tokens.items()}

    @property
    def taking_turns(self) -> dict[str, int]:
        """The same of the languages that have a weight: no other is learnt from."""
        return {tag: n for tag, n in self.to_learn.items() if self.weights[tag] > 0}

    def passes(self, count: int) -> dict[str, float]:
        """Language -> how often each of its windows comes in a course of so many windows."""
        return {tag: count * self.weights[tag] / n for tag, n in self.to_learn.items()}

    @property
    def watched(self) -> list[Window]:
        """Every window held out."""
        learnt = self.to_learn
        return [
            (tag, place)
            for tag, ids in self.tokens.items()
            for place in range(learnt[tag], len(ids))
        ]

    def behind(self, shares: Mapping[str, float]) -> dict[str, float]:
        """The weights by which languages take turns where those that are behind take more.

        Args:
            shares: language -> how much of its divergence is left; one that has none keeps its
                weight. One of weight 0 is no measure for the others: it is not learnt from.
        """
        most = max(share for tag, share in shares.items() if self.weights[tag] > 0)
        turns = {
            tag: weight * max(shares[tag] / most, LEAST) ** HASTE if tag in shares else weight
            for tag, weight in self.weights.items()
        }
        return {tag: weight / sum(turns.values()) for tag, weight in turns.items()}

    def order(
        self, count: int, seed: int, changes: Mapping[int, Mapping[str, float]] | None = None
    ) -> list[Window]:
        """So many windows to learn from, one after the other.

        Languages take turns, each as often as its weight says, so that any stretch holds them in
        nearly these shares. A language's windows come in a new order at every pass over them. What
        comes does not depend on how many are asked for.

        Args:
            changes: place -> the weights from there on.
        """
        weights = self.weights
        counts = self.taking_turns
        draw = random.Random(f"{seed}/turns")
        waiting = {tag: draw.random() / weights[tag] for tag in counts}
        decks: dict[str, list[int]] = {tag: [] for tag in counts}
        passes = dict.fromkeys(counts, 0)
        found: list[Window] = []
        for place in range(count):
            if changes and place in changes:
                now, old, weights = min(waiting.values()), weights, changes[place]
                waiting = {
                    tag: now + (at - now) * old[tag] / weights[tag] for tag, at in waiting.items()
                }
            tag = min(waiting, key=lambda one: waiting[one])
            waiting[tag] += 1 / weights[tag]
            if not decks[tag]:
                decks[tag] = [*range(counts[tag])]
                random.Random(f"{seed}/{tag}/{passes[tag]}").shuffle(decks[tag])
                passes[tag] += 1
            found.append((tag, decks[tag].pop()))
        return found
