"""The layout of a checkpoint: index, paths, and headers checked before anything is allocated."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard, cast

import torch

from mwanda.errors import InputError, shown
from mwanda.model.links import real_file

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"

MAX_HEADER = 100_000_000
"""Bytes; the format's own limit."""

_TOO_MANY = 2**63
"""Bytes or elements that no tensor can have."""

_MOST_DIMENSIONS = 64

DTYPES_BY_NAME: dict[str, torch.dtype] = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8,
    "U64": torch.uint64, "U32": torch.uint32, "U16": torch.uint16, "U8": torch.uint8,
    "BOOL": torch.bool, "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2,
    "F8_E4M3FNUZ": torch.float8_e4m3fnuz, "F8_E5M2FNUZ": torch.float8_e5m2fnuz,
    "C64": torch.complex64,
}  # fmt: skip
if hasattr(torch, "float8_e8m0fnu"):  # from torch 2.7 on
    DTYPES_BY_NAME["F8_E8M0"] = torch.float8_e8m0fnu

DTYPE_NAMES: dict[torch.dtype, str] = {dtype: name for name, dtype in DTYPES_BY_NAME.items()}

_OTHER_KINDS = (
    (b"version ", "a Git LFS pointer, not the weights", "run git lfs pull in the folder"),
    (b"PK\x03\x04", "a pickle (PyTorch zip) file", "convert the model to safetensors"),
    (b"GGUF", "a GGUF file", "give the .gguf file itself as the model"),
    (b"<!DOCTYP", "a web page", "the download failed; download the file again"),
)


@dataclass(frozen=True)
class TensorInfo:
    """One stored tensor: where its bytes lie and what they mean."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    file: Path
    offset: int  # of the first byte in the file
    nbytes: int


def read_header(path: Path) -> tuple[list[TensorInfo], dict[str, str]]:
    """A file's tensors in the order of their bytes, and its metadata.

    As strict as the reference reader: the tensors cover the whole file, without holes.
    """
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            first = file.read(8)
            length = _header_length(path, first, size)
            raw = file.read(length)
    except OSError as error:
        found = error.strerror or type(error).__name__
        raise InputError(str(path), expected="a file that can be read", found=found) from error
    header = _parse(path, raw)
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise _bad(path, "__metadata__", "an object of texts", shown(repr(metadata)))
    start = 8 + length
    infos = [_tensor(path, name, entry, start, size) for name, entry in header.items()]
    infos.sort(key=lambda info: (info.offset, info.nbytes))
    end = start
    for info in infos:
        if info.offset < end:
            raise _bad(path, info.name, "bytes of its own", "bytes another tensor has too")
        if info.offset > end:
            raise _bad(path, info.name, f"its bytes to begin at {end}", f"{info.offset}, a hole")
        end = info.offset + info.nbytes
    if end != size:
        raise _bad(path, "end of the file", f"{end} bytes in the file", f"{size}")
    return infos, metadata


def _header_length(path: Path, first: bytes, size: int) -> int:
    length = int.from_bytes(first, "little")
    if len(first) == 8 and length <= min(MAX_HEADER, size - 8):
        return length
    for magic, kind, fix in _OTHER_KINDS:
        if first.startswith(magic):
            raise InputError(str(path), expected="a safetensors file", found=kind, fix=fix)
    if len(first) < 8:
        found = f"only {size} bytes"
    else:
        found = f"{size} bytes with a header said to be {length} bytes long"
    raise InputError(
        str(path),
        expected="a safetensors file with its whole header",
        found=found,
        fix="the file is truncated or of another kind; download it again",
    )


def _parse(path: Path, raw: bytes) -> dict[str, Any]:
    if raw[:1] != b"{":
        raise _bad(path, "header", "JSON that starts with {", shown(repr(raw[:16])))
    try:
        header = _parse_json(raw)
    except ValueError as error:
        raise _bad(path, "header", "JSON in UTF-8", shown(str(error))) from error
    if not isinstance(header, dict):
        raise _bad(path, "header", "an object", type(header).__name__)
    return header


def _parse_json(raw: bytes) -> Any:
    """JSON as strict as its standard: UTF-8, no key twice, no NaN, no half of a surrogate pair."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in pairs:
            if key in found:
                raise ValueError(f"the key {shown(key)} stands twice")
            for text in (key, value):
                if isinstance(text, str):
                    text.encode()  # half of a surrogate pair fails here, not when printed
            found[key] = value
        return found

    def constant(text: str) -> Any:
        raise ValueError(f"{text} is not a number of JSON's")

    try:
        return json.loads(raw.decode(), object_pairs_hook=unique, parse_constant=constant)
    except RecursionError as error:
        raise ValueError("too many nested brackets") from error


