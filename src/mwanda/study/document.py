"""A study as its author writes it: ``study.yaml``, checked, not yet looked up."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from mwanda.errors import InputError, nearest, unknown_field
from mwanda.evaluation.tasks.published import LOCAL
from mwanda.evaluation.translation import parse_direction
from mwanda.model.gguf.types import check_type
from mwanda.pruning.recipe.asked import Recipe
from mwanda.pruning.recipe.values import Count, Listed, Methods, Share, Whole, validated
from mwanda.pruning.recipe.yaml_file import load_recipe

Fields = dict[str, Any]
Tags = Annotated[tuple[str, ...], Listed]
Seed = Annotated[Whole, Field(ge=0)]

AXES = {
    "sparsities": "sparsity",
    "seeds": "seed",
    "criteria": "criterion",
    "allocations": "allocation",
    "patterns": "pattern",
    "reconstructions": "reconstruction",
}
"""What is given as a list -> the field of a recipe that it is made of."""

EVERY = "all"
"""Name of the set of languages where only one is given."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=False)


class TranslationPart(_Part):
    """What is translated, see ``mwanda translate``; text, ids and seed are the evaluation's.

    Attributes:
        directions: ``en-de`` and the like.
        sentences, shots: as the options of that command.
    """

    directions: Annotated[tuple[str, ...], Listed] = Field(min_length=1)
    sentences: Count = 60
    shots: Whole = Field(default=5, ge=0)

    @field_validator("directions")
    @classmethod
    def _read(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        try:
            return tuple(dict.fromkeys(str(parse_direction(one)) for one in value))
        except InputError as error:
            raise ValueError(str(error).removeprefix("--direction ")) from error


class EvaluationPart(_Part):
    """What is scored, see ``mwanda eval``.

    Attributes:
        text, languages, sentences, seed, ids: as the options of that command.
        max_length: tokens of one forward.
        neighbours: parallel sentences whose ids differ by at most this count as one article; 0
            takes each alone. By default as ``mwanda eval``, where texts have ids in common.
        continuations: texts a language that are continued and checked for repetition and their
            language.
        translation: what is translated, if anything.
        tasks: ``xcopa: FOLDER`` and the like, see ``mwanda tasks``; the seed is the evaluation's.
        task_items, task_languages: most items a language, and which languages; all by default.
    """

    text: str
    languages: Annotated[tuple[str, ...] | None, Listed] = None
    sentences: Count | None = None
    seed: Whole = Field(default=0, ge=0)
    ids: str | None = None
    max_length: Whole = Field(default=2048, ge=2)
    neighbours: Annotated[Whole, Field(ge=0)] | None = None
    continuations: Whole = Field(default=0, ge=0)
    translation: TranslationPart | None = None
    tasks: dict[str, str] | None = Field(default=None, min_length=1)
    task_items: Count = 100
    task_languages: Annotated[tuple[str, ...] | None, Listed] = Field(default=None, min_length=1)

    @field_validator("tasks")
    @classmethod
    def _names(cls, value: dict[str, str] | None) -> dict[str, str] | None:
        for name in value or ():
            if name not in LOCAL:
                raise ValueError(f"{name}: expected {' or '.join(LOCAL)}, whose files can be read")
        return value


class ArtefactPart(_Part):
    """A file or folder that ships, scored in the program that serves it, see ``mwanda eval``.

    Attributes:
        path: of it.
        model: of the study, whose form it is; the only one by default.
        runtime: what opens it; by its kind where none is given, else transformers.
        tokenizer: a folder whose ids are scored; the model's where none is given.
    """

    path: str
    model: str | None = None
    runtime: str | None = None
    tokenizer: str | None = None


class RunPart(_Part):
    """How to run: those of :class:`mwanda.system.run_options.RunOptions` that a study can use."""

    device: str = "auto"
    compute_dtype: str = "auto"
    batch_tokens: Count = 2048
    activation_memory: str = "512MiB"
    allow_short: bool = False
    allow_overlap: bool = False
    trust_remote_code: bool = False


TRIMMED = "trimmed"
"""A form of a dense model: its vocabulary cut to the languages of the evaluation."""


class StudyDocument(_Part):
    """A grid of prunes, every one evaluated.

    Attributes:
        models: name -> folder, GGUF file or hub id; a list is named after its last parts.
        calibration: text source or windows file.
        languages: name -> a set of calibration languages, None for all there are.
        criteria, allocations, patterns, reconstructions: methods, every combination of them.
        methods: name -> fields of a recipe, beside those combinations, or instead of them where no
            list is given. ``languages`` may name one of the sets, ``recipe`` one to begin as.
        sparsities, seeds: every method's, unless it fixes them.
        recipe: fields of every recipe; ``mode`` is dense unless given.
        quantised: GGUF types, ``trimmed``, or both as ``trimmed+Q8_0``; each dense model is also
            measured in each of these forms, trimmed by script to the languages of the evaluation.
        artefacts: name -> what ships, scored beside the model that it is a form of.
        keep: whether pruned models stay, in the study's folder.
    """

    models: dict[str, str] = Field(min_length=1)
    evaluation: EvaluationPart
    calibration: str | None = None
    languages: dict[str, Tags | None] = Field(default={EVERY: None}, min_length=1)
    criteria: Methods = Field(default=None, min_length=1)
    allocations: Methods = Field(default=None, min_length=1)
    patterns: Annotated[tuple[str, ...] | None, Listed] = Field(default=None, min_length=1)
    reconstructions: Methods = Field(default=None, min_length=1)
    methods: dict[str, Fields] = Field(default_factory=dict)
    sparsities: Annotated[tuple[Share, ...], Listed] = Field(default=(0.5,), min_length=1)
    seeds: Annotated[tuple[Seed, ...], Listed] = Field(default=(0,), min_length=1)
    recipe: Fields = Field(default_factory=dict)
    quantised: Annotated[tuple[str, ...], Listed] = ()
    artefacts: dict[str, ArtefactPart] = Field(default_factory=dict)
    run: RunPart = Field(default_factory=RunPart)
    keep: bool = False

    @field_validator("models", mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        if isinstance(value, str):
            value = [value]
        if not isinstance(value, list):
            return value
        named = {Path(str(model).rstrip("/")).name: model for model in value}
        if len(named) < len(value):
            raise ValueError(
                "expected models of different names, found some alike; write NAME: MODEL for each"
            )
        return named

    @field_validator("quantised")
    @classmethod
    def _types(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        try:
            return tuple(dict.fromkeys(map(_small_form, value)))
        except InputError as error:
            raise ValueError(str(error)) from error

    @field_validator("languages", mode="before")
    @classmethod
    def _sets(cls, value: Any) -> Any:
        return {EVERY: value} if value is None or isinstance(value, str | list | tuple) else value

    @model_validator(mode="after")
    def _fields_of_recipes(self) -> StudyDocument:
        problems = []
        named = ((f"methods.{name}", fields) for name, fields in self.methods.items())
        for place, fields in (("recipe", self.recipe), *named):
            for name in fields:
                if name == "recipe" == place:
                    problems.append("recipe.recipe: expected none; write it in a method")
                elif name not in {*Recipe.model_fields, "recipe"}:
                    problem = unknown_field(name, Recipe.model_fields)
                    problems.append(f"{place}.{name}: {problem}")
        for axis, field in AXES.items():
            if field in self.recipe:
                problems.append(
                    f"recipe.{field}: expected what all cells have in common; use {axis}"
                )
        for name, part in self.artefacts.items():
            if name in {"dense", TRIMMED, *self.quantised}:
                problems.append(f"artefacts.{name}: expected a name that nothing else has")
            if part.model is None and len(self.models) > 1:
                problems.append(f"artefacts.{name}: expected a model, one of the study's, as it "
                                f"has {len(self.models)}")  # fmt: skip
            if part.model is not None and part.model not in self.models:
                problems.append(f"artefacts.{name}.model: {nearest(part.model, self.models)}")
        if "languages" in self.recipe:
            problems.append("recipe.languages: expected none; use languages")
        if problems:
            raise ValueError("\n".join(problems))
        return self

    @property
    def combines(self) -> bool:
        """Whether combinations of methods are asked for: by a list of them, or by no method."""
        lists = (self.criteria, self.allocations, self.patterns, self.reconstructions)
        return not self.methods or any(one is not None for one in lists)


def _small_form(name: str) -> str:
    """A form that a dense model is measured in, as it is written everywhere."""
    first, plus, kind = name.partition("+")
    if first != TRIMMED:
        return check_type(name, name)
    return f"{TRIMMED}+{check_type(kind, name)}" if plus else TRIMMED


def load_study(path: Path) -> tuple[StudyDocument, str]:
    """The document in a YAML file, and its text."""
    made = validated(StudyDocument, load_recipe(path), str(path))
    return made, path.read_text(encoding="utf-8")
