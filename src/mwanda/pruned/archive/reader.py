"""An archive read at any place: a tensor or a file, decoded chunk by chunk."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from mwanda.errors import DataError, InputError, shown
from mwanda.model.stored.layout import DTYPES_BY_NAME, MAX_HEADER, byte_view
from mwanda.pruned.archive.codec import Element, damaged, decode
from mwanda.pruned.archive.contents import HEADER, Chunk, FileEntry, Index, Segment, read_index
from mwanda.system.closing import Closing


@dataclass(frozen=True)
class Place:
    """One chunk: where it lies and what is known of it."""

    what: str
    offset: int
    chunk: Chunk
    element: Element
    columns: int

    @property
    def raw(self) -> int:
        """Bytes it decodes to."""
        return self.chunk[1]


class Archive(Closing):
    """An open archive, made by :meth:`open`; any number of threads may read at once. ``files`` is
    the path inside the folder -> its entry."""

    def __init__(self, path: Path, descriptor: int, index: Index) -> None:
        self.path, self.index = path, index
        self.files = {entry.path: entry for entry in index.files}
        self._descriptor = descriptor
        self._starts: dict[int, int] = {}
        at = len(HEADER)
        for entry in index.files:
            for segment in entry.segments:
                self._starts[id(segment)] = at
                at += segment.stored

    @classmethod
    def open(cls, path: Path) -> Archive:
        """Read and check the index; no chunk is touched."""
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except (OSError, ValueError) as error:
            found = getattr(error, "strerror", None) or "nothing that can be opened"
            expected = "an archive that mwanda pack wrote"
            raise InputError(shown(str(path)), expected=expected, found=found) from error
        try:
            return cls(path, descriptor, read_index(path, descriptor))
        except OSError as error:  # a folder opens, and cannot be read
            os.close(descriptor)
            found = error.strerror or type(error).__name__
            raise InputError(str(path), expected="an archive file", found=found) from error
        except BaseException:
            os.close(descriptor)
            raise

    def close(self) -> None:
        """Close the file; nothing can be read after that."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def tensors(self, path: str) -> dict[str, Segment]:
        """Name -> segment of every tensor in one file."""
        return {s.name: s for s in self.files[path].segments if s.name is not None}

    def places(self, segment: Segment, what: str) -> Iterator[Place]:
        """A segment's chunks, in order."""
        at = self._starts[id(segment)]
        for number, chunk in enumerate(segment.chunks):
            name = f"{self.path}: {shown(what)}, chunk {number}"
            yield Place(name, at, chunk, segment.element, segment.columns)
            at += chunk[0]

    def file_places(self, entry: FileEntry) -> Iterator[Place]:
        """A file's chunks, in order."""
        for segment in entry.segments:
            yield from self.places(segment, segment.name or entry.path)

    def decode(self, place: Place, into: memoryview) -> None:
        """Read one chunk into ``into``, which has ``place.raw`` bytes, and test its checksums."""
        if self._descriptor < 0:
            raise DataError(f"{self.path}: read after the archive was closed")
        stored, _, written, packed = place.chunk
        data, others = os.pread(self._descriptor, stored, place.offset), "others, by their checksum"
        if len(data) != stored or zlib.crc32(data) != written:
            raise damaged(place.what, "the bytes that were written", others)
        decode(data, into, place.element, place.columns, place.what)
        if zlib.crc32(into) != packed:
            raise damaged(place.what, "the bytes that were packed", others)

    def read(self, path: str, name: str) -> torch.Tensor:
        """One tensor of a safetensors file in the archive; no other is touched."""
        segment = self.tensors(path).get(name) if path in self.files else None
        if segment is None or segment.dtype is None or segment.shape is None:
            what = f"{self.path}: {shown(path)}: tensor {shown(name)}"
            raise DataError(what, expected="a tensor of the archive", found="no such tensor")
        dtype = DTYPES_BY_NAME.get(segment.dtype)
        if dtype is None:
            what, found = f"{self.path}: tensor {shown(name)}", segment.dtype
            raise DataError(what, expected="a dtype that this torch has", found=found)
        try:
            tensor = torch.empty(segment.shape, dtype=dtype)
        except (RuntimeError, MemoryError) as error:
            what, found = f"{self.path}: tensor {shown(name)}", f"{segment.raw} bytes"
            raise DataError(what, expected="a tensor that fits memory", found=found) from error
        at, view = 0, byte_view(tensor)
        for place in self.places(segment, name):
            self.decode(place, view[at : at + place.raw])
            at += place.raw
        return tensor

    def read_file(self, path: str) -> bytes:
        """A whole file of at most 100 MB."""
        entry = self.files.get(path)
        if entry is None or entry.size > MAX_HEADER:
            found = "no such file" if entry is None else f"one of {entry.size} bytes"
            what = f"{self.path}: {shown(path)}"
            raise DataError(what, expected="a small file of the archive", found=found)
        parts = []
        for place in self.file_places(entry):
            part = bytearray(place.raw)
            self.decode(place, memoryview(part))
            parts.append(part)
        return b"".join(parts)
