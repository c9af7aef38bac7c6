"""How a recovery is run: what is asked for beside model and text."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from mwanda.errors import InputError
from mwanda.system.arguments import whole_given

PASSES, MOST_STEPS = 4, 300
"""Passes over the text, and steps, of which the default makes the fewer."""


@dataclass(frozen=True)
class Settings:
    """Choices of a recovery; all but ``never_worse`` and ``report_to`` change its result.

    Attributes:
        steps: of the optimiser; None for four passes over the text, at most 300.
        learning_rate: the highest; it rises over the first steps and then falls as a cosine.
        batch: windows of one step.
        at_once: of them, windows of one forward; None for all. Fewer take less memory.
        held_out: windows of each language that are not learnt from; None for an eighth of them.
        sampled: entries of the vocabulary that are drawn, beside the likely ones, to stand for all
            others; 0 for the whole vocabulary.
        train_embeddings: embeddings and head learn too.
        gradient_checkpointing: blocks run twice, and keep less.
        never_worse: refuse a result in which a language is worse than before.
        report_to: what else is told of the progress: ``tensorboard``, ``wandb`` and whatever
            transformers' Trainer knows.
    """

    steps: int | None = None
    learning_rate: float = 4e-5
    batch: int = 8
    at_once: int | None = None
    held_out: int | None = None
    sampled: int = 8192
    train_embeddings: bool = False
    gradient_checkpointing: bool = False
    never_worse: bool = False
    report_to: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, least in (("steps", 1), ("batch", 1), ("at_once", 1), ("held_out", 1),
                            ("sampled", 0)):  # fmt: skip
            value = getattr(self, name)
            if value is not None or name in ("batch", "sampled"):
                whole_given(name, value, least)
        rate = self.learning_rate
        number = isinstance(rate, int | float) and not isinstance(rate, bool)
        if not number or not math.isfinite(rate) or rate <= 0:
            raise InputError("learning_rate", expected="a number above 0", found=repr(rate))
        self.windows_at_once(1)

    def windows_at_once(self, processes: int) -> int:
        """Windows of one forward of one process.

        Raises:
            InputError: a batch that cannot be shared out so.
        """
        at_once = self.at_once or max(1, self.batch // processes)
        if self.batch % (at_once * processes):
            raise InputError(
                "at_once", expected=f"a number that divides the batch of {self.batch}"
                + (f" among {processes} processes" if processes > 1 else ""),
                found=str(at_once),
            )  # fmt: skip
        return at_once

    def steps_for(self, windows: int) -> int:
        """Steps over so many windows to learn from."""
        if self.steps is not None:
            return self.steps
        return max(1, min(math.ceil(PASSES * windows / self.batch), MOST_STEPS))

    def recorded(self) -> dict[str, Any]:
        """Those that change the result, for a manifest."""
        left = ("never_worse", "report_to", "steps", "held_out", "gradient_checkpointing")
        return {name: value for name, value in asdict(self).items() if name not in left}
