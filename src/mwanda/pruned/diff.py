"""``mwanda diff``: where the masks of two pruned models differ, and how much."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import torch

from mwanda.errors import InputError
from mwanda.pruned.stored_masks import FolderMasks, StoredMasks, open_masks
from mwanda.pruning.folder.manifest_records import LinearRecord
from mwanda.system.arguments import path_given
from mwanda.system.progress import Progress, watched
from mwanda.system.shown import Shown
from mwanda.system.speaking import speaking
from mwanda.system.surroundings import undisturbed


@dataclass(frozen=True)
class MaskOverlap:
    """Two masks, or the same of many matrices together.

    Attributes:
        weights: positions.
        first, second, both: kept by the first mask, by the second, and by both.
        rows, columns: out of ``of_rows`` output rows and ``of_columns`` input columns, those with
            at least one difference.
    """

    weights: int
    first: int
    second: int
    both: int
    rows: int
    of_rows: int
    columns: int
    of_columns: int

    @property
    def differing(self) -> int:
        """Positions that one mask keeps and the other removes."""
        return self.first + self.second - 2 * self.both

    @property
    def share(self) -> float:
        """Share of the positions that differ."""
        return self.differing / self.weights if self.weights else 0.0

    @property
    def overlap(self) -> float:
        """Intersection over union (Jaccard index) of the weights kept; 1 where none is kept."""
        either = self.first + self.second - self.both
        return self.both / either if either else 1.0

    @classmethod
    def total(cls, parts: Iterable[MaskOverlap]) -> MaskOverlap:
        """Several matrices as one."""
        return cls(*map(sum, zip([0] * 8, *map(astuple, parts), strict=True)))


def overlap_of(first: torch.Tensor, second: torch.Tensor) -> MaskOverlap:
    """Compare two keep masks ``bool [out, in]``."""
    if first.shape != second.shape:
        raise ValueError(f"masks of shapes {[*first.shape]} and {[*second.shape]}")
    differ = first ^ second
    masks = first, second, first & second, differ.any(dim=1), differ.any(dim=0)
    one, other, both, rows, columns = (int(torch.count_nonzero(mask)) for mask in masks)
    of_rows, of_columns = first.shape
    return MaskOverlap(first.numel(), one, other, both, rows, of_rows, columns, of_columns)


@dataclass(frozen=True)
class DiffLinear:
    """One linear in both: its name, its block, and how its masks differ."""

    name: str
    block: int
    masks: MaskOverlap

    @property
    def kind(self) -> str:
        """The last part of its name, such as ``q_proj``."""
        return self.name.rpartition(".")[2]


@dataclass(frozen=True, repr=False)
class Diff(Shown):
    """What :func:`diff` found.

    Attributes:
        first, second: the two as they were named.
        linears: those in both with one shape.
        only_first, only_second: names of linears that are in one of them alone.
        reshaped: names of linears whose shapes differ.
    """

    first: str
    second: str
    linears: tuple[DiffLinear, ...]
    only_first: tuple[str, ...]
    only_second: tuple[str, ...]
    reshaped: tuple[str, ...]

    def _summary(self) -> str:
        return f"{self.first} and {self.second}, {self.total.share:.2%} of all places differ"

    def _records(self) -> list[dict[str, Any]]:
        return [{"linear": r.name, "block": r.block, **_as_dict(r.masks)} for r in self.linears]

    @property
    def total(self) -> MaskOverlap:
        """All linears together."""
        return MaskOverlap.total(row.masks for row in self.linears)

    @property
    def blocks(self) -> dict[int, MaskOverlap]:
        """By block, in order."""
        return {
            block: MaskOverlap.total(row.masks for row in self.linears if row.block == block)
            for block in sorted({row.block for row in self.linears})
        }

    @property
    def kinds(self) -> dict[str, MaskOverlap]:
        """By kind of linear, in the order of their first."""
        return {
            kind: MaskOverlap.total(row.masks for row in self.linears if row.kind == kind)
            for kind in dict.fromkeys(row.kind for row in self.linears)
        }

    def as_dict(self) -> dict[str, Any]:
        return {
            "first": self.first,
            "second": self.second,
            "total": _as_dict(self.total),
            "blocks": {str(block): _as_dict(row) for block, row in self.blocks.items()},
            "kinds": {kind: _as_dict(row) for kind, row in self.kinds.items()},
            "linears": {r.name: {"block": r.block, **_as_dict(r.masks)} for r in self.linears},
            "only_first": list(self.only_first),
            "only_second": list(self.only_second),
            "reshaped": list(self.reshaped),
        }


@speaking
@undisturbed()
def diff(first: str | Path, second: str | Path, *, progress: Progress | None = None) -> Diff:
    """Compare the masks of two pruned models, linear by linear.

    Args:
        first, second: model folders or files of masks. Of a folder every weight that is not zero
            counts as kept. Which linears are compared is what the manifest or file of either says;
            of two folders without a manifest, every matrix inside a block.
        progress: is told of every linear.

    Raises:
        InputError: neither folder nor file of masks, or not one linear in common.
        DataError: a mask that is not the one its file was written with.
    """
    one, other = path_given("first", first), path_given("second", second)
    with open_masks(one) as a, open_masks(other) as b:
        known = _records(a, b)
        rows: list[DiffLinear] = []
        sides: tuple[list[str], list[str]] = [], []
        reshaped: list[str] = []
        for name, record in watched(known.items(), "diff", progress):
            shapes = a.shape(name, record), b.shape(name, record)
            if None in shapes:
                for side, shape in zip(sides, shapes, strict=True):
                    side.extend([name] if shape is not None else [])
            elif shapes[0] != shapes[1]:
                reshaped.append(name)
            else:
                masks = overlap_of(a.mask(name, record), b.mask(name, record))
                rows.append(DiffLinear(name, record.block, masks))
    if not rows:
        raise InputError(
            str(second), expected=f"linears of {first}", found=f"none of {len(known)} in both",
            fix="give two prunes of one model",
        )  # fmt: skip
    only_first, only_second = tuple(sides[0]), tuple(sides[1])
    return Diff(str(first), str(second), tuple(rows), only_first, only_second, tuple(reshaped))


def _records(a: StoredMasks, b: StoredMasks) -> dict[str, LinearRecord]:
    """Linears of either, those of the first in front, and as the first says."""
    said = [side.records for side in (a, b) if side.records is not None]
    said = said or [side.matrices() for side in (a, b) if isinstance(side, FolderMasks)]
    return {**said[0], **said[-1], **said[0]}


def _as_dict(masks: MaskOverlap) -> dict[str, Any]:
    return {
        "weights": masks.weights,
        "differing": masks.differing,
        "share": masks.share,
        "overlap": masks.overlap,
        "kept": [masks.first, masks.second],
        "rows": [masks.rows, masks.of_rows],
        "columns": [masks.columns, masks.of_columns],
    }
