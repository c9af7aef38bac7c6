"""The header of a GGUF file, read once and in plain Python: 262,144 tokens take half a second.

A count in it can be any number below 2^64, and a reader that loops so many times never comes back.
Here every count is held against the bytes that are there.
"""

from __future__ import annotations

import math
import mmap
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mwanda.errors import InputError, shown

ORIGINAL = "give the original model's folder (safetensors) instead"

FORMATS = {
    0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d",
}  # fmt: skip
"""How a value lies there, by its type's number."""

STRING, ARRAY = 8, 9
NESTED, DIMENSIONS = 4, 4
LEAST_FIELD, LEAST_TENSOR = 8 + 4 + 1, 8 + 4 + 4 + 8
"""Bytes that a field and a tensor take at least."""

ALIGNMENT = 32

LENGTH = struct.Struct("<Q")


@dataclass(frozen=True)
class GgufTensor:
    """Where a tensor lies."""

    name: str
    shape: tuple[int, ...]  # as torch has it, the last dimension next to each other
    kind: Any  # of its numbers, an entry of GGMLQuantizationType
    start: int  # its first byte in the file
    row_bytes: int  # of one row; a vector is one row

    @property
    def size(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)

    @property
    def rows(self) -> int:
        return math.prod(self.shape[:-1])

    def open(self, path: Path) -> npt.NDArray[np.uint8]:
        """Its bytes, row for row, read when they are looked at."""
        shape = (*self.shape[:-1], self.row_bytes)
        return np.memmap(path, np.uint8, mode="r", offset=self.start, shape=shape)


@dataclass(frozen=True)
class GgufHeader:
    """All that a GGUF file says of itself; its weights stay where they are."""

    path: Path
    fields: Mapping[str, Any]  # what it says, by name; a list for an array
    spans: Mapping[str, tuple[int, int]]  # where each of them stands in the file
    tensors: tuple[GgufTensor, ...]

    @property
    def architecture(self) -> str:
        return str(self.fields["general.architecture"])

    @property
    def own(self) -> dict[str, Any]:
        """The fields of its architecture, whose name is left out."""
        front = f"{self.architecture}."
        return {n.removeprefix(front): v for n, v in self.fields.items() if n.startswith(front)}

    @property
    def weights(self) -> int:
        """How many numbers its tensors hold."""
        return sum(tensor.size for tensor in self.tensors)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(tensor.name for tensor in self.tensors)


def parse_header(path: Path) -> GgufHeader:
    """Read all that stands before the weights, and see that they are all there."""
    with path.open("rb") as file:
        if not file.read(1):
            raise ValueError("an empty file")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _Walk(path, data).header()


class _Walk:
    def __init__(self, path: Path, data: mmap.mmap) -> None:
        self._path = path
        self._data = data
        self._size = len(data)
        self._at = 0

    def header(self) -> GgufHeader:
        self._skip(4)
        version = self._number("I")
        if version & 0xFFFF == 0:
            raise ValueError("written on a machine of the other byte order")
        if version not in (2, 3):
            raise ValueError(f"version {version}, and 2 or 3 are known")
        tensors = self._count(LEAST_TENSOR, "tensors")
        fields: dict[str, Any] = {}
        spans = {}
        for _ in range(self._count(LEAST_FIELD, "fields")):
            start = self._at
            name = self._string()
            if name in fields:
                raise ValueError(f"the field {name[:60]} twice")
            try:
                fields[name] = self._value(self._number("I"), NESTED)
            except UnicodeDecodeError as error:
                raise InputError(
                    f"{self._path}: {shown(name)}",
                    expected="text in UTF-8",
                    found=f"the bytes {error.object[:40]!r}",
                    fix="convert the original model again, or give its folder (safetensors)",
                ) from error
            spans[name] = (start, self._at)
        told = [self._tensor() for _ in range(tensors)]
        if len({name for name, *_ in told}) != len(told):
            raise ValueError("two tensors of one name")
        align = fields.get("general.alignment", ALIGNMENT)
        if not isinstance(align, int) or align < 1 or align & (align - 1):
            raise ValueError(f"an alignment of {align}")
        start = -(-self._at // align) * align
        placed = tuple(self._placed(start, *one) for one in told)
        return GgufHeader(self._path, fields, spans, placed)

    def _tensor(self) -> tuple[str, tuple[int, ...], int, int]:
        name = self._string()
        dimensions = self._number("I")
        if dimensions > DIMENSIONS:
            raise ValueError(f"a tensor of {dimensions} dimensions")
        shape = tuple(self._number("Q") for _ in range(dimensions))
        return name, shape[::-1], self._number("I"), self._number("Q")

    def _placed(
        self, start: int, name: str, shape: tuple[int, ...], kind: int, offset: int
    ) -> GgufTensor:
        from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

        known = GGMLQuantizationType(kind)
        group, size = GGML_QUANT_SIZES[known]
        shape = shape or (1,)
        if shape[-1] % group:
            raise ValueError(f"{name[:60]}: rows of {shape[-1]} in groups of {group}")
        row = shape[-1] // group * size
        if start + offset + math.prod(shape[:-1]) * row > self._size:
            raise ValueError(f"the end of the file before that of the tensor {name[:60]}")
        return GgufTensor(name, shape, known, start + offset, row)

    def _value(self, kind: int, depth: int) -> Any:
        if kind in FORMATS:
            return self._number(FORMATS[kind])
        if kind == STRING:
            return self._string()
        if kind != ARRAY or not depth:
            raise ValueError(f"a value of type {kind}")
        inner = self._number("I")
        if inner in FORMATS:
            size = struct.calcsize(FORMATS[inner])
            count = self._count(size, "values")
            start = self._skip(count * size)
            return np.frombuffer(self._data, f"<{FORMATS[inner]}", count, start).tolist()
        if inner == STRING:
            return self._strings(self._count(8, "values"))
        return [self._value(inner, depth - 1) for _ in range(self._count(8, "values"))]

    def _strings(self, count: int) -> list[str]:
        """As :meth:`_string` so many times, a vocabulary's worth."""
        found, data, at, size = [], self._data, self._at, self._size
        for _ in range(count):
            if at + 8 > size:
                raise ValueError(f"the end of the file after {size} bytes")
            end = at + 8 + LENGTH.unpack_from(data, at)[0]
            if end > size:
                raise ValueError(f"the end of the file after {size} bytes")
            found.append(data[at + 8 : end].decode())
            at = end
        self._at = at
        return found

    def _string(self) -> str:
        return self._strings(1)[0]

    def _count(self, least: int, what: str) -> int:
        found: int = self._number("Q")
        if found * least > self._size - self._at:
            raise ValueError(f"{found} {what} said to be in {self._size} bytes")
        return found

    def _number(self, kind: str) -> Any:
        form = f"<{kind}"
        return struct.unpack_from(form, self._data, self._skip(struct.calcsize(form)))[0]

    def _skip(self, size: int) -> int:
        start = self._at
        if size > self._size - start:
            raise ValueError(f"the end of the file after {self._size} bytes")
        self._at += size
        return start
