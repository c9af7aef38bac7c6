"""Tensors that blocks are called with, for inputs of many shapes, without one copy a shape.

A causal mask of 1,000 tokens is the corner of one of 2,000, and its rows for a batch repeat each
other. So of every argument only the largest is kept, and the others are cut from it again. What is
no such corner is kept as it is: nothing is taken for granted of any family.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch

SMALL = 1 << 16
"""Bytes of a tensor that are not worth looking at."""

ROOM = 64 << 20
"""Bytes of parts that stay cut: ordinary sentences are cut once."""

Place = tuple[int, int]
"""Number of the block, and of the tensor among its arguments."""


@dataclass(frozen=True, eq=False)
class Part:
    """A tensor as a part of a larger one: where it begins and ends there, and its own shape."""

    whole: torch.Tensor
    sides: tuple[slice, ...]
    shape: torch.Size
    contiguous: bool

    def cut(self) -> torch.Tensor:
        """The tensor again, laid out in memory as it was."""
        found = self.whole[self.sides].expand(self.shape)
        return found.contiguous() if self.contiguous else found


class CallTensors:
    """Takes arguments apart and puts them together again; the largest of each place is kept."""

    def __init__(self) -> None:
        self._whole: dict[Place, torch.Tensor] = {}
        self._made: dict[Part, torch.Tensor] = {}
        self._room = ROOM
        self._last: dict[Part, torch.Tensor] = {}

    def take(self, block: int, arguments: Any, seen: dict[int, Any]) -> Any:
        """Arguments of a block with large tensors as parts; ``seen`` is what blocks before were
        given in the same call, by identity, and is added to."""
        count = 0

        def kept(tensor: torch.Tensor) -> Any:
            nonlocal count
            count += 1
            if id(tensor) not in seen:
                seen[id(tensor)] = self._part((block, count), tensor)
            return seen[id(tensor)]

        return mapped(arguments, torch.Tensor, kept)

    def give(self, arguments: Any) -> Any:
        """The arguments that were taken, every tensor whole. Batches of one shape follow each
        other, so what was cut last stays until others ask."""
        asked: dict[Part, torch.Tensor] = {}

        def cut(part: Part) -> torch.Tensor:
            found = self._made.get(part, asked.get(part, self._last.get(part)))
            if found is None:
                found = part.cut()
                if found.nbytes <= self._room:
                    self._made[part] = found
                    self._room -= found.nbytes
            asked[part] = found
            return found

        given = mapped(arguments, Part, cut)
        self._last = asked
        return given

    def _part(self, place: Place, tensor: torch.Tensor) -> Any:
        if tensor.nbytes < SMALL or not tensor.dim():
            return tensor
        first = tensor[:1]
        alike = len(tensor) > 1 and torch.equal(tensor[1:], first.expand_as(tensor[1:]))
        narrow = first if alike else tensor
        whole = self._whole.get(place)
        sides = None if whole is None else _corner(whole, narrow)
        if whole is None or sides is None:
            # A row of a batch is copied: as a view it would hold the whole batch.
            whole, sides = narrow.clone() if alike else narrow, tuple(map(slice, narrow.shape))
            known = self._whole.get(place)
            if known is None or known.numel() < whole.numel():
                self._whole[place] = whole
        return Part(whole, sides, tensor.shape, tensor.is_contiguous())


def _corner(whole: torch.Tensor, part: torch.Tensor) -> tuple[slice, ...] | None:
    """Where ``part`` lies in ``whole``, at the start or the end of every side; None if nowhere."""
    if whole.dtype != part.dtype or whole.device != part.device or whole.dim() != part.dim():
        return None
    if any(large < small for large, small in zip(whole.shape, part.shape, strict=True)):
        return None
    starts = [{0, large - small} for large, small in zip(whole.shape, part.shape, strict=True)]
    for corner in product(*map(sorted, starts)):
        sides = tuple(slice(at, at + n) for at, n in zip(corner, part.shape, strict=True))
        if torch.equal(whole[sides], part):
            return sides
    return None


def mapped(value: Any, kind: type, change: Callable[[Any], Any]) -> Any:
    """The same arguments, everything of a kind in them changed."""
    if isinstance(value, kind):
        return change(value)
    if isinstance(value, Mapping):
        items = {name: mapped(item, kind, change) for name, item in value.items()}
        return value if all(items[name] is value[name] for name in items) else items
    if isinstance(value, list | tuple):
        made = [mapped(item, kind, change) for item in value]
        if all(new is old for new, old in zip(made, value, strict=True)):
            return value
        return made if isinstance(value, list) else tuple(made)
    return value


def tensors_of(arguments: Any) -> list[torch.Tensor]:
    """Every tensor in arguments, in order."""
    found: list[torch.Tensor] = []
    mapped(arguments, torch.Tensor, found.append)
    return found