def _tensor(path: Path, name: str, entry: Any, start: int, size: int) -> TensorInfo:
    if not isinstance(entry, dict):
        raise _bad(path, name, "an object", type(entry).__name__)
    wanted, shape, offsets = entry.get("dtype"), entry.get("shape"), entry.get("data_offsets")
    dtype = DTYPES_BY_NAME.get(wanted) if isinstance(wanted, str) else None
    if dtype is None:
        what = f"{path}: tensor {shown(name)}"
        fix = f"mwanda knows {', '.join(DTYPES_BY_NAME)}"
        raise InputError(what, expected="a known dtype", found=shown(repr(wanted)), fix=fix)
    if not _whole_numbers(shape) or len(shape) > _MOST_DIMENSIONS:
        raise _bad(path, name, "a shape of whole numbers", shown(repr(shape)))
    if not _whole_numbers(offsets) or len(offsets) != 2 or offsets[1] < offsets[0]:
        raise _bad(path, name, "two ascending data_offsets", shown(repr(offsets)))
    # Multiplied step by step: a product of a million sizes is a number that never comes back.
    most = dtype.itemsize
    for length in shape:
        most *= max(1, length)
        if most >= _TOO_MANY:
            raise _bad(path, name, f"at most {size} bytes", f"the shape {shown(repr(shape))}")
    nbytes = 0 if 0 in shape else most
    if offsets[1] - offsets[0] != nbytes:
        found = f"{offsets[1] - offsets[0]} for {wanted} of shape {shown(repr(shape))}"
        raise _bad(path, name, f"{nbytes} bytes", found)
    if start + offsets[1] > size:
        raise InputError(
            f"{path}: tensor {shown(name)}",
            expected=f"{start + offsets[1]} bytes in the file",
            found=f"{size}",
            fix="the shard is truncated; download it again",
        )
    return TensorInfo(name, dtype, tuple(shape), path, start + offsets[0], nbytes)


def _whole_numbers(value: Any) -> TypeGuard[list[int]]:
    return isinstance(value, list) and all(
        isinstance(n, int) and not isinstance(n, bool) and 0 <= n < _TOO_MANY for n in value
    )


def _bad(path: Path, what: str, expected: str, found: str) -> InputError:
    fix = "the file is damaged; download it again"
    return InputError(f"{path}: {shown(what)}", expected=expected, found=found, fix=fix)


def read_index(folder: Path, index: Path) -> dict[str, Path]:
    """Tensor -> shard, every shard there and inside the folder."""
    if index.is_symlink():
        real_file(folder, index.name)
    try:
        if index.stat().st_size > MAX_HEADER:
            raise ValueError(f"more than {MAX_HEADER} bytes")
        data: Any = _parse_json(index.read_bytes())
    except (OSError, ValueError) as error:
        raise _bad_index(index, "JSON", shown(str(error))) from error
    weight_map = data.get("weight_map") if isinstance(data, dict) else None
    if not isinstance(weight_map, dict) or not weight_map:
        odd = data if not isinstance(data, dict) else weight_map
        found = "an empty one" if weight_map == {} else type(odd).__name__
        raise _bad_index(index, "a weight_map from tensor to shard", found)
    checked: dict[str, Path] = {}
    for tensor, shard in weight_map.items():
        if not isinstance(shard, str) or not shard.endswith(".safetensors"):
            expected = f"a .safetensors shard for {shown(tensor)}"
            raise _bad_index(index, expected, shown(repr(shard)))
        if shard not in checked:
            checked[shard] = shard_inside(folder, shard)
    return {tensor: checked[shard] for tensor, shard in weight_map.items()}


def _bad_index(index: Path, expected: str, found: str) -> InputError:
    return InputError(str(index), expected=expected, found=found, fix="download it again")


def shard_inside(folder: Path, name: str) -> Path:
    """The shard, unless its name leads out of the folder or a link to what is no model's."""
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise InputError(
            f"{folder}: shard {shown(name)}",
            expected="a file inside the model folder",
            found="a path that leaves it",
            fix="do not use a model whose files point elsewhere",
        )
    real_file(folder, name, "shard ")
    return folder / name


def byte_view(tensor: torch.Tensor) -> memoryview:
    """The bytes of a contiguous CPU tensor of any dtype, shared and not copied."""
    return memoryview(cast(Any, tensor.reshape(-1).view(torch.uint8).numpy()))
