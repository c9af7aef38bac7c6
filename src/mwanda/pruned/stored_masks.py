"""Linears where they are stored: their weights in a pruned folder, and masks wherever they are."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

from mwanda.errors import InputError
from mwanda.model.stored.parts import Box, read_box, whole
from mwanda.model.stored.reader import Checkpoint
from mwanda.pruning.folder.manifest import find_manifest
from mwanda.pruning.folder.manifest_records import LinearRecord
from mwanda.pruning.folder.mask_file import MaskFile

BLOCK = re.compile(r"\.(\d+)\.")


class FileMasks:
    """The masks in a file of ``prune --masks-only``."""

    def __init__(self, file: MaskFile) -> None:
        self._file = file
        self.records: Mapping[str, LinearRecord] = file.manifest.linears

    def shape(self, name: str, record: LinearRecord) -> tuple[int, int] | None:
        own = self.records.get(name)
        return None if own is None else own.shape

    def mask(self, name: str, record: LinearRecord) -> torch.Tensor:
        return self._file.mask(name)


class FolderMasks:
    """A model folder's weights that are not zero: a weight that the source had as zero counts as
    removed. ``records`` says which linears there are; None where nothing does."""

    def __init__(self, checkpoint: Checkpoint, records: Mapping[str, LinearRecord] | None) -> None:
        self._checkpoint = checkpoint
        self.records = records

    def shape(self, name: str, record: LinearRecord) -> tuple[int, int] | None:
        """``[out, in]`` of a linear; None where it is not there."""
        own = (self.records or {}).get(name, record)
        return None if misplaced(self._checkpoint, own) is not None else own.shape

    def mask(self, name: str, record: LinearRecord) -> torch.Tensor:
        """One linear's keep mask, ``bool [out, in]``."""
        return matrix_of(self._checkpoint, (self.records or {}).get(name, record)) != 0

    def matrices(self) -> dict[str, LinearRecord]:
        """Every stored matrix inside a block, for a folder that nothing is known of."""
        found = {}
        for name, info in self._checkpoint.tensors.items():
            block = BLOCK.search(name)
            if block is not None and len(info.shape) == 2 and info.dtype.is_floating_point:
                rows, columns = info.shape
                found[name.removesuffix(".weight")] = LinearRecord(
                    tensor=name, block=int(block[1]), shape=(rows, columns), transposed=False,
                    sparsity=0.0, pruned=0, zeros=0, source_zeros=0, mask_sha256="",
                    zeros_sha256="",
                )  # fmt: skip
        return found


StoredMasks = FileMasks | FolderMasks
"""Keep masks by linear, read one at a time."""


@contextmanager
def open_masks(path: Path) -> Iterator[StoredMasks]:
    """The masks in a model folder or in a file of masks."""
    if path.is_file():
        yield FileMasks(MaskFile.open(path))
        return
    if not path.is_dir():
        expected = "a model folder or a file of masks"
        raise InputError(str(path), expected=expected, found="nothing there")
    manifest = find_manifest(path)
    records = None if manifest is None else manifest.linears
    with Checkpoint.open(path) as checkpoint:
        yield FolderMasks(checkpoint, records)


def misplaced(checkpoint: Checkpoint, record: LinearRecord) -> str | None:
    """Why a linear is not where its record says; None when it is."""
    info = checkpoint.tensors.get(record.tensor)
    shape = _stored_shape(record)
    if info is None:
        return f"tensor {record.tensor} is not in the checkpoint"
    if record.box is None and tuple(info.shape) != shape:
        return f"shape {list(info.shape)} instead of {list(shape)}"
    if record.box is not None and not _holds(info.shape, record.box, shape):
        return f"shape {list(info.shape)} has no part {list(record.box)} of shape {list(shape)}"
    return None


def box_of(checkpoint: Checkpoint, record: LinearRecord) -> Box:
    """Which part of its tensor a linear is."""
    return whole(checkpoint.tensors[record.tensor].shape) if record.box is None else record.box


def matrix_of(checkpoint: Checkpoint, record: LinearRecord) -> torch.Tensor:
    """A linear's weight ``[out, in]``, read from where its record says."""
    weight = read_box(checkpoint, record.tensor, box_of(checkpoint, record))
    weight = weight.reshape(_stored_shape(record))
    return weight.t() if record.transposed else weight


def _stored_shape(record: LinearRecord) -> tuple[int, int]:
    rows, columns = record.shape
    return (columns, rows) if record.transposed else (rows, columns)


def _holds(size: Sequence[int], box: Box, shape: Sequence[int]) -> bool:
    """Whether a tensor has a part ``box`` that makes a matrix of this shape."""
    inside = len(size) == len(box) and all(
        0 <= start < stop <= most for most, (start, stop) in zip(size, box, strict=True)
    )
    return inside and math.prod(stop - start for start, stop in box) == math.prod(shape)
