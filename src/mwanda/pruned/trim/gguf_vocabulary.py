"""A GGUF file with fewer rows: weights as they are quantised, and what it says of its tokens."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from mwanda.errors import InputError, shown
from mwanda.model.gguf.header import ALIGNMENT, FORMATS, STRING, GgufHeader, GgufTensor
from mwanda.model.gguf.tokenizer import FRONT, GGML
from mwanda.pruned.trim.token_ids import ids_in, is_id_field, new_size, with_ids

TABLES = ("token_embd.weight", "output.weight", "output.bias", "per_layer_token_embd.weight")
"""Tensors with a row for every token."""

BY_TOKEN = (f"{GGML}tokens", f"{GGML}scores", f"{GGML}token_type")
MERGES = f"{GGML}merges"
MARK = "mwanda.command"
"""A field that says what wrote the file."""

LEFT_OUT = (f"{FRONT}huggingface.json",)
"""The tokenizer once more, with the old ids."""

NORMAL, UNUSED = 1, 5
"""Types of tokens that nothing but text needs."""

PIECE = 16 << 20
"""Bytes that are copied at a time."""


def structural_ids(header: GgufHeader, reserved: frozenset[int]) -> dict[int, str]:
    """Ids that the file itself needs -> what for."""
    kinds = header.fields.get(f"{GGML}token_type") or []
    found = {number: "a special token" for number, kind in enumerate(kinds)
             if kind not in (NORMAL, UNUSED) and number not in reserved}  # fmt: skip
    for name, value in header.fields.items():
        found |= dict.fromkeys(ids_in({name: value}), name)
    return found


def unused_ids(header: GgufHeader) -> frozenset[int]:
    """Ids that the file says are nobody's."""
    kinds = header.fields.get(f"{GGML}token_type") or []
    return frozenset(number for number, kind in enumerate(kinds) if kind == UNUSED)


def gguf_tables(header: GgufHeader) -> dict[str, int]:
    """Tensors with a row for every token -> how many they have; another list as long is refused."""
    tokens = len(header.fields[f"{GGML}tokens"])
    found = {}
    for tensor in header.tensors:
        size = tensor.shape[-1] if len(tensor.shape) == 1 else tensor.shape[0]
        if tensor.name in TABLES:
            found[tensor.name] = size
        elif tokens in tensor.shape:
            raise _unknown(header, f"tensor {shown(tensor.name)}", f"shape {[*tensor.shape]}")
    for name, value in header.fields.items():
        known = name in BY_TOKEN or name == MERGES
        if isinstance(value, list) and len(value) == tokens and not known:
            raise _unknown(header, shown(name), f"a list of {tokens}")
    return found


