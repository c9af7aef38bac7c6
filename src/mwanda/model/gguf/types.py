"""The GGUF types that a model can be quantised to here; told without anything that is slow."""

from __future__ import annotations

from mwanda.errors import InputError, nearest
from mwanda.system.extras import need

TYPES = ("Q8_0", "Q5_1", "Q5_0", "Q4_1", "Q4_0")
"""Types that the library gguf can write itself; all have groups of 32 weights along a row."""


def check_type(name: str, thing: str = "--type") -> str:
    """The name of a type, in any case of letters, as GGUF writes it."""
    kind = name.strip().upper()
    if kind not in TYPES:
        expected = "a GGUF type that the library gguf can write"
        raise InputError(thing, expected=expected, found=name[:40], fix=nearest(kind, TYPES))
    need("gguf", thing, "gguf")
    return kind
