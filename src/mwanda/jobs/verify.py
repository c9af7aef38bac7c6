"""Check a pruned folder against its manifest, without its source."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from mwanda.errors import InputError, MwandaError
from mwanda.manifest import LinearRecord, Manifest, Totals, read_manifest
from mwanda.masks import digest
from mwanda.model.output import sha256_of
from mwanda.model.pieces import Box, read_box, whole
from mwanda.model.reader import Checkpoint

__all__ = ["Verification", "VerifiedLinear", "verify"]


@dataclass(frozen=True)
class VerifiedLinear:
    """One linear: ``zeros`` counted in the file, ``problem`` None when all is as it should be."""

    name: str
    record: LinearRecord
    zeros: int
    problem: str | None


@dataclass(frozen=True)
class Verification:
    """What ``verify`` found; ``problems`` is empty for a folder that is as its manifest says."""

    manifest: Manifest
    linears: tuple[VerifiedLinear, ...]
    problems: tuple[str, ...]

    def raise_for_problems(self, folder: Path) -> None:
        """Raise a :class:`MwandaError` (exit code 1) that names the problems."""
        if self.problems:
            shown = " | ".join(self.problems[:10])
            more = f" | and {len(self.problems) - 10} more" if len(self.problems) > 10 else ""
            raise MwandaError(
                f"{folder}: not as its manifest says ({len(self.problems)} found): {shown}{more}",
                fix="copy the folder again from where it was made, or prune again",
            )


def verify(folder: Path) -> Verification:
    """Check files, zeros and sparsity of a folder that mwanda wrote.

    The manifest's hashes detect damage, not a careful forger: who can change the weights can
    change the manifest too.

    Raises:
        InputError: no such folder, no manifest, or a checkpoint that cannot be opened.
    """
    if not folder.is_dir():
        raise InputError(str(folder), expected="a folder that mwanda wrote", found="no folder")
    manifest = read_manifest(folder)
    problems = []
    for name, wanted in manifest.files.items():
        path = folder / name
        if ".." in Path(name).parts or Path(name).is_absolute() or not path.is_file():
            problems.append(f"{name}: missing")
        elif sha256_of(path) != wanted:
            problems.append(f"{name}: contents changed since it was written")
    linears = []
    with Checkpoint.open(folder) as checkpoint:
        for name, record in manifest.linears.items():
            checked = _check_linear(checkpoint, name, record)
            linears.append(checked)
            if checked.problem is not None:
                problems.append(f"{name}: {checked.problem}")
        if manifest.totals != _totals(manifest, checkpoint):
            problems.append("mwanda.json: totals do not add up to the linears and tensors")
    return Verification(manifest, tuple(linears), tuple(problems))


def _holds(size: Sequence[int], box: Box, shape: Sequence[int]) -> bool:
    """Whether a tensor has a part ``box`` that makes a matrix of this shape."""
    inside = len(size) == len(box) and all(
        0 <= start < stop <= most for most, (start, stop) in zip(size, box, strict=True)
    )
    return inside and math.prod(stop - start for start, stop in box) == math.prod(shape)


def _totals(manifest: Manifest, checkpoint: Checkpoint) -> Totals:
    records = manifest.linears.values()
    infos = checkpoint.tensors.values()
    return Totals.of(
        [(r.shape[0] * r.shape[1], r.pruned, r.source_zeros) for r in records],
        sum(i.nbytes // i.dtype.itemsize for i in infos if i.dtype.is_floating_point),
    )


def _check_linear(checkpoint: Checkpoint, name: str, record: LinearRecord) -> VerifiedLinear:
    info = checkpoint.tensors.get(record.tensor)
    shape = record.shape[::-1] if record.transposed else record.shape
    box = record.box
    if info is None:
        return VerifiedLinear(name, record, 0, f"tensor {record.tensor} is not in the checkpoint")
    if box is None and tuple(info.shape) != tuple(shape):
        found = f"shape {list(info.shape)} instead of {list(shape)}"
        return VerifiedLinear(name, record, 0, found)
    if box is not None and not _holds(info.shape, box, shape):
        found = f"shape {list(info.shape)} has no part {list(box)} of shape {list(shape)}"
        return VerifiedLinear(name, record, 0, found)
    weight = read_box(checkpoint, record.tensor, whole(info.shape) if box is None else box)
    weight = weight.reshape(shape)
    nonzero = (weight.t() if record.transposed else weight) != 0
    zeros = nonzero.numel() - int(torch.count_nonzero(nonzero))
    problem = None
    if zeros != record.zeros:
        problem = f"{zeros} zeros instead of {record.zeros}"
    elif digest(nonzero) != record.zeros_sha256:
        problem = "zeros are in other places than when it was written"
    elif record.pruned > zeros or record.sparsity != record.pruned / nonzero.numel():
        problem = "its sparsity in mwanda.json is not what its zeros say"
    return VerifiedLinear(name, record, zeros, problem)
