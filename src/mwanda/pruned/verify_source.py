"""A pruned checkpoint beside the one it was made of: all that was not pruned, bit for bit."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from mwanda.model.companions import find_companions
from mwanda.model.stored.parts import Box, read_box, whole
from mwanda.model.stored.reader import Checkpoint
from mwanda.pruned.stored_masks import box_of, matrix_of, misplaced
from mwanda.pruning.folder.manifest import Manifest
from mwanda.pruning.folder.manifest_records import LinearRecord
from mwanda.pruning.masks import count_zeros
from mwanda.system.device import DTYPES
from mwanda.system.files import sha256_of

NOT_COMPARED = ("dtype", "torch_dtype", "transformers_weights")
"""Keys of config.json that say how the weights are stored."""

PIECE = 1 << 24
"""Numbers of a tensor that are compared at a time."""


class SourceCheck:
    """Compares what was pruned with its source, linear by linear and then tensor by tensor.

    Args:
        companions: whether the files beside the weights were the source's, too.
        trimmed: whether the source is shown with the rows alone that a trim has left.
    """

    def __init__(
        self,
        written: Checkpoint,
        source: Checkpoint,
        manifest: Manifest,
        *,
        companions: bool,
        trimmed: bool = False,
    ) -> None:
        self.folder = source.folder if companions and not trimmed else None
        self._trimmed = trimmed
        self._written, self._source = written, source
        self._records = manifest.linears
        told = (manifest.recipe, *(one.settings for one in manifest.recoveries))
        asked = (one.get("dtype") for one in told)
        self._dtypes = [DTYPES[name] for name in asked if isinstance(name, str) and name in DTYPES]
        self._updated = manifest.updated_by
        self._learnt = {name for one in manifest.recoveries for name in one.learnt}

    def notes(self) -> list[str]:
        """What this comparison cannot see."""
        found = []
        if self._updated is not None:
            rest = "did not learn" if self._learnt else "were not pruned"
            found.append(
                f"{self._updated} gave the kept weights new values: only zeros and the tensors "
                f"that {rest} are compared with the source"
            )
        if self._trimmed:
            found.append("tokenizer and config have the ids of the trim and are not compared")
        elif self.folder is None:
            found.append("tokenizer and config were made from a GGUF file and are not compared")
        return found

    def linear_problem(
        self, record: LinearRecord, weight: torch.Tensor, mask: torch.Tensor | None
    ) -> str | None:
        """What is wrong with a pruned weight ``[out, in]``; None when nothing is. Without a mask of
        the weights kept, bool ``[out, in]``, a zero may be one that was pruned or one that was
        there."""
        missing = misplaced(self._source, record)
        if missing is not None:
            return f"not comparable, in the source: {missing}"
        stored = matrix_of(self._source, record)
        had = count_zeros(stored)
        if had != record.source_zeros:
            return f"{had} zeros in the source instead of {record.source_zeros}"
        if self._updated is not None:
            return None
        made = self._as_written(stored)
        if made.dtype != weight.dtype:
            return f"{weight.dtype} instead of {made.dtype}"
        differ = _differ(weight, made)
        pruned = _all_zero(weight) if mask is None else ~mask
        places = torch.nonzero(differ & ~pruned)
        if not len(places):
            return None
        row, column = places[0].tolist()
        first = f"the first in row {row}, column {column}"
        return f"{len(places)} kept weights are not the source's, {first}"

    def tensor_problems(self) -> Iterator[str]:
        """One line for every tensor, outside of the pruned linears, that is not the source's."""
        for name in sorted(self._source.tensors.keys() | self._written.tensors.keys()):
            old, new = self._source.tensors.get(name), self._written.tensors.get(name)
            if old is None or new is None:
                there = "the source" if new is None else "the pruned folder"
                yield f"tensor {name}: only in {there}"
                continue
            wanted = self._written_dtype(old.dtype)
            if (new.dtype, new.shape) != (wanted, old.shape):
                found = f"{new.dtype} {[*new.shape]}"
                yield f"tensor {name}: {found} instead of {wanted} {[*old.shape]}"
                continue
            if name in self._learnt:
                continue
            wrong = sum(self._differing(name, box, pruned) for box, pruned in self._rest(name))
            if wrong:
                yield f"tensor {name}: {wrong} unpruned weights are not the source's"

    def _rest(self, name: str) -> Iterator[tuple[Box, list[Box]]]:
        """Stretches of a tensor that are no pruned linear's alone, and the linears' parts there."""
        shape = self._written.tensors[name].shape
        pruned = [
            box_of(self._written, record)
            for record in self._records.values()
            if record.tensor == name and misplaced(self._written, record) is None
        ]
        covered = sum(math.prod(stop - start for start, stop in box) for box in pruned)
        if covered >= math.prod(shape):
            return
        if not shape:
            yield (), []
            return
        step = max(1, PIECE // max(1, math.prod(shape[1:])))
        for start in range(0, shape[0], step):
            yield ((start, min(start + step, shape[0])), *whole(shape[1:])), pruned

    def _differing(self, name: str, stretch: Box, pruned: Sequence[Box]) -> int:
        old, new = (read_box(one, name, stretch) for one in (self._source, self._written))
        differ = _differ(new, self._as_written(old))
        for box in pruned:
            inside = [
                (max(low, start) - low, min(high, stop) - low)
                for (low, high), (start, stop) in zip(stretch, box, strict=True)
            ]
            if all(start < stop for start, stop in inside):
                differ[tuple(slice(*sides) for sides in inside)] = False
        return int(torch.count_nonzero(differ))

    def _written_dtype(self, stored: torch.dtype) -> torch.dtype:
        return self._dtypes[-1] if self._dtypes and stored.is_floating_point else stored

    def _as_written(self, stored: torch.Tensor) -> torch.Tensor:
        """In every dtype that it was written in, one after the other."""
        for dtype in self._dtypes if stored.is_floating_point() else ():
            stored = stored.to(dtype)
        return stored


def check_companions(folder: Path, source: Path | None, manifest: Manifest) -> Iterator[str]:
    """One line for every file beside the weights that is not the source's; config.json may differ
    in its dtype."""
    if source is None:
        return
    for name in sorted(find_companions(source).files.keys() - manifest.files):
        yield f"{name}: only in the source"
    for name, wanted in manifest.files.items():
        path = source / name
        if name.endswith((".safetensors", ".index.json")) or not path.is_file():
            continue
        if name == "config.json":
            if _config(folder / name) != _config(path):
                yield f"{name}: not the source's"
        elif sha256_of(path) != wanted:
            yield f"{name}: not the source's"


def _config(path: Path) -> Any:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(data, dict):
        return data
    return {key: value for key, value in data.items() if key not in NOT_COMPARED}


def _differ(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Where two tensors of one dtype and shape have other bits, bool of that shape."""
    return (_bits(one) != _bits(other)).any(dim=-1).reshape(one.shape)


def _all_zero(weight: torch.Tensor) -> torch.Tensor:
    """Where a weight is zero without a sign, which is what pruning writes."""
    return (_bits(weight) == 0).all(dim=-1).reshape(weight.shape)


def _bits(tensor: torch.Tensor) -> torch.Tensor:
    """The bytes of every number, ``uint8 [numbers, size]``."""
    return tensor.contiguous().reshape(-1).view(torch.uint8).reshape(-1, tensor.dtype.itemsize)
