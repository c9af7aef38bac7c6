"""The values of a recipe or a study as people write them, and what is wrong with one, in words."""

from __future__ import annotations

import numbers
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from decimal import Decimal, DecimalException
from typing import Annotated, Any, TypeVar, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    Strict,
    ValidationError,
)
from pydantic_core import PydanticCustomError

from mwanda.errors import InputError, shown, unknown_field

EXPECTED: Mapping[str, str] = {
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "dict_type": "a mapping",
    "finite_number": "a finite number",
    "float_parsing": "a number",
    "float_type": "a number",
    "greater_than": "a number above {gt:g}",
    "greater_than_equal": "{ge} or more",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "int_parsing_size": "a whole number of fewer digits",
    "int_type": "a whole number",
    "less_than": "a number less than {lt}",
    "literal_error": "{expected}",
    "missing": "a value",
    "model_type": "a mapping of its fields",
    "string_type": "text",
    "too_short": "at least {min_length}",
    "tuple_type": "a list",
}
"""pydantic's kind of mistake -> what was expected, in the words of docs/options.md."""

METHOD = "a name, or {name: …, OPTION: …}"

EXAMPLES: Mapping[str, str] = {
    "activation_memory": "512MiB",
    "directions": "[en-de, de-en]",
    "exclude": "[k_proj, v_proj]",
    "include": "[mlp]",
    "language_weights": "{de: 2, sw: 1}",
    "languages": "[de, fr, sw]",
    "patterns": "[unstructured, 2:4]",
    "quantised": "[Q8_0]",
    "report_to": "[tensorboard]",
    "seeds": "[0, 1]",
    "skip_blocks": "[0, 17]",
    "sparsities": "[0.3, 0.5]",
}
"""Field -> a value it could have; a number says enough itself."""

HINTS: Mapping[str, str] = {
    "sparsity": "; give a share of weights from 0 to below 1, such as 0.5 or 50%",
}
"""Place -> what to do about any mistake there."""

SHAPES = ("dict_type", "string_type", "tuple_type")


Model = TypeVar("Model", bound=BaseModel)


def validated(model: type[Model], values: Mapping[str, Any], source: str) -> Model:
    """A model of these fields.

    Args:
        source: what to call them in messages.

    Raises:
        InputError: naming every mistake at once.
    """
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        problems = _problems(error.errors(), model)
        raise InputError.several(f"{source}: {problem}" for problem in problems) from None


def _problems(items: Sequence[Mapping[str, Any]], model: type[BaseModel]) -> list[str]:
    places = {item["loc"][:n] for item in items for n in range(1, len(item["loc"]))}
    # A list is not also too short because of what is wrong in it.
    return [line for item in items if item["loc"] not in places for line in _lines(item, model)]


def _lines(item: Mapping[str, Any], model: type[BaseModel]) -> list[str]:
    place, told = ".".join(str(part) for part in item["loc"]), _in_words(item)
    if not place:  # of the whole, which may have several things to say
        return told.split("\n")
    if item["type"] in ("extra_forbidden", "invalid_key"):
        known = _fields_at(item["loc"], model)
        return [f"{place}: {unknown_field(str(item['loc'][-1]), known)}"]
    return [f"{place}: {told.removeprefix(f'{place}: ')}{HINTS.get(place, '')}"]


def _fields_at(place: Sequence[Any], model: type[BaseModel]) -> Collection[str]:
    """The fields that the last name of a place could have been."""
    for name in place[:-1]:
        field = model.model_fields.get(name)
        model = model if field is None else next(_models_in(field.annotation), model)
    return model.model_fields


def _models_in(kind: Any) -> Iterator[type[BaseModel]]:
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        yield kind
    for part in get_args(kind):
        yield from _models_in(part)


def _in_words(item: Mapping[str, Any]) -> str:
    """One of pydantic's mistakes, ``expected …, found …``, as everything else is told.

    Args:
        item: of ``ValidationError.errors()``.
    """
    kind, context, found = item["type"], item.get("ctx", {}), item.get("input")
    if kind == "value_error":  # our own words already
        return str(item["msg"]).removeprefix("Value error, ")
    if kind not in EXPECTED:
        message = str(item["msg"])
        return f"{message[0].lower()}{message[1:]}, found {_shown(found)}"
    expected = EXPECTED[kind].format_map(context)
    if context.get("class_name") == "Method":
        expected = METHOD
    place = item["loc"][-1] if item["loc"] else ""
    if kind in SHAPES and place in EXAMPLES:
        expected += f" such as {EXAMPLES[place]}"
    return f"expected {expected}, found {'none' if kind == 'missing' else _shown(found)}"


