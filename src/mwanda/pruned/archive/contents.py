"""The layout of an archive, checked before anything is read by it: see docs/archive.md.

``header (16 bytes) · chunks, back to back · index (JSON) · footer (56 bytes)``. No offset stands in
the index: a chunk begins where the one before it ends, so none can overlap, and the last ends where
the index begins.
"""

from __future__ import annotations

import hashlib
import os
import struct
from pathlib import Path, PurePosixPath
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from mwanda.errors import InputError, first_problem, shown
from mwanda.pruned.archive.codec import ELEMENTS, MAX_CHUNK, OVERHEAD, PLAIN, Element, damaged

SUFFIX = ".mwz"
FORMAT = 1
MAGIC, END = b"\x89MWZ\r\n\x1a\n", b"MWZ.END\n"
HEADER = MAGIC + struct.pack("<II", FORMAT, 0)
FOOTER = struct.Struct("<QQ32s8s")

MAX_INDEX = 16 << 20
"""Bytes: enough for a terabyte of weights."""

_TOO_MANY = 2**63

Size = Annotated[int, Field(ge=0, lt=_TOO_MANY)]
Crc = Annotated[int, Field(ge=0, lt=2**32)]
Chunk = tuple[Size, Size, Crc, Crc]
"""Bytes in the archive, bytes decoded, and the CRC-32 of each."""


def check_name(name: str) -> str:
    """A path inside a folder, as an archive may hold it."""
    parts = name.split("/")
    bad = any(part in ("", ".", "..") or len(part.encode()) > 255 for part in parts)
    drive = parts[0][1:2] == ":"
    if bad or drive or not name.isprintable() or "\\" in name or len(name.encode()) > 1024:
        raise ValueError("not a plain path inside the folder")
    return name


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Segment(_Record):
    """A stretch of a file: a tensor, in safetensors' words, or bytes that are none."""

    name: str | None = None
    dtype: str | None = None
    shape: tuple[Size, ...] | None = Field(None, max_length=64)
    chunks: tuple[Chunk, ...]

    @property
    def element(self) -> Element:
        """What the coder takes its bytes for."""
        return PLAIN if self.dtype is None else ELEMENTS[self.dtype]

    @property
    def columns(self) -> int:
        """Length of a row in the coder's elements; 0 where there are no rows."""
        if self.shape is None or len(self.shape) < 2:
            return 0
        return self.shape[-1] * (2 if self.dtype == "C64" else 1)

    @property
    def stored(self) -> int:
        """Bytes in the archive."""
        return sum(chunk[0] for chunk in self.chunks)

    @property
    def raw(self) -> int:
        """Bytes in the file."""
        return sum(chunk[1] for chunk in self.chunks)

    @model_validator(mode="after")
    def _sizes(self) -> Self:
        for stored, raw, _, _ in self.chunks:
            if not 0 < raw <= MAX_CHUNK or not 0 < stored <= raw + OVERHEAD:
                raise ValueError(f"a chunk of {stored} bytes for {raw}")
        given = [self.name is None, self.dtype is None, self.shape is None]
        if any(given) != all(given):
            raise ValueError("a tensor needs name, dtype and shape")
        if self.dtype is not None and self.shape is not None:
            if self.dtype not in ELEMENTS:
                raise ValueError(f"the dtype {shown(self.dtype)}")
            # Step by step: a product of many sizes is a number that never comes back.
            size = self.element.width * (2 if self.dtype == "C64" else 1)
            for length in self.shape:
                size *= length
                if size >= _TOO_MANY:
                    raise ValueError("a shape that no tensor can have")
            if size != self.raw:
                raise ValueError(f"{self.raw} bytes for a tensor of {size}")
        return self


class FileEntry(_Record):
    """One file: its path from the folder, its size and SHA-256, and what it is made of."""

    path: Annotated[str, AfterValidator(check_name)]
    size: Size
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    segments: tuple[Segment, ...]

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.size != sum(segment.raw for segment in self.segments):
            raise ValueError("a size that is not the sum of its segments")
        names = [segment.name for segment in self.segments if segment.name is not None]
        if len(names) != len(set(names)):
            raise ValueError("a tensor twice")
        return self


class Index(_Record):
    """Everything in an archive, in the order of its bytes."""

    format: int
    files: tuple[FileEntry, ...]

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        paths = {entry.path for entry in self.files}
        if len(paths) != len(self.files):
            raise ValueError("a file twice")
        folders = {str(parent) for path in paths for parent in PurePosixPath(path).parents}
        if paths & folders:
            raise ValueError("a file that is a folder too")
        return self

    def encoded(self) -> bytes:
        """As it stands in the archive."""
        return self.model_dump_json(exclude_none=True).encode()


def footer(start: int, index: bytes) -> bytes:
    """What follows the index that begins at byte ``start``."""
    return FOOTER.pack(start, len(index), hashlib.sha256(HEADER + index).digest(), END)


def is_archive(path: Path) -> bool:
    """Whether a file begins as an archive does."""
    try:
        with path.open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def read_index(path: Path, descriptor: int) -> Index:
    """The index of an open archive, checked against the file."""
    size = os.fstat(descriptor).st_size
    header = os.pread(descriptor, len(HEADER), 0)
    if header[: len(MAGIC)] != MAGIC:
        raise InputError(
            str(path), expected="an archive that mwanda pack wrote", found="a file of another kind"
        )
    if header != HEADER:
        found = int.from_bytes(header[len(MAGIC) : len(MAGIC) + 4], "little")
        what = "a damaged header" if found == FORMAT else f"format {found}"
        raise InputError(
            str(path), expected=f"format {FORMAT}", found=what,
            fix="copy the archive again, or unpack it with the version that wrote it",
        )  # fmt: skip
    if size < len(HEADER) + FOOTER.size:
        raise damaged(str(path), "an archive with its end", f"{size} bytes")
    end = os.pread(descriptor, FOOTER.size, size - FOOTER.size)
    start, length, digest, mark = FOOTER.unpack(end)
    if mark != END or start + length + FOOTER.size != size or start < len(HEADER):
        raise damaged(str(path), "an archive with its end", "it cut off or changed")
    if length > MAX_INDEX:
        raise damaged(str(path), f"an index of at most {MAX_INDEX} bytes", str(length))
    raw = os.pread(descriptor, length, start)
    if hashlib.sha256(HEADER + raw).digest() != digest:
        raise damaged(str(path), "the index as it was written", "a changed one")
    try:
        index = Index.model_validate_json(raw)
    except ValidationError as error:
        place, words = first_problem(error)
        raise damaged(str(path), "an index that mwanda wrote", shown(f"{place}: {words}")) from None
    if index.format != FORMAT:
        raise damaged(str(path), f"format {FORMAT}", str(index.format))
    stored = sum(segment.stored for entry in index.files for segment in entry.segments)
    if len(HEADER) + stored != start:
        raise damaged(str(path), f"chunks of {start - len(HEADER)} bytes", f"{stored} in the index")
    return index
