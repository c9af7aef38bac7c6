"""The safetensors layout: dtypes, and a header checked before anything is allocated from it."""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard, cast

import torch

from mwanda.errors import InputError

__all__ = ["DTYPE_NAMES", "MAX_HEADER", "TensorInfo", "byte_view", "fsync_folder", "read_header"]

MAX_HEADER = 100_000_000
"""Bytes; the format's own limit."""

_DTYPES: dict[str, torch.dtype] = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8,
    "U64": torch.uint64, "U32": torch.uint32, "U16": torch.uint16, "U8": torch.uint8,
    "BOOL": torch.bool, "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2,
    "C64": torch.complex64,
}  # fmt: skip

DTYPE_NAMES: dict[torch.dtype, str] = {dtype: name for name, dtype in _DTYPES.items()}


@dataclass(frozen=True)
class TensorInfo:
    """One stored tensor: where its bytes lie and what they mean.

    Attributes:
        offset: of the first byte in ``file``.
        nbytes: dtype size times number of elements.
    """

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    file: Path
    offset: int
    nbytes: int


def read_header(path: Path) -> tuple[list[TensorInfo], dict[str, str]]:
    """A file's tensors in the order of their bytes, and its metadata.

    Raises:
        InputError: truncated, not safetensors, or a header that contradicts itself or the file.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        first = file.read(8)
        length = int.from_bytes(first, "little")
        if len(first) < 8 or length > min(MAX_HEADER, size - 8):
            raise InputError(
                str(path),
                expected="a safetensors file with its whole header",
                found=f"{size} bytes, header said to be {length if len(first) == 8 else '?'}",
                fix="the file is truncated or of another kind; download it again",
            )
        raw = file.read(length)
    header = _parse(path, raw)
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict):
        raise _bad(path, "__metadata__", "an object", type(metadata).__name__)
    start = 8 + length
    infos = [_tensor(path, name, entry, start, size) for name, entry in header.items()]
    infos.sort(key=lambda info: (info.offset, info.nbytes))
    end = start
    for info in infos:
        if info.offset < end:
            raise _bad(path, info.name, "bytes of its own", "bytes another tensor has too")
        end = info.offset + info.nbytes
    return infos, {str(key): str(value) for key, value in metadata.items()}


def _parse(path: Path, raw: bytes) -> dict[str, Any]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise ValueError("a key stands twice")
        return found

    try:
        header = json.loads(raw.decode("utf-8"), object_pairs_hook=unique)
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        raise _bad(path, "header", "JSON in UTF-8", str(error)[:120]) from error
    if not isinstance(header, dict):
        raise _bad(path, "header", "an object", type(header).__name__)
    return header


def _tensor(path: Path, name: str, entry: Any, start: int, size: int) -> TensorInfo:
    if not isinstance(entry, dict):
        raise _bad(path, name, "an object", type(entry).__name__)
    dtype = _DTYPES.get(str(entry.get("dtype")))
    if dtype is None:
        raise _bad(path, name, "a known dtype", repr(entry.get("dtype")))
    shape, offsets = entry.get("shape"), entry.get("data_offsets")
    if not _whole_numbers(shape):
        raise _bad(path, name, "a shape of whole numbers", repr(shape)[:80])
    if not _whole_numbers(offsets) or len(offsets) != 2 or offsets[1] < offsets[0]:
        raise _bad(path, name, "two ascending data_offsets", repr(offsets)[:80])
    nbytes = math.prod(shape) * dtype.itemsize
    if offsets[1] - offsets[0] != nbytes:
        found = f"{offsets[1] - offsets[0]} for shape {shape}"
        raise _bad(path, name, f"{nbytes} bytes", found)
    if start + offsets[1] > size:
        raise InputError(
            f"{path}: tensor {name}",
            expected=f"{start + offsets[1]} bytes in the file",
            found=f"{size}",
            fix="the shard is truncated; download it again",
        )
    return TensorInfo(name, dtype, tuple(shape), path, start + offsets[0], nbytes)


def _whole_numbers(value: Any) -> TypeGuard[list[int]]:
    return isinstance(value, list) and all(
        isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in value
    )


def _bad(path: Path, what: str, expected: str, found: str) -> InputError:
    return InputError(
        f"{path}: {what}",
        expected=expected,
        found=found,
        fix="the file is damaged; download it again",
    )


def byte_view(tensor: torch.Tensor) -> memoryview:
    """The bytes of a contiguous CPU tensor of any dtype, shared and not copied."""
    return memoryview(cast(Any, tensor.reshape(-1).view(torch.uint8).numpy()))


def fsync_folder(folder: Path) -> None:
    """Make names created or changed in a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
