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

SHARE_HELD_OUT = 8
"""Of so many windows of a language one is held out by default."""


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
            held_out: how many; None for an eighth, at least one.
        """
        sizes = {tag: len(ids) for tag, ids in windows.tokens.items()}
        held = {
            tag: max(1, size // SHARE_HELD_OUT) if held_out is None else held_out
            for tag, size in sizes.items()
        }
        short = [tag for tag, size in sizes.items() if size <= held[tag]]
        if short:
            raise InputError.several(
                str(InputError(
                    f"{windows.source}, {tag}",
                    expected=f"at least {held[tag] + 1} windows: {held[tag]} held out, the rest to "
                    "learn from",
                    found=str(sizes[tag]),
                    fix="give more text, shorter windows, or leave the language out",
                ))
                for tag in short
            )  # fmt: skip
        return cls(windows.tokens, held, dict(weights))

    @property
    def to_learn(self) -> dict[str, int]:
        """Language -> how many of its windows are learnt from."""
        return {tag: len(ids) - self.held_out[tag] for tag, ids in self.tokens.items()}

    @property
    def watched(self) -> list[Window]:
        """Every window held out."""
        learnt = self.to_learn
        return [
            (tag, place)
            for tag, ids in self.tokens.items()
            for place in range(learnt[tag], len(ids))
        ]

    def order(self, count: int, seed: int) -> list[Window]:
        """So many windows to learn from, one after the other.

        Languages take turns, each as often as its weight says, so that any stretch holds them in
        nearly these shares. A language's windows come in a new order at every pass over them. What
        comes does not depend on how many are asked for.
        """
        counts = {tag: n for tag, n in self.to_learn.items() if self.weights[tag] > 0}
        draw = random.Random(f"{seed}/turns")
        waiting = {tag: draw.random() / self.weights[tag] for tag in counts}
        decks: dict[str, list[int]] = {tag: [] for tag in counts}
        passes = dict.fromkeys(counts, 0)
        found = []
        for _ in range(count):
            tag = min(waiting, key=lambda one: waiting[one])
            waiting[tag] += 1 / self.weights[tag]
            if not decks[tag]:
                decks[tag] = [*range(counts[tag])]
                random.Random(f"{seed}/{tag}/{passes[tag]}").shuffle(decks[tag])
                passes[tag] += 1
            found.append((tag, decks[tag].pop()))
        return found