def write_trimmed(
    header: GgufHeader, path: Path, rows: Sequence[int], merges: Sequence[str]
) -> None:
    """Write the file anew with these rows of its tables; fields that do not change keep their
    bytes.

    Args:
        rows: old ids that stay, ascending.
        merges: rules of BPE that stay, each as one text; not looked at where there are none.
    """
    align = header.fields.get("general.alignment", ALIGNMENT)
    kept = np.asarray(rows)
    tables = gguf_tables(header)
    sizes = {name: int(np.count_nonzero(kept < size)) for name, size in tables.items()}
    with header.path.open("rb") as source, path.open("wb") as file:
        file.write(b"GGUF" + struct.pack("<IQ", 3, len(header.tensors)))
        fields = [*_fields(header, source, rows, merges)]
        file.write(struct.pack("<Q", len(fields)) + b"".join(fields))
        at = 0
        for tensor in header.tensors:
            shape = _shape(tensor, sizes)
            file.write(_string(tensor.name) + struct.pack("<I", len(shape)))
            file.write(struct.pack(f"<{len(shape)}Q", *shape[::-1]))
            file.write(struct.pack("<IQ", int(tensor.kind), at))
            at += -(-_nbytes(tensor, shape) // align) * align
        for tensor in header.tensors:
            file.write(b"\0" * (-file.tell() % align))
            for part in _data(tensor, source, kept, tables.get(tensor.name)):
                file.write(part)
        file.write(b"\0" * (-file.tell() % align))


def _fields(
    header: GgufHeader, source: BinaryIO, rows: Sequence[int], merges: Sequence[str]
) -> Iterator[bytes]:
    new = {old: number for number, old in enumerate(rows)}
    tokens = len(header.fields[f"{GGML}tokens"])
    for name, value in header.fields.items():
        if name in LEFT_OUT:
            continue
        start, end = header.spans[name]
        source.seek(start)
        raw = source.read(end - start)
        front = len(_string(name))
        if name in BY_TOKEN:
            yield raw[: front + 4] + _array(raw[front + 4 :], [value[old] for old in rows])
        elif name == MERGES:
            yield raw[: front + 4] + _array(raw[front + 4 :], merges)
        elif is_id_field(name):
            yield _numbers(raw, front, with_ids({name: value}, new)[name])
        elif (size := new_size(name.rpartition(".")[2], value, tokens, rows)) is not None:
            yield _numbers(raw, front, size)
        else:
            yield raw
    if MARK not in header.fields:
        yield _string(MARK) + struct.pack("<I", STRING) + _string("trim")


def _numbers(raw: bytes, front: int, value: Any) -> bytes:
    """A field with other whole numbers of the same type."""
    kind = struct.unpack_from("<I", raw, front)[0]
    if isinstance(value, list):
        return raw[: front + 4] + _array(raw[front + 4 :], value)
    return raw[: front + 4] + struct.pack(f"<{FORMATS[kind]}", value)


def _array(raw: bytes, values: Sequence[Any]) -> bytes:
    """An array of the type that ``raw`` begins with."""
    kind = struct.unpack_from("<I", raw)[0]
    head = struct.pack("<IQ", kind, len(values))
    if kind == STRING:
        return head + b"".join(map(_string, values))
    return head + struct.pack(f"<{len(values)}{FORMATS[kind]}", *values)


def _string(text: str) -> bytes:
    code = text.encode()
    return struct.pack("<Q", len(code)) + code


def _shape(tensor: GgufTensor, sizes: Mapping[str, int]) -> tuple[int, ...]:
    if tensor.name not in sizes:
        return tensor.shape
    rest = () if len(tensor.shape) == 1 else tensor.shape[1:]
    return (int(sizes[tensor.name]), *rest)


def _nbytes(tensor: GgufTensor, shape: Sequence[int]) -> int:
    if len(shape) == 1:
        return tensor.row_bytes // tensor.shape[-1] * shape[0]
    return int(np.prod(shape[:-1], dtype=np.int64)) * tensor.row_bytes


def _data(tensor: GgufTensor, source: BinaryIO, kept: Any, size: int | None) -> Iterator[bytes]:
    """A tensor's bytes in order, a piece at a time.

    Args:
        kept: rows that stay, ascending.
        size: how many rows there are; None for a tensor that stays whole.
    """
    nbytes = _nbytes(tensor, tensor.shape)
    source.seek(tensor.start)
    if size is None:
        for start in range(0, nbytes, PIECE):
            yield source.read(min(PIECE, nbytes - start))
        return
    row = nbytes // size
    step = max(1, PIECE // row)
    for start in range(0, size, step):
        count = min(step, size - start)
        read = np.frombuffer(source.read(count * row), np.uint8).reshape(count, row)
        yield read[kept[(kept >= start) & (kept < start + count)] - start].tobytes()


def _unknown(header: GgufHeader, what: str, found: str) -> InputError:
    return InputError(
        f"{header.path}: {what}", expected=f"nothing else as long as the vocabulary than "
        f"{', '.join(TABLES)}", found=found, fix="a file of this kind cannot be trimmed",
    )  # fmt: skip
