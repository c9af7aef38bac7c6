"""What is asked for: one frozen, validated description of a prune; None is left open."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from mwanda.errors import InputError, nearest
from mwanda.methods.input_statistics import Need
from mwanda.methods.kinds import Criterion, Pattern, Reconstruction
from mwanda.methods.registry import find_criterion, find_pattern, find_reconstruction
from mwanda.pruning.recipe.method_choice import FINDERS, Method, as_value_error, checked
from mwanda.pruning.recipe.recovery import SettingsGiven
from mwanda.pruning.recipe.values import (
    Count,
    Listed,
    Number,
    Patterns,
    Share,
    Switch,
    Whole,
    validated,
)
from mwanda.pruning.recipe.written import Written, block_numbers, weights_by_language
from mwanda.system.run_options import FLOATS
from mwanda.text.languages import canonical
from mwanda.text.window_sizes import (
    BACKGROUND_WEIGHT,
    BACKGROUND_WINDOWS,
    LENGTH,
    WINDOWS,
)

Level = Literal["block", "role", "linear"]
Mode = Literal["sequential", "dense"]


class Recipe(BaseModel):
    """A prune, described but for the model and the text; what is None is left to
    :func:`mwanda.pruning.recipe.resolved.resolve`. A field's description is the help of its option
    (see :mod:`mwanda.cli.recipe_fields`); what it does not say:

    Attributes:
        sparsity: over all pruned linears; 0 is a plain conversion. None takes 0.5, or what the
            pattern fixes.
        allocation: None takes measured, with saved statistics cwl, and uniform with N:M, with
            nothing to prune, or with a criterion that needs no text.
        allocation_level: what has a sparsity of its own: each ``block``, each ``linear``, or each
            ``role``, which is a linear but that those of a block's experts go together.
        reconstruction: None (or ``none``) leaves the weights that stay as they are. One that
            chooses its own mask leaves the criterion unused.
        recover: a mapping of the settings of :func:`mwanda.recover`, or true for its defaults.
        mode: ``dense`` (statistics of the unpruned model, one pass) or ``sequential`` (each block
            sees the pruned blocks before it, two). None takes dense at the sparsities where it was
            measured no worse, and sequential elsewhere.
        languages: BCP-47 tags; None takes all that the calibration text has.
        background: see :mod:`mwanda.text.background`. Its weight is a share of all languages'.
        windows, window_length: where they are not given they shrink to the model's context and to
            each language's text.
        skip_first_tokens: left out of all statistics; the forward sees them.
        include, exclude: each expression has to be in a linear's name.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    sparsity: Annotated[Share | None, Written(read=str)] = Field(
        None, description="Share of weights to remove, 0.5 or 50%. Default: 0.5."
    )
    pattern: str = Field(
        "unstructured",
        description="unstructured, unstructured-matrix or N:M, N kept. Default: unstructured.",
    )
    criterion: Method = Field(
        Method(name="m-wanda"),
        description="How weights are scored: mwanda ls criteria. Default: m-wanda.",
    )
    allocation: Method | None = Field(
        None,
        description="How sparsity is shared out: mwanda ls allocations. Default: measured; cwl "
        "with --statistics and in a search; uniform with N:M, sparsity 0 or a criterion that needs "
        "no text.",
    )
    allocation_level: Level | None = Field(
        None,
        description="A sparsity for each block, role or linear. Default: role where the allocation "
        "compares outputs, as measured does; else block.",
    )
    reconstruction: Method | None = Field(
        None,
        description="New values for the weights kept: mwanda ls reconstructions. Default: none.",
    )
    recover: Annotated[SettingsGiven, Written(flags="--recover/--no-recover")] = Field(
        None,
        description="Let what is kept learn from MODEL, as mwanda recover does. Default: no.",
    )
    mode: Mode | None = Field(
        None,
        description="dense or sequential statistics. Default: dense at sparsities from 0.35 to "
        "0.55 (0.45 with a reconstruction), sequential elsewhere.",
    )
    languages: Annotated[tuple[str, ...] | None, Listed] = Field(
        None, description="Tags with commas: de,fr,sw. Default: all."
    )
    language_weights: Annotated[
        dict[str, Annotated[Number, Field(ge=0)]], Written(read=weights_by_language)
    ] = Field(default_factory=dict, description="Like de=2,sw=1; 1 where not named.")
    windows: Count = Field(
        WINDOWS, description="Windows per language. Default: 128, or all of the text."
    )
    window_length: Whole = Field(
        LENGTH, ge=2, description="Tokens per window. Default: 2048, or the model's context."
    )
    background: str | None = Field(
        None,
        description="Text in languages not named: udhr, bundled in 178 of them; a text source; or "
        "none. Default: none.",
    )
    background_weight: Annotated[Share, Written(read=str)] = Field(
        BACKGROUND_WEIGHT,
        description=f"Share of all weight that it has. Default: {BACKGROUND_WEIGHT}.",
    )
    background_windows: Count = Field(
        BACKGROUND_WINDOWS, description=f"Windows it has. Default: {BACKGROUND_WINDOWS}."
    )
    seed: Whole = Field(0, ge=0, description="Of the draw of text. Default: 0.")
    keep_english: Annotated[Switch, Written(flags="--keep-english/--drop-english")] = Field(
        False,
        description="Lines of English in other languages' calibration text. Default: dropped.",
    )
    keep_repeated: Annotated[Switch, Written(flags="--keep-repeated/--drop-repeated")] = Field(
        False, description="Pages of calibration text that come again. Default: dropped."
    )
    skip_first_tokens: Whole = Field(
        0, ge=0, description="First tokens of every window that do not count. Default: 0."
    )
    include: Annotated[tuple[str, ...], *Patterns, Written(repeated=True)] = Field(
        (), description="Prune only linears whose name has this regular expression."
    )
    exclude: Annotated[tuple[str, ...], *Patterns, Written(repeated=True)] = Field(
        (), description="Leave out linears whose name has this regular expression."
    )
    skip_blocks: Annotated[tuple[Whole, ...], Listed, Written(read=block_numbers)] = Field(
        (), description="Block numbers to leave alone: 0,1,17."
    )
    dtype: str = Field("auto", description="What is written. Default: auto, the source's.")
    expert_tokens: Count = Field(32, description="Experts with fewer: by magnitude. Default: 32.")

    @classmethod
    def build(cls, values: Mapping[str, Any], source: str = "recipe") -> Recipe:
        """A recipe of these fields.

        Args:
            values: field name -> value, as read from YAML or from the command line.
            source: what to call it in messages.

        Raises:
            InputError: naming every mistake at once.
        """
        recipe = validated(Recipe, values, source)
        recipe.check(source)
        return recipe

    def check(self, source: str = "recipe") -> None:
        """Refuse fields that are each fine and cannot be had together.

        Raises:
            InputError: all of them at once.
        """
        problems = self._contradictions()
        if problems:
            raise InputError.several(f"{source}: {problem}" for problem in problems)

    @field_validator("reconstruction", mode="before")
    @classmethod
    def _none_by_name(cls, value: Any) -> Any:
        return None if value in ("none", {"name": "none"}) else value

    @field_validator(*FINDERS)
    @classmethod
    def _known_method(cls, value: Method | None, info: ValidationInfo) -> Method | None:
        return None if value is None else checked(str(info.field_name), value)

    @field_validator("pattern")
    @classmethod
    def _known_pattern(cls, value: str) -> str:
        as_value_error(lambda: find_pattern(value))
        return value

    @field_validator("languages")
    @classmethod
    def _known_languages(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if value is None:
            return None
        tags = tuple(_tag(tag) for tag in value)
        repeated = sorted({tag for tag in tags if tags.count(tag) > 1})
        if not tags or repeated:
            raise ValueError(f"expected each language once, found {', '.join(repeated) or 'none'}")
        return tags

    @field_validator("language_weights")
    @classmethod
    def _known_weights(cls, value: dict[str, float]) -> dict[str, float]:
        tags = {_tag(tag): weight for tag, weight in value.items()}
        if len(tags) < len(value):
            raise ValueError(f"expected each language once, found {', '.join(value)}")
        return tags

    @field_validator("dtype")
    @classmethod
    def _known_dtype(cls, value: str) -> str:
        if value not in ("auto", *FLOATS):
            raise ValueError(f"found {value!r}; {nearest(value, ['auto', *FLOATS])}")
        return value

    def criterion_row(self) -> Criterion:
        """The registry's row of the criterion."""
        return find_criterion(self.criterion.name)

    def pattern_row(self) -> Pattern:
        """The registry's row of the pattern."""
        return find_pattern(self.pattern)

    def reconstruction_row(self) -> Reconstruction | None:
        """The registry's row of the reconstruction, None without one."""
        return (
            None if self.reconstruction is None else find_reconstruction(self.reconstruction.name)
        )

    @property
    def linear_needs(self) -> tuple[Need, ...]:
        """Statistics that choosing masks and updating weights need; an allocation's come on top."""
        needs = self.criterion_row().needs_of(self.criterion.options)
        row = self.reconstruction_row()
        if row is None:
            return needs
        return row.needs if row.prune is not None else tuple(dict.fromkeys((*needs, *row.needs)))

    def _contradictions(self) -> list[str]:
        """What in it cannot be had together, one line each; empty where nothing is amiss."""
        problems = []
        pattern = self.pattern_row()
        if pattern.fixed is not None:
            if self.sparsity is not None and abs(self.sparsity - pattern.fixed) > 1e-9:
                problems.append(
                    f"sparsity: expected {pattern.fixed:g}, the only one of pattern {self.pattern}"
                    f", found {self.sparsity:g}; leave sparsity out or use pattern unstructured"
                )
            if self.allocation is not None and self.allocation.name != "uniform":
                problems.append(
                    f"allocation: expected uniform with pattern {self.pattern}, which fixes every "
                    f"linear's sparsity, found {self.allocation.name}; use allocation uniform"
                )
        row = self.reconstruction_row()
        if row is not None and row.prune is not None and not pattern.rowwise:
            problems.append(
                f"reconstruction: expected one that takes the criterion's mask with pattern "
                f"{self.pattern}, found {row.name}, which chooses its own; use pattern unstructured"
            )
        if self.recover is not None and self.sparsity == 0:
            problems.append(
                "recover: expected a sparsity above 0, found 0, which prunes nothing; leave it out"
            )
        if self.skip_first_tokens >= self.window_length:
            problems.append(
                f"skip_first_tokens: expected fewer than the {self.window_length} tokens of a "
                f"window, found {self.skip_first_tokens}"
            )
        if self.languages is not None:
            stray = sorted(set(self.language_weights) - set(self.languages))
            if stray:
                problems.append(
                    f"language_weights: expected languages among {', '.join(self.languages)}"
                    f", found {', '.join(stray)}"
                )
            if self.language_weights and not any(
                self.language_weights.get(tag, 1.0) for tag in self.languages
            ):
                problems.append("language_weights: expected a weight above 0, found all 0")
        return problems


def _tag(code: str) -> str:
    return str(as_value_error(lambda: canonical(code)))
