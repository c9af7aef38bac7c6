"""The C library's heap: freed memory goes back to the system, so that it does not add up."""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any


def trim() -> None:
    """Give freed pages back, also those between pieces still held; nothing where libc cannot.

    Tensors of all sizes come and go with every block. glibc keeps what it frees at the heap's top,
    where one small piece that stays holds all below it: without this a prune of 64 small blocks
    held half as much again as one of 4.
    """
    release = _malloc_trim()
    if release is not None:
        release(0)


@cache
def _malloc_trim() -> Any:
    try:
        return ctypes.CDLL(None).malloc_trim
    except (OSError, TypeError, AttributeError):  # another C library, or another system
        return None
