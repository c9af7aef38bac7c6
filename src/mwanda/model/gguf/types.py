"""The types that a model can be quantised to here; told without anything that is slow."""

from __future__ import annotations

from mwanda.errors import InputError, nearest
from mwanda.system.extras import need

TYPES = ("Q8_0", "Q5_1", "Q5_0", "Q4_1", "Q4_0")
"""Types that the library gguf can write itself; all have groups of 32 weights along a row."""

INT8 = {"INT8": None, "INT8_G128": 128}
"""Whole numbers of 8 bits, as servers other than llama.cpp keep weights: how many weights of a row
have one scale in float16, None for all. A row's largest weight is 127."""

LINEARS = "-LINEARS"
"""Put after a type: embeddings and head stay as they are."""


def check_type(name: str, thing: str = "--type") -> str:
    """The name of a type, in any case of letters, as it is written here."""
    kind = name.strip().upper()
    plain = kind.removesuffix(LINEARS)
    if plain not in (*TYPES, *INT8):
        expected = "a GGUF type that the library gguf can write, or one of int8"
        fix = f"{nearest(plain, (*TYPES, *INT8))}; each also with {LINEARS}"
        raise InputError(thing, expected=expected, found=name[:40], fix=fix)
    if plain in TYPES:
        need("gguf", thing, "gguf")
    return kind
