"""Libraries that only some commands need, and the extra that brings each."""

from __future__ import annotations

import importlib.util

from mwanda.errors import InputError


def need(module: str, what: str, extra: str) -> None:
    """Refuse to begin ``what`` without a library that an extra of mwanda brings."""
    if importlib.util.find_spec(module) is None:
        raise InputError(
            what,
            expected=f"the library {module}",
            found="it is not installed",
            fix=f"pip install 'mwanda[{extra}]'",
        )
