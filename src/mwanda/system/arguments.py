"""What a caller gives from Python: taken as what it plainly is, or one typed error."""

from __future__ import annotations

import os
from numbers import Integral
from pathlib import Path
from typing import Any

from mwanda.errors import InputError, shown


def path_given(name: str, value: Any) -> Path:
    """The path that an argument names."""
    if not isinstance(value, str | os.PathLike) or isinstance(os.fspath(value), bytes):
        raise InputError(name, expected="a path", found=_kind(value))
    return Path(value)


def several_given(name: str, value: Any, example: str) -> list[Any]:
    """Every one of several; text is one of them, or more with commas between; a set is sorted, so
    that the same words give the same result.
    """
    if isinstance(value, str):
        return [part.strip() for part in value.split(",")]
    if isinstance(value, set | frozenset):
        return sorted(value, key=str)
    if isinstance(value, bytes | dict) or not hasattr(value, "__iter__"):
        raise InputError(name, expected=f"a list such as {example}", found=_kind(value))
    return list(value)


def whole_given(name: str, value: Any, least: int) -> None:
    """Refuse what is no whole number, or a smaller one."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        raise InputError(name, expected=f"a whole number from {least}", found=shown(repr(value)))


def _kind(value: Any) -> str:
    return "nothing" if value is None else shown(f"{type(value).__name__} {value!r}")
