"""How a recovery is run: what is asked for beside model and text, alone or in a recipe."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Annotated, Any

from pydantic import BeforeValidator

from mwanda.errors import InputError, nearest, shown
from mwanda.pruning.recipe.method_choice import as_value_error
from mwanda.pruning.recipe.values import per_cent
from mwanda.system.arguments import whole_given

PASSES, MOST_STEPS = 4, 300
"""Passes over the text, and steps, of which the default makes the fewer."""

RATE, LOW_RANK_RATE = 4e-5, 4e-4
"""Learning rates by default: of weights themselves, and of the factors of low-rank updates."""

OBJECTIVES = ("mean", "worst")
OPTIMIZERS = ("adam", "adam-8bit")

APART = ("report_to", "gradient_checkpointing")
"""Settings that change neither what is learnt nor whether it is taken."""


@dataclass(frozen=True)
class Settings:
    """Choices of a recovery; all but those of :data:`APART` and ``never_worse`` change its result.

    Attributes:
        steps: of the optimiser; None for four passes over the text, at most 300.
        learning_rate: the highest; it rises over the first steps and then falls as a cosine. None
            for 4e-5, or 4e-4 with ``low_rank``.
        batch: windows of one step.
        at_once: of them, windows of one forward; None for all. Fewer take less memory.
        held_out: windows of each language that are not learnt from; None for an eighth, at most 4.
        sampled: entries of the vocabulary that are drawn, beside the likely ones, to stand for all
            others; 0 for the whole vocabulary.
        train_embeddings: embeddings and head learn too.
        objective: ``mean`` over languages by weight; ``worst``: languages that are behind take more
            turns, and the state is kept in which the worst of them has come furthest.
        optimizer: ``adam``, or ``adam-8bit``: its two states in a byte each, by bitsandbytes.
        low_rank: what learns of a linear is a product of this rank, added to its kept weights; None
            for the weights themselves.
        gradient_checkpointing: blocks run twice, and keep less.
        patience: looks at what is held out without gain after which the run ends, of eight; None
            for no such end.
        never_worse: refuse a result in which a language is worse than before.
        report_to: what else is told of the progress: ``tensorboard``, ``wandb`` and whatever
            transformers' Trainer knows.
    """

    steps: int | None = None
    learning_rate: float | None = None
    batch: int = 8
    at_once: int | None = None
    held_out: int | None = None
    sampled: int = 8192
    train_embeddings: bool = False
    objective: str = "mean"
    optimizer: str = "adam"
    low_rank: int | None = None
    gradient_checkpointing: bool = False
    patience: int | None = None
    never_worse: bool = False
    report_to: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, least in (("steps", 1), ("batch", 1), ("at_once", 1), ("held_out", 1),
                            ("sampled", 0), ("low_rank", 1), ("patience", 1)):  # fmt: skip
            value = getattr(self, name)
            if value is not None or name in ("batch", "sampled"):
                whole_given(name, value, least)
        for name, known in (("objective", OBJECTIVES), ("optimizer", OPTIMIZERS)):
            if getattr(self, name) not in known:
                expected = " or ".join(known)
                raise InputError(name, expected=expected, found=repr(getattr(self, name)))
        if not number(self.rate) or self.rate <= 0:
            found = repr(self.rate)
            raise InputError("learning_rate", expected="a number above 0", found=found)
        for name in ("train_embeddings", "gradient_checkpointing", "never_worse"):
            value = getattr(self, name)
            if not isinstance(value, bool):  # a word such as no is not empty, and would be true
                raise InputError(name, expected="true or false", found=repr(value))
        self.windows_at_once(1)

    @property
    def rate(self) -> float:
        """The highest learning rate."""
        if self.learning_rate is not None:
            return self.learning_rate
        return RATE if self.low_rank is None else LOW_RANK_RATE

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
        left = (*APART, "never_worse", "steps", "held_out")
        kept = {name: value for name, value in asdict(self).items() if name not in left}
        return kept | {"learning_rate": self.rate}


@dataclass(frozen=True)
class AfterPrune(Settings):
    """Choices of a recovery that follows a prune, and how much text it has.

    Attributes:
        windows: of each language, those held out included; None for those of the prune.
        background_windows: of the background; None for those of the prune.
        background_weight: share of all weight that the background has; None for that of the prune.
    """

    windows: int | None = None
    background_windows: int | None = None
    background_weight: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("windows", "background_windows"):
            if getattr(self, name) is not None:
                whole_given(name, getattr(self, name), 1)
        weight = self.background_weight
        if weight is not None and not (number(weight) and 0 < weight < 1):
            expected = "a number between 0 and 1"
            raise InputError("background_weight", expected=expected, found=repr(weight))

    @property
    def alone(self) -> dict[str, Any]:
        """The settings, without those of text."""
        return {one.name: getattr(self, one.name) for one in fields(Settings)}

    @property
    def text(self) -> dict[str, Any]:
        """What it asks for of the text beside what the prune does."""
        alone, there = self.alone, asdict(self).items()
        return {name: value for name, value in there if name not in alone and value is not None}


def number(value: Any) -> bool:
    """Whether it is a finite number; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _settings(value: Any) -> AfterPrune | None:
    if value is None or isinstance(value, bool | AfterPrune):
        return AfterPrune() if value is True else value or None
    if not isinstance(value, Mapping):
        expected = "true, false, or settings such as {steps: 120}"
        raise InputError("recover", expected=expected, found=repr(value))
    known = [one.name for one in fields(AfterPrune)]
    unknown = [name for name in value if name not in known]
    if unknown:
        raise InputError.several(
            f"{name}: unknown setting; {nearest(str(name), known)}" for name in unknown
        )
    weight = per_cent(value.get("background_weight"))
    reporters = reporters_given(value.get("report_to", ()))
    return AfterPrune(**{**value, "background_weight": weight, "report_to": reporters})


def reporters_given(report_to: str | Sequence[str]) -> tuple[str, ...]:
    """The names that ``report_to`` has: one, or several.

    Raises:
        InputError: what is no name.
    """
    names = (report_to,) if isinstance(report_to, str) else report_to
    if not hasattr(names, "__iter__") or not all(isinstance(name, str) for name in names):
        found = shown(repr(report_to))
        raise InputError("report_to", expected='names such as ["tensorboard"]', found=found)
    return tuple(names)


SettingsGiven = Annotated[
    AfterPrune | None, BeforeValidator(lambda value: as_value_error(lambda: _settings(value)))
]
"""Settings as a recipe has them: a mapping of them, true for the defaults, false for none."""


def fields_over(recipe: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of a recipe with others over them; a recovery that is asked for by true keeps the
    settings that the recipe has."""
    found = {**recipe, **given}
    if found.get("recover") is True and isinstance(recipe.get("recover"), Mapping):
        found["recover"] = recipe["recover"]
    return found


def refuse_masks_only(recover: Settings | None) -> None:
    """Refuse to write masks alone where what is kept is to learn."""
    if recover is not None:
        fix = "--no-recover, and mwanda recover once the masks are applied"
        raise InputError("--recover", expected="no --masks-only", found="both", fix=fix)
