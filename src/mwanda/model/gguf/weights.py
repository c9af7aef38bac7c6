"""A GGUF file's weights as a checkpoint's, one parameter after the other.

What stands where, and what converters to GGUF did to the values, transformers knows; its own steps
undo it here for each parameter alone. Large tables of which nothing needs undoing go row by row,
and experts one by one.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from mwanda.errors import DataError, InputError
from mwanda.model.gguf.header import ORIGINAL, GgufHeader, GgufTensor
from mwanda.model.gguf.steps import Numbers, Steps
from mwanda.model.stored.shards import plan_shards
from mwanda.model.stored.writer import ShardWriter
from mwanda.system.device import NOWHERE
from mwanda.system.finite import narrowed

PIECE = 1 << 22
"""Weights that are dequantised at a time."""

WIDE = 1 << 14
"""Numbers in a row for the library to unpack."""

WHOLE = "download the file again, or give the original model's folder"


def write_weights(
    header: GgufHeader,
    steps: Steps,
    model: Any,
    folder: Path,
    *,
    dtype: torch.dtype,
    spare: frozenset[str],
    max_shard_size: int,
) -> None:
    """Write the checkpoint that a skeleton's class loads, under the names that it is stored by; the
    numbers of ``spare`` tensors are in the config."""
    parameters = _parameters(header, steps, model, dtype, spare)
    empty = {one.name: torch.empty(one.shape, dtype=dtype, device=NOWHERE) for one in parameters}
    stored = _as_stored(model, empty)
    alone = [_as_stored(model, {name: values}) for name, values in empty.items()]
    if {name for found in alone for name in found} != set(stored):
        raise InputError(
            str(header.path),
            expected="parameters that are stored each by itself",
            found=f"others in {type(model).__name__}",
            fix=ORIGINAL,
        )
    shards = plan_shards(
        [(name, dtype, tuple(values.shape)) for name, values in stored.items()], max_shard_size
    )
    with ShardWriter(folder, shards) as writer:
        for one in parameters:
            if list(_as_stored(model, {one.name: empty[one.name]})) == [one.name]:
                writer.write_parts(one.name, dtype, one.shape, one.parts())
            else:
                for name, values in _as_stored(model, {one.name: one.whole()}).items():
                    writer.write(name, values)


def _as_stored(model: Any, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Parameters by the names, and in the parts, that transformers saves them in."""
    from transformers.core_model_loading import revert_weight_conversion

    found: dict[str, torch.Tensor] = revert_weight_conversion(model, dict(tensors))
    return found


def _parameters(
    header: GgufHeader, steps: Steps, model: Any, dtype: torch.dtype, spare: frozenset[str]
) -> list[_Parameter]:
    """Every parameter and what it is made of; tied ones once."""
    state = model.state_dict()
    sources: dict[str, list[GgufTensor]] = {}
    unread = []
    dropped = [re.compile(one) for one in model._keys_to_ignore_on_load_unexpected or ()]
    for tensor in header.tensors:
        target = steps.target(tensor.name)
        if target is not None and target in state:
            sources.setdefault(target, []).append(tensor)
        elif tensor.name not in spare and not any(one.search(target or "") for one in dropped):
            unread.append(tensor)
    if unread:
        raise InputError(
            f"{header.path}: {unread[0].name}",
            expected=f"only tensors that {type(model).__name__} has a place for",
            found=f"{len(unread)} others, with {sum(t.size for t in unread):,} numbers",
            fix=ORIGINAL,
        )
    owners: dict[int, str] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        if id(parameter) not in owners or name in sources:
            owners[id(parameter)] = name
    made = [re.compile(one) for one in model._keys_to_ignore_on_load_missing or ()]
    buffers = [name for name, _ in model.named_buffers() if name in state]
    optional = {n for n in buffers if n not in sources and any(one.search(n) for one in made)}
    wanted = [*owners.values(), *(name for name in buffers if name not in optional)]
    absent = sorted(name for name in wanted if name not in sources)
    if absent:
        raise InputError(
            f"{header.path}: {absent[0]}",
            expected=f"every weight of the architecture {header.architecture} in the file",
            found=f"none for it ({len(absent)} such weights)",
            fix=WHOLE,
        )
    found = [
        _Parameter(n, tuple(state[n].shape), tuple(sources[n]), header.path, steps, dtype)
        for n in wanted
    ]
    for one in sorted(found, key=lambda parameter: parameter.name):
        if math.prod(one.shape) != sum(tensor.size for tensor in one.sources):
            raise one.misshapen(one.shape, one.sources[0].shape)
    return found


