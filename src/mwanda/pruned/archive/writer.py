"""A folder read once, from its first file to its last, and written as an archive."""

from __future__ import annotations

import hashlib
import math
import os
import zlib
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from mwanda.errors import DataError, InputError, shown
from mwanda.model.stored.layout import DTYPE_NAMES, TensorInfo, read_header
from mwanda.pruned.archive.codec import ELEMENTS, MAX_CHUNK, encode
from mwanda.pruned.archive.contents import (
    FORMAT,
    HEADER,
    MAX_INDEX,
    Chunk,
    FileEntry,
    Index,
    Segment,
    check_name,
    footer,
)
from mwanda.system.progress import Progress
from mwanda.system.threads import in_order

CHUNK = 4 << 20
"""Bytes of a file that are coded at a time."""

ROWS = 16
"""A chunk of a matrix holds a multiple of so many rows, so that groups of N in M stay whole."""

TEXT_LEVEL = 3
"""Least level of zstd for what is no tensor."""


@dataclass
class _Stretch:
    """One segment to be: how many bytes, its tensor if it is one, and its chunks so far."""

    nbytes: int
    name: str | None = None
    dtype: str | None = None
    shape: tuple[int, ...] | None = None
    chunks: list[Chunk] = field(default_factory=list)

    def segment(self) -> Segment:
        return Segment(
            name=self.name, dtype=self.dtype, shape=self.shape, chunks=tuple(self.chunks)
        )

    def steps(self) -> Iterator[int]:
        """Sizes of its chunks."""
        step, row = CHUNK, 0
        if self.shape is not None and len(self.shape) > 1 and self.nbytes:
            row = self.nbytes // math.prod(self.shape[:-1])
        if row and row * ROWS <= MAX_CHUNK:
            step = max(1, CHUNK // (row * ROWS)) * row * ROWS
        for start in range(0, self.nbytes, step):
            yield min(step, self.nbytes - start)


@dataclass
class _File:
    path: Path
    name: str
    stretches: list[_Stretch]
    size: int = 0
    sha256: str = ""

    def entry(self) -> FileEntry:
        segments = tuple(stretch.segment() for stretch in self.stretches)
        return FileEntry(path=self.name, size=self.size, sha256=self.sha256, segments=segments)


def find_files(folder: Path) -> list[tuple[str, Path]]:
    """Every file below a folder, by its path inside it, sorted."""
    if not folder.is_dir():
        raise InputError(
            shown(str(folder)), expected="a model folder", found="no folder",
            fix="give the folder that holds config.json and the safetensors",
        )  # fmt: skip
    found = []
    for name in sorted(_names(folder)):
        path = folder / name
        try:
            check_name(name)
        except ValueError as error:
            raise InputError(f"{folder}: {shown(name)}", found=str(error), fix="rename it") from (
                error
            )
        if not path.is_file():
            raise InputError(
                f"{folder}: {shown(name)}", expected="a file", found="something else",
                fix="take it out of the folder",
            )  # fmt: skip
        found.append((name, path))
    if not found:
        raise InputError(str(folder), expected="files to pack", found="an empty folder")
    return found


def _names(folder: Path) -> Iterator[str]:
    """Paths inside a folder of all that is no folder itself."""

    def unreadable(error: OSError) -> None:  # else it would be left out without a word
        found = error.strerror or type(error).__name__
        raise InputError(shown(str(error.filename)), expected="a folder to read", found=found)

    for place, folders, files in os.walk(folder, onerror=unreadable):
        for name in files + [name for name in folders if Path(place, name).is_symlink()]:
            yield Path(place, name).relative_to(folder).as_posix()


def write_archive(
    files: Sequence[tuple[str, Path]], out: BinaryIO, *, level: int, threads: int,
    progress: Progress,
) -> Index:  # fmt: skip
    """Write these files into an archive, a few chunks of them in memory at a time. The level of
    zstd is tried beside Huffman codes for numbers; 0 tries none there."""
    plans = [_plan(name, path) for name, path in files]
    pieces = sum(1 for plan in plans for s in plan.stretches for _ in s.steps())
    progress.stage("pack", pieces, unit="piece")

    def code(piece: tuple[_Stretch, bytes]) -> tuple[_Stretch, bytes, Chunk]:
        stretch, raw = piece
        segment = Segment.model_construct(dtype=stretch.dtype, shape=stretch.shape)
        used = max(level, TEXT_LEVEL) if stretch.dtype is None else level
        stored = encode(raw, segment.element, segment.columns, used)
        return stretch, stored, (len(stored), len(raw), zlib.crc32(stored), zlib.crc32(raw))

    out.write(HEADER)
    at = len(HEADER)
    with closing(in_order(code, _pieces(plans), threads)) as coded:
        for stretch, stored, chunk in coded:
            out.write(stored)
            at += len(stored)
            stretch.chunks.append(chunk)
            progress.block(0)
    index = Index(format=FORMAT, files=tuple(plan.entry() for plan in plans))
    raw = index.encoded()
    if len(raw) > MAX_INDEX:
        what, found = "the archive's index", f"{len(raw)}: too many files or tensors"
        raise InputError(what, expected=f"at most {MAX_INDEX} bytes", found=found)
    out.write(raw)
    out.write(footer(at, raw))
    return index


def _plan(name: str, path: Path) -> _File:
    """A file cut into its tensors where it is safetensors, else in one piece."""
    stretches = [_Stretch(path.stat().st_size)]
    infos: list[TensorInfo] = []
    if path.suffix == ".safetensors":
        with suppress(InputError):  # a pointer, a damaged file: kept as it is, like any other
            infos, _ = read_header(path)
    if infos:
        stretches = [_Stretch(infos[0].offset)]
    for info in infos:
        dtype = DTYPE_NAMES[info.dtype]
        tensor = (info.name, dtype, info.shape) if dtype in ELEMENTS else ()
        stretches.append(_Stretch(info.nbytes, *tensor))
    return _File(path, name, stretches)


def _pieces(plans: Sequence[_File]) -> Iterator[tuple[_Stretch, bytes]]:
    """The files' bytes, each read once."""
    for plan in plans:
        try:
            with plan.path.open("rb") as file:
                before = os.fstat(file.fileno())
                digest = hashlib.sha256()
                for stretch in plan.stretches:
                    for step in stretch.steps():
                        raw = file.read(step)
                        if len(raw) != step:
                            raise _changed(plan.path)
                        digest.update(raw)
                        plan.size += step
                        yield stretch, raw
                after = os.fstat(file.fileno())
        except OSError as error:
            found = error.strerror or type(error).__name__
            raise InputError(str(plan.path), expected="a file to read", found=found) from error
        known = (plan.size, before.st_size, before.st_mtime_ns)
        if known != (after.st_size, after.st_size, after.st_mtime_ns):
            raise _changed(plan.path)
        plan.sha256 = digest.hexdigest()


def _changed(path: Path) -> DataError:
    return DataError(
        str(path),
        expected="the file as it was when the packing began",
        found="another size or time of change",
        fix="do not write to the folder while it is packed; run again",
    )
