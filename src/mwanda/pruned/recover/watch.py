"""What is held out, and how far a model is from the dense one on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch

from mwanda.pruned.recover.learner import Course, Learner, together
from mwanda.pruned.recover.outcome import Losses
from mwanda.system.ranks import ALONE, Ranks
from mwanda.text.languages import MULTIPLE


@dataclass(frozen=True)
class Watch:
    """What is held out, and how far the model is from the dense one on it.

    Attributes:
        course: its windows.
        tags: the language of each.
        weights: language -> weight, summing to 1.
        before: what it was before the first step; filled in then.
        ranks: the processes that learn together.
    """

    course: Course
    tags: Sequence[str]
    weights: Mapping[str, float]
    before: dict[str, float] = field(default_factory=dict)
    ranks: Ranks = ALONE

    @torch.no_grad()
    def losses(self, learner: Learner, device: torch.device) -> dict[str, float]:
        """Of every language."""
        found: dict[str, list[float]] = {}
        # One at a time: padding would count among the inputs that rates are made of.
        for place, tag in enumerate(self.tags):
            rows = together([self.course[place]])
            given = {name: tensor.to(device) for name, tensor in rows.items()}
            found.setdefault(tag, []).append(float(learner(**given)["loss"]))
        return {tag: sum(own) / len(own) for tag, own in found.items()}

    def agreed(self, learner: Learner, device: torch.device) -> dict[str, float]:
        """The losses that the process which writes finds, in every process. Rates, turns and the
        best state follow from them, and sums round differently in each."""
        losses = self.losses(learner, device)
        found = self.ranks.send(torch.tensor([*losses.values()], dtype=torch.float64), 0)
        return dict(zip(losses, found.tolist(), strict=True))

    def mean(self, losses: Losses) -> float:
        """Over languages, by weight."""
        return sum(self.weights[tag] * loss for tag, loss in losses.items())

    def left(self, losses: Losses) -> dict[str, float]:
        """How much of its divergence every named language with a weight still has: one without is
        not learnt from, and would be the worst for good."""
        return {
            tag: loss / self.before[tag] if self.before[tag] else 1.0
            for tag, loss in losses.items()
            if tag != MULTIPLE and self.weights[tag] > 0
        }
