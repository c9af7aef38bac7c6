"""How a recovery is run: what is asked for beside model and text, alone or in a recipe."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
)

from mwanda.errors import InputError, shown
from mwanda.pruning.recipe.values import Count, Listed, Number, Part, Switch, Whole
from mwanda.pruning.recipe.written import Written

PASSES, MOST_WINDOWS = 4, 2400
"""Passes over the text, and windows learnt from, of which the default makes the fewer."""

RATE, MOST_RATE, OF_FACTORS = 2e-5, 5e-5, 10
"""Learning rates by default: of batches of one window, of large ones at most, and by how much that
of the factors of low-rank updates is higher."""

FAR = 0.4
"""Nats a token from the dense model: the nearer a model begins than this, the lower its rate, by
the square root. Steps that help a model at this distance carry a much nearer one away."""

Objective = Literal["mean", "worst"]
Optimizer = Literal["adam", "adam-8bit"]

APART = ("report_to", "gradient_checkpointing")
"""Settings that change neither what is learnt nor whether it is taken."""


class Settings(BaseModel):
    """Choices of a recovery; all but those of :data:`APART` and ``never_worse`` change its result.
    A field's description is the help of its option (see :mod:`mwanda.cli.recipe_fields`); what it
    does not say:

    Attributes:
        sampled: drawn beside the likely entries, to stand for all others.
        objective: with ``worst`` the state is kept in which the worst language has come furthest.
        patience: of the looks in a run, eight at most.
        report_to: TensorBoard's files go into ``OUT.runs`` beside the output, or where
            ``TENSORBOARD_LOGGING_DIR`` says.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: Count | None = Field(
        None,
        description=f"Steps of the optimiser. Default: {PASSES} passes over the text, at most "
        f"{MOST_WINDOWS:,} windows.",
    )
    learning_rate: Annotated[Number, Field(gt=0)] | None = Field(
        None,
        description="The highest; it rises first and falls as a cosine. Default: 2e-5, with larger "
        "batches up to 5e-5, less near the dense model; low rank: ten times that.",
    )
    batch: Count = Field(
        1,
        description="Windows of one step; languages take turns. Default: 1; of several processes "
        "one each.",
    )
    at_once: Count | None = Field(
        None,
        description="Windows of one forward, of a step's; fewer take less memory. Default: all.",
    )
    held_out: Count | None = Field(
        None,
        description="Windows a language that are not learnt from. Default: an eighth, 4 at most.",
    )
    sampled: Annotated[Whole, Field(ge=0)] = Field(
        8192,
        description="Entries drawn of a large vocabulary, to stand for the unlikely; 0: all of it. "
        "Default: 8192.",
    )
    train_embeddings: Switch = Field(False, description="Embeddings and head learn too.")
    objective: Objective = Field(
        "mean",
        description="mean over languages by weight, or worst: more turns to those that are behind. "
        "Default: mean.",
    )
    optimizer: Optimizer = Field(
        "adam",
        description="adam, or adam-8bit: its states in a quarter of the memory, by bitsandbytes. "
        "Default: adam.",
    )
    low_rank: Count | None = Field(
        None,
        description="Learn a product of this rank, added to the kept weights. Default: learn the "
        "weights.",
    )
    gradient_checkpointing: Switch = Field(
        False, description="Blocks run twice and keep less: less memory, a third more work."
    )
    patience: Count | None = Field(
        None,
        description="Looks at held-out text without gain before it stops, of 8. Default: no stop.",
    )
    never_worse: Switch = Field(
        False,
        description="Refuse a result in which a language ends worse than it began.",
    )
    report_to: Annotated[tuple[str, ...], Listed, Written(repeated=True, read=",".join)] = Field(
        (), description="tensorboard,wandb, …: what transformers' Trainer logs to."
    )

    @field_validator("at_once")
    @classmethod
    def _divides(cls, value: int | None, info: ValidationInfo) -> int | None:
        batch = info.data.get("batch")
        if value and batch and batch % value:
            raise ValueError(
                f"expected a number that divides the batch of {batch}, found {value}; or give a "
                "batch that it divides"
            )
        return value

    @property
    def default_rate(self) -> tuple[float, float] | None:
        """What the default learning rate is made of: the highest, by the batch, and how far from
        the dense model it holds, in nats a token; None where a rate was asked for."""
        if self.learning_rate is not None:
            return None
        rate = min(RATE * math.sqrt(self.batch), MOST_RATE)
        return (rate if self.low_rank is None else OF_FACTORS * rate), FAR

    def starting(self, divergence: float) -> Self:
        """With the learning rate of a model that begins so many nats a token from the dense one."""
        if self.default_rate is None:
            return self
        highest, far = self.default_rate
        rate = highest * math.sqrt(min(1.0, divergence / far))
        return self.model_copy(update={"learning_rate": float(f"{rate:.3g}")})

    def among(self, processes: int) -> Self:
        """With a window of every step for each process, where no batch was asked for."""
        asked = "batch" in self.model_fields_set
        return self if asked else self.model_copy(update={"batch": processes})

    def windows_at_once(self, processes: int) -> int:
        """Windows of one forward of one process.

        Raises:
            InputError: a batch that cannot be shared out so.
        """
        if self.batch % processes:
            raise InputError(
                "batch", expected=f"a multiple of the {processes} processes",
                found=str(self.batch),
            )  # fmt: skip
        at_once = self.at_once or self.batch // processes
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
        return math.ceil(min(PASSES * windows, MOST_WINDOWS) / self.batch)

    def recorded(self) -> dict[str, Any]:
        """Those that change the result, for a manifest."""
        return self.model_dump(exclude={*APART, "never_worse", "steps", "held_out"})


def steps_in_words(steps: int, batch: int) -> str:
    """How much is learnt: so many steps, each of so many windows."""
    return f"{steps:,} steps of {batch} window{'s' * (batch > 1)}"


class AfterPrune(Settings):
    """Choices of a recovery that follows a prune, and how much text it has."""

    windows: Count | None = Field(
        None,
        description="Windows of each language, those held out too. Default: those of the prune.",
    )
    background_windows: Count | None = Field(
        None, description="Windows of the background. Default: those of the prune."
    )
    background_weight: Part | None = Field(
        None, description="Share of all weight that the background has. Default: that of the prune."
    )

    @property
    def alone(self) -> dict[str, Any]:
        """The settings, without those of text."""
        return self.model_dump(include={*Settings.model_fields}, exclude_unset=True)

    @property
    def text(self) -> dict[str, Any]:
        """What it asks for of the text beside what the prune does."""
        return self.model_dump(exclude={*Settings.model_fields}, exclude_none=True)


def _by_word(value: Any) -> Any:
    if value is None or isinstance(value, bool):
        return {} if value else None
    if not isinstance(value, Mapping | AfterPrune):
        expected = "true, false, or settings such as {steps: 960}"
        raise ValueError(f"expected {expected}, found {shown(str(value))}")
    return value


SettingsGiven = Annotated[AfterPrune | None, BeforeValidator(_by_word)]
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
