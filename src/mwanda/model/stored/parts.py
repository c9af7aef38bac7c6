"""Parameters made of stored tensors: which part of which tensor lies where, as boxes of indices.

transformers merges, joins, splits and turns stored tensors on load. Followed on shapes alone, every
such step says where each stored number ends up, so the way back is known without inverting it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import torch

from mwanda.model.stored.layout import byte_view
from mwanda.model.stored.reader import Checkpoint

Item = TypeVar("Item")

Box = tuple[tuple[int, int], ...]
"""Start and stop along every dimension."""


@dataclass(frozen=True)
class Piece:
    """One stored tensor's share of a parameter."""

    stored: str  # the tensor's name in the checkpoint
    source: Box  # which part of it
    target: Box  # where in the parameter that part lies
    axes: tuple[int, ...]  # the parameter's dimension of each dimension of the stored tensor
    all_of_it: bool = True  # the source is the whole tensor


@dataclass(frozen=True)
class Part:
    """A parameter, or a step on the way to one: its shape and what it is made of."""

    shape: tuple[int, ...]
    pieces: tuple[Piece, ...]

    @classmethod
    def stored(cls, name: str, shape: Sequence[int]) -> Part:
        """A stored tensor as it is."""
        box = whole(shape)
        return cls(tuple(shape), (Piece(name, box, box, tuple(range(len(shape)))),))

    @property
    def plain(self) -> bool:
        """Whether it is one stored tensor as it is."""
        first = self.pieces[0]
        straight = first.axes == tuple(range(len(self.shape)))
        return len(self.pieces) == 1 and first.all_of_it and straight

    @classmethod
    def stack(cls, parts: Sequence[Part], dim: int) -> Part:
        """Parts of one shape along a new dimension."""
        shapes = {part.shape for part in parts}
        if len(shapes) != 1:
            raise ValueError(f"tensors of shapes {sorted(shapes)} cannot be stacked")
        shape = shapes.pop()
        dim %= len(shape) + 1
        pieces = [
            replace(
                piece,
                target=(*piece.target[:dim], (number, number + 1), *piece.target[dim:]),
                axes=tuple(axis + (axis >= dim) for axis in piece.axes),
            )
            for number, part in enumerate(parts)
            for piece in part.pieces
        ]
        return cls((*shape[:dim], len(parts), *shape[dim:]), tuple(pieces))

    @classmethod
    def join(cls, parts: Sequence[Part], dim: int) -> Part:
        """Parts one after the other along ``dim``."""
        rest = {(*part.shape[:dim], *part.shape[dim:][1:]) for part in parts}
        if len(rest) != 1:
            raise ValueError(f"tensors of shapes {[p.shape for p in parts]} cannot be joined")
        dim %= len(parts[0].shape)
        start, pieces = 0, []
        for part in parts:
            for piece in part.pieces:
                low, high = piece.target[dim]
                target = _replaced(piece.target, dim, (low + start, high + start))
                pieces.append(replace(piece, target=target))
            start += part.shape[dim]
        return cls(_replaced(parts[0].shape, dim, start), tuple(pieces))

    def split(self, count: int, dim: int) -> list[Part]:
        """``count`` parts along ``dim``, cut as ``torch.chunk`` cuts."""
        dim %= len(self.shape)
        step = math.ceil(self.shape[dim] / count)
        return [
            self._cut(dim, start, min(start + step, self.shape[dim]))
            for start in range(0, self.shape[dim], step)
        ]

    def turned(self, first: int, second: int) -> Part:
        """Two dimensions exchanged."""
        order = list(range(len(self.shape)))
        order[first], order[second] = order[second], order[first]
        pieces = [
            replace(
                piece,
                target=tuple(piece.target[axis] for axis in order),
                axes=tuple(order.index(axis) for axis in piece.axes),
            )
            for piece in self.pieces
        ]
        return Part(tuple(self.shape[axis] for axis in order), tuple(pieces))

    def _cut(self, dim: int, start: int, stop: int) -> Part:
        pieces = []
        for piece in self.pieces:
            low, high = piece.target[dim]
            first, last = max(low, start), min(high, stop)
            if first >= last:
                continue
            source, all_of_it = piece.source, piece.all_of_it
            if dim in piece.axes:
                own = piece.axes.index(dim)
                shift = source[own][0] - low
                all_of_it = all_of_it and (first, last) == (low, high)
                source = _replaced(source, own, (first + shift, last + shift))
            target = _replaced(piece.target, dim, (first - start, last - start))
            pieces.append(Piece(piece.stored, source, target, piece.axes, all_of_it))
        return Part(_replaced(self.shape, dim, stop - start), tuple(pieces))


@dataclass(frozen=True)
class Place:
    """Where a matrix lies in the checkpoint."""

    stored: str  # the tensor's name
    box: Box | None  # which part of it; None for all of a two-dimensional tensor
    transposed: bool  # stored [in, out]


def find_place(piece: Piece, box: Box, rows: int, shape: Sequence[int]) -> Place | None:
    """The place of a matrix that is ``box`` of a parameter, with two dimensions longer than 1 at
    most; None where the piece is not all of it.

    Args:
        rows: the parameter's dimension that runs along the matrix's rows.
        shape: of the stored tensor.
    """
    pairs = zip(piece.target, box, strict=True)
    if not all(low <= start and stop <= high for (low, high), (start, stop) in pairs):
        return None
    source = list(piece.source)
    for own, axis in enumerate(piece.axes):
        shift = source[own][0] - piece.target[axis][0]
        source[own] = (box[axis][0] + shift, box[axis][1] + shift)
    everything = len(shape) == 2 and tuple(source) == whole(shape)
    return Place(piece.stored, None if everything else tuple(source), piece.axes[-1] == rows)


def whole(shape: Sequence[int]) -> Box:
    """The box of a whole tensor."""
    return tuple((0, int(size)) for size in shape)


def span(shape: Sequence[int], box: Box) -> tuple[int, int] | None:
    """First element and number of elements of a box that lies in one stretch; None otherwise."""
    sizes = [stop - start for start, stop in box]
    dim = len(shape)
    while dim and sizes[dim - 1] == shape[dim - 1]:
        dim -= 1
    if any(size != 1 for size in sizes[: max(dim - 1, 0)]):
        return None
    return first_element(shape, box), math.prod(sizes)


def first_element(shape: Sequence[int], box: Box) -> int:
    """Number of a box's first element, counted row after row."""
    start = 0
    for size, (low, _) in zip(shape, box, strict=True):
        start = start * size + low
    return start


def read_box(checkpoint: Checkpoint, name: str, box: Box) -> torch.Tensor:
    """A part of a stored tensor, in its stored dtype and with all its dimensions."""
    info = checkpoint.tensors[name]
    stretch = span(info.shape, box)
    if stretch is None:
        return checkpoint.read(name)[tuple(slice(*sides) for sides in box)]
    part = torch.empty([stop - start for start, stop in box], dtype=info.dtype)
    checkpoint.read_bytes(name, stretch[0] * info.dtype.itemsize, byte_view(part))
    return part


def _replaced(values: tuple[Item, ...], dim: int, value: Item) -> tuple[Item, ...]:
    return (*values[:dim], value, *values[dim + 1 :])