def _shown(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "nothing", True: "true", False: "false"}[value]
    text = shown(str(value))[:60]
    words = isinstance(value, str) and value.casefold() in ("true", "false")
    return repr(text) if words else text  # the word is not the value


def _no_truth(value: Any) -> Any:
    """Python takes true for 1; a person who wrote it did not mean a number."""
    if not _may_be_number(value):
        raise PydanticCustomError("float_type", "expected a number")
    return value


def _may_be_number(value: Any) -> bool:
    """Neither true or false, of Python or NumPy, nor bytes, nor digits with ``_`` between."""
    if isinstance(value, str):
        return "_" not in value
    return isinstance(value, numbers.Number) and not isinstance(value, bool)


def _per_cent(value: Any) -> Any:
    """``50%`` is 0.5."""
    if not isinstance(value, str) or not value.rstrip().endswith("%"):
        return value
    try:
        # Divided as a decimal: 0.07 is the same number whichever way it is written.
        return float(Decimal(value.rstrip()[:-1].strip()) / 100)
    except DecimalException:  # also where it is too large
        return value


def _no_whole_truth(value: Any) -> Any:
    if not _may_be_number(value):
        raise PydanticCustomError("int_type", "expected a whole number")
    if isinstance(value, str) and not re.fullmatch(r"\s*[+-]?\d+\s*", value):
        raise PydanticCustomError("int_parsing", "expected a whole number")  # 0-1 would be -1
    return value


def _listed(value: Any) -> Any:
    """A value alone is a list of one, text with commas is one of several; a set is sorted, so that
    the same words always give the same result."""
    if isinstance(value, str):
        parts = [part.strip() for part in value.split(",")]
        if "" in parts:
            raise ValueError(f"expected a value between commas, found none in {value!r}")
        return parts
    if isinstance(value, int | float) and not isinstance(value, bool):
        return [value]
    return sorted(value, key=str) if isinstance(value, set | frozenset) else value


def _methods(value: Any) -> Any:
    return [value] if isinstance(value, Mapping) else _listed(value)


def _expressions(value: Any) -> Any:
    """As :func:`_listed`; a comma inside brackets belongs to its expression, and ``re:``, by which
    other programs mark one, says nothing more."""
    items = [value] if isinstance(value, str) else _listed(value)
    if not isinstance(items, list | tuple):
        return items
    found: list[Any] = []
    for item in items:
        parts = _COMMA.split(item) if isinstance(item, str) else [item]
        if not all(map(_compiles, parts)):  # brackets inside of brackets: or no expression at all
            parts = [item]
        found += [p.strip().removeprefix("re:") if isinstance(p, str) else p for p in parts]
    return found


def _checked(value: tuple[str, ...]) -> tuple[str, ...]:
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


def _compiles(expression: Any) -> bool:
    try:
        re.compile(expression.strip().removeprefix("re:"))
    except (re.error, AttributeError):
        return False
    return True


_COMMA = re.compile(r",(?![^\[({]*[\])}])")

Whole = Annotated[int, BeforeValidator(_no_whole_truth)]
"""A whole number, and not true or false."""

Count = Annotated[Whole, Field(ge=1)]
"""A whole number from 1."""

Switch = Annotated[bool, Strict()]
"""True or false, and no word or number for it."""

Number = Annotated[float, Field(allow_inf_nan=False), BeforeValidator(_no_truth)]
"""A finite number, and not true or false."""

Share = Annotated[Number, Field(ge=0, lt=1), BeforeValidator(_per_cent)]
"""A share from 0 to below 1, as a number or as ``50%``."""

Part = Annotated[Number, Field(gt=0, lt=1), BeforeValidator(_per_cent)]
"""The same, but not 0."""

Listed = BeforeValidator(_listed)
"""For a field that is a list."""

Methods = Annotated[tuple[Any, ...] | None, BeforeValidator(_methods)]
"""A list of methods, each a name or a mapping."""

Patterns = (BeforeValidator(_expressions), AfterValidator(_checked))
"""For a list of regular expressions."""
