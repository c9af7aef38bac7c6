"""Which tensors go into which file of a model to be written."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch

from mwanda.errors import DataError, InputError, shown
from mwanda.model.stored.layout import SINGLE, byte_view
from mwanda.system.device import HOST


@dataclass(frozen=True)
class Shard:
    """One file to write: its name, what goes into it, in order, and texts that go with it."""

    name: str
    tensors: tuple[tuple[str, torch.dtype, tuple[int, ...]], ...]
    metadata: Mapping[str, str] = field(default_factory=lambda: {"format": "pt"})


def plan_shards(
    tensors: Iterable[tuple[str, torch.dtype, Sequence[int]]], max_shard_size: int
) -> list[Shard]:
    """Distribute tensors over files of at most ``max_shard_size`` bytes, keeping their order.

    The bytes are those of the tensors; the header comes on top. A tensor larger than that gets a
    file of its own.
    """
    if max_shard_size <= 0:
        raise InputError("max_shard_size", expected="1 byte or more", found=str(max_shard_size))
    groups: list[list[tuple[str, torch.dtype, tuple[int, ...]]]] = []
    filled = 0
    for name, dtype, shape in tensors:
        size = nbytes_of(dtype, shape)
        if not groups or (groups[-1] and filled + size > max_shard_size):
            groups.append([])
            filled = 0
        groups[-1].append((name, dtype, tuple(shape)))
        filled += size
    if len(groups) == 1:
        return [Shard(SINGLE, tuple(groups[0]))]
    count = len(groups)
    return [
        Shard(f"model-{number:05d}-of-{count:05d}.safetensors", tuple(group))
        for number, group in enumerate(groups, 1)
    ]


def nbytes_of(dtype: torch.dtype, shape: Sequence[int]) -> int:
    """Bytes of a tensor."""
    return math.prod(shape) * dtype.itemsize


def dense_bytes(name: str, tensor: torch.Tensor, dtype: torch.dtype) -> memoryview:
    """A tensor's bytes as they are stored, from whatever device."""
    if tensor.layout != torch.strided or tensor.is_meta or tensor.dtype != dtype:
        found = "one without data" if tensor.is_meta else f"{tensor.dtype} {tensor.layout}"
        raise DataError(f"tensor {shown(name)}", expected="a dense tensor", found=found)
    return byte_view(tensor.detach().to(HOST).resolve_conj().resolve_neg().contiguous())
