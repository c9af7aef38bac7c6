"""How a field of a recipe is written on a command line, where its type does not say so."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from pydantic.fields import FieldInfo

from mwanda.errors import InputError


class Written(NamedTuple):
    """Of a field.

    Attributes:
        flags: what to write for true and for false.
        repeated: one value an option, which may be given again.
        read: from the words to the field's value.
    """

    flags: str = ""
    repeated: bool = False
    read: Callable[[str], Any] | None = None


def written_as(field: FieldInfo) -> Written:
    """How this field is."""
    return next((told for told in field.metadata if isinstance(told, Written)), Written())


def named_values(given: Sequence[str], option: str) -> dict[str, Any]:
    """``["width=0.04"]`` -> ``{"width": 0.04}``; digits alone are a whole number, and what is no
    number stays text."""
    found: dict[str, Any] = {}
    for item in given:
        name, equals, value = item.partition("=")
        if not equals or not name:
            raise InputError(option, expected="NAME=VALUE", found=item)
        found[name.strip().replace("-", "_")] = _number(value.strip())
    return found


def weights_by_language(text: str) -> dict[str, Any]:
    """``de=2,sw=1``."""
    found: dict[str, Any] = {}
    for item in text.split(","):
        tag, equals, value = (part.strip() for part in item.partition("="))
        if not equals or not tag or tag in found:
            raise InputError(
                "--language-weights", expected="each language once, like de=2,sw=1", found=text
            )
        found[tag] = _number(value)
    return found


def block_numbers(text: str) -> list[int]:
    """``0,1,17``."""
    try:
        return [int(part) for part in text.split(",")]
    except ValueError as error:
        raise InputError("--skip-blocks", expected="numbers like 0,1,17", found=text) from error


def _number(text: str) -> Any:
    if text.isascii() and text.isdigit():
        return int(text)
    try:
        value = float(text)
    except ValueError:
        return text
    return value if math.isfinite(value) else text
