"""Libraries that only some commands need, and the extra that brings each."""

from __future__ import annotations

import importlib.util

from mwanda.errors import InputError


def need(module: str, what: str, extra: str) -> None:
    """Refuse to begin ``what`` without a library that an extra of mwanda brings."""
    if importlib.util.find_spec(module) is None:
        expected = f"the library {module}"
        found = "it is not installed"
        raise InputError(what, expected=expected, found=found, fix=f"pip install 'mwanda[{extra}]'")
