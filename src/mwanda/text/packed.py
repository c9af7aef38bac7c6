"""Files of bytes as they are, or packed by gzip, zstd, bzip2 or xz, read as one stream."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from mwanda.errors import InputError
from mwanda.system.extras import need

ZSTD_CHUNK = 1 << 20
_LFS = b"version https://git-lfs"


def read_lines(path: Path) -> Iterator[bytes]:
    """The lines of a file with their ends, unpacked where its name says so."""
    refuse_pointer(path)
    opener = PACKED.get(path.suffix.lower())
    if opener is None:
        with path.open("rb") as file:
            yield from file
        return
    try:
        with opener(path) as unpacked:
            yield from unpacked
    except (EOFError, OSError, zlib.error, lzma.LZMAError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # of the disk, not of what is in the file
        expected = f"a whole file packed as {path.suffix}"
        found = str(error)
        raise InputError(str(path), expected=expected, found=found, fix="pack it again") from error


def refuse_pointer(path: Path) -> None:
    """Refuse what git leaves in place of a large file until it is fetched."""
    with path.open("rb") as file:
        if file.read(len(_LFS)) == _LFS:
            found = "a Git LFS pointer, not the text"
            fix = "run git lfs pull in the folder"
            raise InputError(str(path), expected="text", found=found, fix=fix)


class _Zstd(io.RawIOBase):
    """Every frame of a file. The library's own reader ends without a word where a file does."""

    def __init__(self, path: Path) -> None:
        need("zstandard", str(path), "archive")
        import zstandard

        self._error = zstandard.ZstdError
        self._file = path.open("rb")
        self._tool = zstandard.ZstdDecompressor(max_window_size=1 << 31)
        self._frame: Any = None
        self._rest = self._made = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._made:
            self._rest = self._rest or self._file.read(ZSTD_CHUNK)
            if not self._rest:
                if self._frame is not None:
                    raise EOFError("the end of the file in the middle of a frame")
                return 0
            self._frame = self._frame or self._tool.decompressobj()
            try:
                self._made = self._frame.decompress(self._rest)
            except self._error as error:
                raise OSError(str(error)) from error  # as gzip tells it
            self._rest = self._frame.unused_data
            if self._frame.eof:
                self._frame = None
        size = min(len(buffer), len(self._made))
        buffer[:size], self._made = self._made[:size], self._made[size:]
        return size

    def close(self) -> None:
        self._file.close()
        super().close()


PACKED: dict[str, Callable[[Path], IO[bytes]]] = {
    ".gz": lambda path: io.BufferedReader(gzip.GzipFile(path)),
    ".zst": lambda path: io.BufferedReader(_Zstd(path), 1 << 16),
    ".bz2": bz2.BZ2File,
    ".xz": lzma.LZMAFile,
}
"""Endings that are unpacked while reading."""
