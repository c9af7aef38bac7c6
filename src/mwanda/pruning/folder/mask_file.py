"""A file of masks: which weights stay, one bit each, and the manifest of how they were chosen.

One tensor a linear, under its name from the model's root, ``uint8 [out, ceil(in / 8)]``: each row
of the mask as the linear sees it, ``[out, in]`` whatever the layout of its weight in the
checkpoint, so that a transposed (Conv1D) or fused weight is masked after it has been turned or cut
out. Bit 7 of a row's first byte is its first input; 1 keeps; bits past the last input are 0. The
shape of every mask, and where its weight lies, is in the manifest.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Self

import numpy as np
import torch

from mwanda.errors import DataError, InputError
from mwanda.model.run.structure import Linear
from mwanda.model.stored.container import (
    SavedRecord,
    Spill,
    check_tensors,
    read_record,
    read_tensor,
)
from mwanda.model.stored.layout import TensorInfo
from mwanda.pruning.folder.manifest import FORMAT, Manifest
from mwanda.pruning.journal import Journal
from mwanda.pruning.masks import count_zeros, digest
from mwanda.system.arguments import path_given

MASKS: Literal["masks"] = "masks"
"""The kind of the file."""


class MaskRecordFile(SavedRecord):
    """What a file of masks says of itself: the manifest of a pruned folder, without files, and the
    hash of the model they are for, see :mod:`mwanda.model.identity`."""

    kind: Literal["masks"] = MASKS
    linears_sha256: str | None
    manifest: Manifest


def pack_mask(mask: torch.Tensor) -> torch.Tensor:
    """``bool [out, in]`` -> ``uint8 [out, ceil(in / 8)]``, high bit first."""
    return torch.from_numpy(np.packbits(mask.cpu().numpy(), axis=1))


def unpack_mask(packed: torch.Tensor, columns: int) -> torch.Tensor:
    """The way back from :func:`pack_mask`; bits past ``columns`` are not looked at."""
    return torch.from_numpy(np.unpackbits(packed.numpy(), axis=1, count=columns)).bool()


class MaskWriter:
    """Takes masks as they are chosen, in any order."""

    def __init__(self, folder: Path, journal: Journal | None = None) -> None:
        self._spill = Spill(folder, MASKS)
        if journal is not None:
            journal.take_part("masks", lambda: (None, self._spill.settle()))

    def add(self, linear: Linear, mask: torch.Tensor) -> None:
        """One linear's keep mask ``bool [out, in]``."""
        self._spill.add({linear.name: pack_mask(mask)})

    def finish(self, manifest: Manifest, linears_sha256: str | None) -> Path:
        """Everything in one file, which is still to be given its name."""
        return self._spill.join(MaskRecordFile(linears_sha256=linears_sha256, manifest=manifest))


class MaskFile:
    """Masks in a file, read one by one."""

    def __init__(self, path: Path, record: MaskRecordFile, infos: Mapping[str, TensorInfo]) -> None:
        self.path = path
        self.record = record
        self._infos = infos

    @property
    def manifest(self) -> Manifest:
        """How the masks were chosen."""
        return self.record.manifest

    @property
    def linears(self) -> tuple[str, ...]:
        """Whose masks are there."""
        return tuple(self.manifest.linears)

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """Read the manifest and check every tensor's place and shape."""
        path = path_given("masks", path)
        record, infos = read_record(path, MASKS, MaskRecordFile)
        if record.manifest.format != FORMAT:
            what, found = f"a manifest of format {FORMAT}", str(record.manifest.format)
            raise InputError(f"{MASKS} {path}", expected=what, found=found)
        expected = {
            name: (torch.uint8, (entry.shape[0], -(-entry.shape[1] // 8)))
            for name, entry in record.manifest.linears.items()
        }
        check_tensors(f"{MASKS} {path}", infos, expected)
        return cls(path, record, infos)

    def mask(self, name: str) -> torch.Tensor:
        """One linear's keep mask, ``bool [out, in]``."""
        entry = self.manifest.linears.get(name)
        if entry is None:
            raise InputError(
                f"{MASKS} {self.path}", expected=f"a mask of {name}", found="none",
                fix=f"there are {len(self.linears)}, such as {self.linears[0]}",
            )  # fmt: skip
        packed = read_tensor(f"{MASKS} {self.path}", self._infos[name])
        made = unpack_mask(packed, entry.shape[1])
        if not torch.equal(pack_mask(made), packed):
            raise self._changed(name, "bits beyond a row's end")
        if count_zeros(made) != entry.pruned or digest(made) != entry.mask_sha256:
            raise self._changed(name, "another mask than its manifest's hash says")
        return made

    def _changed(self, name: str, found: str) -> DataError:
        what, fix = f"{MASKS} {self.path}: {name}", "the file is damaged; make it again"
        return DataError(what, expected="the mask that its manifest says", found=found, fix=fix)
