"""What to do: one frozen, validated description of a prune. How to run it is ``options.py``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
)

from mwanda.errors import InputError, nearest
from mwanda.methods.input_statistics import Need
from mwanda.methods.kinds import (
    Criterion,
    Pattern,
    Reconstruction,
    defaults_of,
)
from mwanda.methods.recipe.conflicts import contradictions
from mwanda.methods.recipe.method_choice import Method, as_value_error, checked
from mwanda.methods.recipe.values import Listed, Number, Patterns, Whole, in_words
from mwanda.methods.registry import (
    find_allocation,
    find_criterion,
    find_pattern,
    find_reconstruction,
)
from mwanda.system.run_options import FLOATS
from mwanda.text.languages import canonical
from mwanda.text.window_sizes import LENGTH, WINDOWS

__all__ = ["Recipe", "default_allocation"]

DEFAULT_SPARSITY = 0.5
DENSE_FROM, DENSE_TO, DENSE_TO_UPDATED = 0.35, 0.55, 0.45
"""Sparsities between which one pass was measured no worse than two on the whole, the last with a
reconstruction: see docs/results.md."""


class Recipe(BaseModel):
    """A prune, fully described but for the model and the text.

    Attributes:
        sparsity: share of weights removed, over all pruned linears; 0 is a plain conversion. None
            takes 0.5, or what the pattern fixes.
        pattern: ``unstructured`` or ``N:M`` (N kept).
        criterion, allocation: see the registry. None for the allocation takes measured, with saved
            statistics cwl, and uniform where the pattern fixes the sparsity, nothing goes, or the
            criterion needs no text.
        allocation_level: what has a sparsity of its own: each ``block``, each ``linear``, or each
            ``role``, which is a linear but that those of a block's experts go together. None takes
            role for measured, and block for others.
        reconstruction: of the weights that stay, see the registry; None (or ``none``) leaves them
            as they are. One that chooses its own mask leaves the criterion unused.
        mode: ``dense`` (statistics of the unpruned model, one pass) or ``sequential`` (each block
            sees the pruned blocks before it, two). None takes dense at :data:`DENSE_FROM` to
            :data:`DENSE_TO`, where it was measured no worse, and sequential elsewhere.
        languages: BCP-47 tags; None takes all that the calibration text has.
        language_weights: relative weight a language, 1 where not named.
        windows: calibration windows per language.
        window_length: tokens per window. Where these two are not given they shrink to the model's
            context and to each language's text.
        seed: of the draw of windows.
        keep_english: leave lines of English in other languages' calibration text.
        keep_repeated: leave pages of it that come again.
        skip_first_tokens: of every window, left out of all statistics; the forward sees them.
        include, exclude: regular expressions over linear names; each has to be in one.
        skip_blocks: block numbers left alone.
        dtype: what is written; ``auto`` keeps the source's.
        expert_tokens: an expert that saw fewer calibration tokens is pruned by magnitude.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    sparsity: Annotated[Number, Field(ge=0, lt=1)] | None = None
    pattern: str = "unstructured"
    criterion: Method = Method(name="m-wanda")
    allocation: Method | None = None
    allocation_level: Literal["block", "role", "linear"] | None = None
    reconstruction: Method | None = None
    mode: Literal["sequential", "dense"] | None = None
    languages: Annotated[tuple[str, ...] | None, Listed] = None
    language_weights: dict[str, Annotated[Number, Field(ge=0)]] = Field(default_factory=dict)
    windows: Whole = Field(default=WINDOWS, ge=1)
    window_length: Whole = Field(default=LENGTH, ge=2)
    seed: Whole = Field(default=0, ge=0)
    keep_english: bool = False
    keep_repeated: bool = False
    skip_first_tokens: Whole = Field(default=0, ge=0)
    include: Annotated[tuple[str, ...], Patterns] = ()
    exclude: Annotated[tuple[str, ...], Patterns] = ()
    skip_blocks: Annotated[tuple[Whole, ...], Listed] = ()
    dtype: str = "auto"
    expert_tokens: Whole = Field(default=32, ge=1)

    @classmethod
    def build(
        cls, values: Mapping[str, Any], source: str = "recipe", *, saved: bool = False
    ) -> Recipe:
        """A recipe with every default filled in.

        Args:
            values: field name -> value, as read from YAML or from the command line.
            source: what to call it in messages.
            saved: whether it goes with saved statistics, which are dense ones and of blocks that
                cannot be run: so are the defaults.

        Raises:
            InputError: naming every mistake at once.
        """
        try:
            recipe = cls.model_validate(dict(values))
        except ValidationError as error:
            raise InputError.several(_problem(source, item) for item in error.errors()) from error
        problems = contradictions(recipe)
        if problems:
            raise InputError.several(f"{source}: {problem}" for problem in problems)
        return recipe._resolved(saved=saved)

    @field_validator("criterion")
    @classmethod
    def _known_criterion(cls, value: Method) -> Method:
        return checked("criterion", value)

    @field_validator("allocation")
    @classmethod
    def _known_allocation(cls, value: Method | None) -> Method | None:
        return None if value is None else checked("allocation", value)

    @field_validator("reconstruction", mode="before")
    @classmethod
    def _none_by_name(cls, value: Any) -> Any:
        return None if value in ("none", {"name": "none"}) else value

    @field_validator("reconstruction")
    @classmethod
    def _known_reconstruction(cls, value: Method | None) -> Method | None:
        return None if value is None else checked("reconstruction", value)

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

    @field_validator("include", "exclude")
    @classmethod
    def _regular_expressions(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for expression in value:
            try:
                re.compile(expression)
            except re.error as error:
                fix = "; a bare * is written .*" if "*" in expression else ""
                raise ValueError(
                    f"expected regular expressions, found {expression!r}: {error}{fix}"
                ) from error
            if not expression:
                raise ValueError("expected regular expressions, found an empty one, which is in "
                                 "every name; leave it out")  # fmt: skip
        return value

    @field_validator("dtype")
    @classmethod
    def _known_dtype(cls, value: str) -> str:
        if value not in ("auto", *FLOATS):
            raise ValueError(f"found {value!r}; {nearest(value, ['auto', *FLOATS])}")
        return value

    @property
    def asked(self) -> dict[str, Any]:
        """The fields that were given, without those that :meth:`build` filled in: with saved
        statistics the defaults are others."""
        return self.model_dump(exclude_unset=True)

    def criterion_row(self) -> Criterion:
        """The registry's row of the criterion."""
        return find_criterion(self.criterion.name)

    def reconstruction_row(self) -> Reconstruction | None:
        """The registry's row of the reconstruction, None without one."""
        return (
            None if self.reconstruction is None else find_reconstruction(self.reconstruction.name)
        )

    @property
    def masks_by(self) -> str:
        """Name of what chooses the masks: the criterion, or a reconstruction of its own mind."""
        row = self.reconstruction_row()
        return self.criterion.name if row is None or row.prune is None else row.name

    @property
    def linear_needs(self) -> tuple[Need, ...]:
        """Statistics that choosing masks and updating weights need; an allocation's come on top."""
        needs = self.criterion_row().needs_of(self.criterion.options)
        row = self.reconstruction_row()
        if row is None:
            return needs
        return row.needs if row.prune is not None else tuple(dict.fromkeys((*needs, *row.needs)))

    @property
    def keeps_statistics(self) -> bool:
        """Whether all blocks' statistics are needed at once: dense ones, and an allocation that
        looks at them before the first block is pruned."""
        survey = self.allocation is not None and find_allocation(self.allocation.name).needs_text
        return self.mode == "dense" and survey and bool(self.linear_needs)

    def pattern_row(self) -> Pattern:
        """The registry's row of the pattern."""
        return find_pattern(self.pattern)

    @property
    def needs_text(self) -> bool:
        """Whether anything in this recipe looks at calibration text."""
        if self.sparsity == 0 or self.allocation is None:
            return False
        return bool(self.linear_needs) or find_allocation(self.allocation.name).needs_text

    def _resolved(self, *, saved: bool) -> Recipe:
        pattern = self.pattern_row()
        sparsity = self.sparsity
        if sparsity is None or pattern.fixed is not None:
            sparsity = DEFAULT_SPARSITY if pattern.fixed is None else pattern.fixed
        allocation = self.allocation
        if allocation is None:
            # Magnitude asks for no text, so its default allocation must not either.
            needs_text = bool(self.linear_needs)
            free = pattern.fixed is None and needs_text and sparsity > 0
            allocation = Method(name=default_allocation(saved=saved) if free else "uniform")
        probes = find_allocation(allocation.name).probe is not None
        dense_to = DENSE_TO if self.reconstruction is None else DENSE_TO_UPDATED
        dense = saved or not sparsity or DENSE_FROM <= sparsity <= dense_to
        criterion = self.criterion_row()
        filled: dict[str, Any] = {
            "sparsity": sparsity,
            "mode": self.mode or ("dense" if dense else "sequential"),
            "allocation_level": self.allocation_level or ("role" if probes else "block"),
            "criterion": Method(
                name=criterion.name, options=defaults_of(criterion) | self.criterion.options
            ),
            "allocation": Method(
                name=allocation.name,
                options=defaults_of(find_allocation(allocation.name)) | allocation.options,
            ),
        }
        row = self.reconstruction_row()
        if row is not None and self.reconstruction is not None:
            options = defaults_of(row) | self.reconstruction.options
            filled["reconstruction"] = Method(name=row.name, options=options)
        return self.model_construct(self.model_fields_set, **dict(self) | filled)


def default_allocation(*, saved: bool) -> str:
    """What sets the sparsities where the criterion needs text and the pattern leaves them open;
    from saved statistics no block can be run."""
    return "cwl" if saved else "measured"


def _tag(code: str) -> str:
    return str(as_value_error(lambda: canonical(code)))


def _problem(source: str, item: Any) -> str:
    place = ".".join(str(part) for part in item["loc"]) or "recipe"
    if item["type"] == "extra_forbidden":
        return f"{source}: {place}: unknown field; {nearest(place, Recipe.model_fields)}"
    message = in_words(item).removeprefix(f"{place}: ")
    fix = "; give a share of weights from 0 to below 1, such as 0.5" if place == "sparsity" else ""
    return f"{source}: {place}: {message}{fix}"
