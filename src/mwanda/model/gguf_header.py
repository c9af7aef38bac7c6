"""The header of a GGUF file, walked through before a library believes what it says.

A count in it can be any number below 2^64, and a reader that loops so many times never comes back.
Here every count is held against the bytes that are there.
"""

from __future__ import annotations

import mmap
import struct
from pathlib import Path

__all__ = ["check_header"]

SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
"""Bytes of a value, by its type's number."""

STRING, ARRAY = 8, 9
NESTED, DIMENSIONS = 4, 4
LEAST_FIELD, LEAST_TENSOR = 8 + 4 + 1, 8 + 4 + 4 + 8
"""Bytes that a field and a tensor take at least."""


def check_header(path: Path) -> None:
    """Walk through all that stands before the weights.

    Raises:
        ValueError: a count or a length beyond the end of the file, or what the format does not
            have.
        OSError: a file that cannot be read.
    """
    with path.open("rb") as file:
        if not file.read(1):
            raise ValueError("an empty file")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            walk = _Walk(data)
            walk.header()
            walk.close()


class _Walk:
    def __init__(self, data: mmap.mmap) -> None:
        self._data = memoryview(data)
        self._at = 0
        self._order = "<"

    def close(self) -> None:
        self._data.release()

    def header(self) -> None:
        try:
            self._header()
        except BaseException:
            self.close()  # or the file could not be closed
            raise

    def _header(self) -> None:
        self._skip(4)
        version = self._number("I")
        if version & 0xFFFF == 0:  # written on a machine of the other byte order
            self._order, self._at = ">", 4
            version = self._number("I")
        if version not in (2, 3):
            raise ValueError(f"version {version}, and 2 or 3 are known")
        tensors = self._count(LEAST_TENSOR, "tensors")
        fields = self._count(LEAST_FIELD, "fields")
        for _ in range(fields):
            self._string()
            self._value(self._number("I"), NESTED)
        for _ in range(tensors):
            self._string()
            dimensions = self._number("I")
            if dimensions > DIMENSIONS:
                raise ValueError(f"a tensor of {dimensions} dimensions")
            self._skip(8 * dimensions + 4 + 8)

    def _value(self, kind: int, depth: int) -> None:
        if kind in SIZES:
            self._skip(SIZES[kind])
        elif kind == STRING:
            self._string()
        elif kind == ARRAY and depth:
            inner = self._number("I")
            if inner in SIZES:
                self._skip(self._count(SIZES[inner], "values") * SIZES[inner])
                return
            for _ in range(self._count(8, "values")):
                self._value(inner, depth - 1)
        else:
            raise ValueError(f"a value of type {kind}")

    def _string(self) -> None:
        self._skip(self._count(1, "bytes of text"))

    def _count(self, least: int, what: str) -> int:
        found = self._number("Q")
        if found * least > len(self._data) - self._at:
            raise ValueError(f"{found} {what} said to be in {len(self._data)} bytes")
        return found

    def _number(self, kind: str) -> int:
        form = f"{self._order}{kind}"
        start = self._skip(struct.calcsize(form))
        return int(struct.unpack_from(form, self._data, start)[0])

    def _skip(self, size: int) -> int:
        start = self._at
        if size > len(self._data) - start:
            raise ValueError(f"the end of the file after {len(self._data)} bytes")
        self._at += size
        return start