@dataclass(frozen=True)
class _Parameter:
    """One parameter's values, in parts along its first dimension where that can be."""

    name: str
    shape: tuple[int, ...]
    sources: tuple[GgufTensor, ...]
    path: Path
    steps: Steps
    dtype: torch.dtype

    def misshapen(self, wanted: Sequence[int], found: Sequence[int]) -> InputError:
        what = f"{self.path}: {self.name}"
        expected = f"shape {list(wanted)}, as transformers reads the file's metadata"
        return InputError(what, expected=expected, found=f"{list(found)}", fix=ORIGINAL)

    def whole(self) -> torch.Tensor:
        found = torch.empty(self.shape, dtype=self.dtype)
        _fill(found, self.parts())
        return found

    def parts(self) -> Iterator[torch.Tensor]:
        """Values one after the other; together as many as the parameter has."""
        shape = self.shape
        first = shape[0] if shape else 1
        parted = len(shape) > 1 and all(t.shape[:1] == (first,) for t in self.sources)
        size = max(t.size for t in self.sources)
        if not parted or size <= PIECE or not self._apart():
            yield self._checked(self._make(0, None), shape)
            return
        step = max(1, PIECE // (size // first))
        for start in range(0, first, step):
            stop = min(start + step, first)
            yield self._checked(self._make(start, stop), (stop - start, *shape[1:]))

    def _apart(self) -> bool:
        """Whether parts along the first dimension are made of the same parts of the file.

        So it is with experts, and with what nothing is done to: that is tried on numbers all
        different, in a few rows.
        """
        if len(self.shape) == 3 and all(len(t.shape) == 3 for t in self.sources):
            return True
        (source,) = self.sources
        rows = np.arange(2 * self.shape[1], dtype=np.float32).reshape(2, -1)
        try:
            made = self.steps.make(self.name, {source.name: rows.copy()})
        except (ValueError, RuntimeError, IndexError):  # rows that belong together
            return False
        return torch.equal(made, torch.from_numpy(rows))

    def _make(self, start: int, stop: int | None) -> torch.Tensor:
        parts = {t.name: self._values(t, start, stop) for t in self.sources}
        made = self.steps.make(self.name, parts)
        return narrowed(f"{self.path}: {self.name}", made, self.dtype, ORIGINAL)

    def _values(self, tensor: GgufTensor, start: int, stop: int | None) -> Numbers:
        data = tensor.open(self.path)[start:stop]
        room = np.empty((*data.shape[:-1], tensor.shape[-1]), np.float32)
        _fill(room.reshape(-1, tensor.shape[-1]), dequantised(tensor, data))
        return room

    def _checked(self, made: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
        if tuple(made.shape) != tuple(shape):
            raise self.misshapen(shape, made.shape)
        return made


def _fill(room: Any, parts: Iterable[Any]) -> None:
    """Put the parts into the rows of a tensor or an array, one after the other."""
    at = 0
    for part in parts:
        room[at : at + len(part)] = part
        at += len(part)


def dequantised(tensor: GgufTensor, data: npt.NDArray[np.uint8]) -> Iterable[Numbers]:
    """A tensor's numbers from its bytes, some rows at a time."""
    from gguf.quants import dequantize

    rows = data.reshape(-1, data.shape[-1])
    step = max(1, PIECE // tensor.shape[-1])
    for start in range(0, len(rows), step):
        part = np.array(rows[start : start + step])
        try:
            values = dequantize(part.reshape(_wide(part.shape, tensor)), tensor.kind)
            yield values.reshape(len(part), -1)
        except NotImplementedError as error:
            what = f"tensor {tensor.name} in {tensor.kind.name}"
            raise DataError(what, expected="a type that the library gguf reads back") from error


def _wide(shape: Sequence[int], tensor: GgufTensor) -> tuple[int, int]:
    """Several short rows as one: the library takes 16 at a time, and the more is in them the
    better; the groups that numbers are packed in never cross rows."""
    joined = 1
    while shape[0] % (2 * joined) == 0 and 2 * joined * tensor.shape[-1] <= WIDE:
        joined *= 2
    return shape[0] // joined, shape[1] * joined
