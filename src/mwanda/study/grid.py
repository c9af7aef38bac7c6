"""From a document to the prunes it asks for: every combination, resolved, each once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from mwanda.errors import InputError
from mwanda.methods.registry import find_pattern
from mwanda.pruning.recipe.asked import Recipe
from mwanda.pruning.recipe.by_name import with_base
from mwanda.pruning.recipe.recovery import fields_over
from mwanda.pruning.recipe.resolved import ResolvedRecipe, resolve
from mwanda.study.document import StudyDocument
from mwanda.study.records import DENSE
from mwanda.text.languages import parse_languages


@dataclass(frozen=True)
class Point:
    """One prune of a model, without the model.

    Attributes:
        method: how the report names it; prunes of one method differ in sparsity and seed only.
        recipe: what to do.
    """

    method: str
    recipe: ResolvedRecipe

    @property
    def sparsity(self) -> float:
        return self.recipe.sparsity

    @property
    def seed(self) -> int | None:
        """None where no text is drawn."""
        return self.recipe.seed if self.recipe.needs_text else None


def points(document: StudyDocument, source: str) -> tuple[list[Point], list[str]]:
    """Every prune of the grid, in the order of the document, and every mistake in its recipes, each
    told once.

    Args:
        source: what to call the document in messages.
    """
    found: dict[tuple[str, str], Point] = {}
    recipes: dict[tuple[str, bool], str] = {}
    problems: dict[str, None] = {}
    taken = {DENSE, *document.quantised, *document.artefacts}
    for place, label, fields, drawn in _variants(document, problems, source):
        try:
            asked = Recipe.build({"mode": "dense", **fields}, place)
        except InputError as error:
            problems |= dict.fromkeys(error.problems)
            continue
        recipe = resolve(asked)
        if not recipe.needs_text:  # no text is read: one cell for all sets and seeds
            recipe = recipe.model_copy(update={"languages": None, "seed": 0})
        name = label + (f", {drawn}" if drawn and recipe.needs_text else "")
        found.setdefault((name, recipe.model_dump_json()), Point(name, recipe))
        apart = {"sparsity", "seed"} | (set() if recipe.needs_text else {"languages"})
        told = asked.model_dump_json(exclude=apart)
        if recipes.setdefault((name, recipe.needs_text), told) != told:
            problems[
                f"{source}: methods: expected one name for one recipe, found {name!r} for two; "
                "give them names of their own under methods"
            ] = None
        if name in taken:
            problems[
                f"{source}: methods: expected another name than the dense model's, a form's or an "
                f"artefact's, found {name!r}"
            ] = None
    return list(found.values()), list(problems)


def _variants(
    document: StudyDocument, problems: dict[str, None], source: str
) -> Iterator[tuple[str, str, dict[str, Any], str]]:
    """Where it stands, name, fields, and the name of its set of languages where there are more."""
    sets = document.languages
    for place, label, fields in _methods(document, source):
        try:
            base = with_base({"recipe": fields.pop("recipe", None)}, place)
        except InputError as error:
            problems |= dict.fromkeys(error.problems)
            continue
        whole = base | fields
        chosen: Mapping[str, Any] = sets
        drawn = len(sets) > 1
        if "languages" in whole:
            given, drawn = whole["languages"], False
            if isinstance(given, str) and given in sets:
                given = sets[given]
            elif isinstance(given, str):
                try:
                    given = parse_languages(given)
                except InputError:
                    problems[
                        f"{place}: languages: expected one of the sets {', '.join(sets)}, or tags, "
                        f"found {given}"
                    ] = None
                    continue
            chosen = {"": given}
        free = _fixed(whole.get("pattern", "unstructured")) is None
        sparsities = document.sparsities if free and "sparsity" not in whole else (None,)
        seeds = document.seeds if "seed" not in whole else (None,)
        for sparsity, (name, tags), seed in product(sparsities, chosen.items(), seeds):
            made = fields | {"languages": None if tags is None else list(tags)}
            made |= {} if sparsity is None else {"sparsity": sparsity}
            made |= {} if seed is None else {"seed": seed}
            made = fields_over(base, fields_over(document.recipe, made))
            yield place, label, made, name if drawn else ""


def _methods(document: StudyDocument, source: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Where it stands, name and fields of every method."""
    if document.combines:
        several = document.allocations is not None and len(document.allocations) > 1
        for criterion, allocation, pattern, reconstruction in product(
            document.criteria or ("m-wanda",),
            document.allocations or (None,),
            document.patterns or ("unstructured",),
            document.reconstructions or ("none",),
        ):
            fixed = _fixed(pattern) is not None
            fields = {"criterion": criterion, "pattern": pattern, "reconstruction": reconstruction}
            words = [_shown(criterion)]
            if allocation is not None and not fixed:  # N:M leaves an allocation nothing to do
                fields["allocation"] = allocation
                words += [_shown(allocation)] if several else []
            words += [pattern] if pattern != "unstructured" else []
            words += [_shown(reconstruction)] if reconstruction not in ("none", None) else []
            yield source, " ".join(words), fields
    for name, fields in document.methods.items():
        yield f"{source}: methods.{name}", name, dict(fields)


def _fixed(name: Any) -> float | None:
    """The only sparsity a pattern can have; None for a free one, or for no pattern at all, which
    the recipe will refuse."""
    try:
        return find_pattern(str(name)).fixed
    except InputError:
        return None


def _shown(method: Any) -> str:
    """A method's name with its options: ``cwl(width=0.08)``."""
    if not isinstance(method, Mapping):
        return str(method)
    options = method.get("options", {k: v for k, v in method.items() if k != "name"})
    pairs: Sequence[str] = (
        [f"{key}={value}" for key, value in options.items()] if isinstance(options, Mapping) else []
    )
    return str(method.get("name")) + (f"({', '.join(pairs)})" if pairs else "")
