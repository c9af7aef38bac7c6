"""Check a pruned folder against its manifest, and against its source and masks where given."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import torch

from mwanda.errors import InputError, MwandaError
from mwanda.model.source import open_model
from mwanda.model.stored.reader import Checkpoint
from mwanda.pruned.stored_masks import matrix_of, misplaced
from mwanda.pruned.trim.cut import CutCheckpoint, trimmed_rows
from mwanda.pruned.verify_source import SourceCheck, check_companions
from mwanda.pruning.folder.bases import other_files
from mwanda.pruning.folder.manifest import MANIFEST, Manifest, manifest_sha256, read_manifest
from mwanda.pruning.folder.manifest_records import LinearRecord, Totals, weights_in
from mwanda.pruning.folder.mask_file import MaskFile
from mwanda.pruning.masks import count_zeros, digest
from mwanda.system.arguments import path_given
from mwanda.system.files import sha256_of
from mwanda.system.progress import Progress, Silent
from mwanda.system.shown import Shown
from mwanda.system.speaking import speaking
from mwanda.system.surroundings import undisturbed

LOADED = (".safetensors", ".safetensors.index.json")
"""Ends of names that a loader would take for weights."""


@dataclass(frozen=True, repr=False)
class VerifiedLinear(Shown):
    """One linear: ``zeros`` counted in the file, ``problem`` None when all is as it should be."""

    name: str
    record: LinearRecord
    zeros: int
    problem: str | None


@dataclass(frozen=True, repr=False)
class Verification(Shown):
    """What ``verify`` found.

    Attributes:
        problems: empty for a folder that is as its manifest says.
        notes: what could not be checked, and why.
        other_base: where the folder differs from the source it was compared with, and that is not
            the model it was pruned from: why it is not; nearly all problems then come of that.
    """

    manifest: Manifest
    linears: tuple[VerifiedLinear, ...]
    problems: tuple[str, ...]
    notes: tuple[str, ...] = ()
    other_base: str | None = None

    def _summary(self) -> str:
        return f"{self.manifest.base}, {len(self.linears)} linears, {len(self.problems)} problems"

    def _records(self) -> list[dict[str, Any]]:
        return [
            {"linear": one.name, "zeros": one.zeros, "problem": one.problem} for one in self.linears
        ]

    def raise_for_problems(self, folder: Path) -> None:
        """Raise a :class:`MwandaError` that names the problems, or the wrong source."""
        if self.other_base is not None:
            raise MwandaError(
                self.other_base,
                fix=f"give that model; the {len(self.problems)} findings against this one say "
                "little of the folder (-v or --json lists them)",
            )
        if self.problems:
            shown = " | ".join(self.problems[:10])
            more = f" | and {len(self.problems) - 10} more" if len(self.problems) > 10 else ""
            raise MwandaError(
                f"{folder}: not as its manifest says ({len(self.problems)} found): {shown}{more}",
                fix="copy the folder again from where it was made, or prune again",
            )


@speaking
@undisturbed()
def verify(
    folder: str | Path,
    *,
    against: str | Path | None = None,
    masks: str | Path | None = None,
    progress: Progress | None = None,
) -> Verification:
    """Check files, zeros and sparsity of a folder that mwanda wrote.

    The manifest's hashes detect damage, not a careful forger: who can change the weights can
    change the manifest too. Memory is that of one linear, or of a few where there is a source.

    Args:
        against: the model that was pruned: all that is not pruned has to equal it bit for bit.
        masks: the file of masks of the same prune (``--masks-only``): zeros have to be where it
            has them, which tells pruned weights from those that the source had as zero.
        progress: is told of every block that was looked at.

    Raises:
        InputError: no such folder or no manifest; a source or a file of masks that cannot be read.
    """
    folder = path_given("folder", folder)
    if not folder.is_dir():
        raise InputError(str(folder), expected="a folder that mwanda wrote", found="no folder")
    manifest = read_manifest(folder)
    problems = [*_file_problems(folder, manifest)]
    notes = [] if against is not None else ["not compared with its source: give --against SOURCE"]
    linears: list[VerifiedLinear] = []
    with ExitStack() as opened:
        masked = None if masks is None else MaskFile.open(masks)
        try:
            checkpoint = opened.enter_context(Checkpoint.open(folder))
        except InputError as error:  # its files were hashed above: it is damage, and one finding
            return Verification(manifest, (), (*problems, str(error)), tuple(notes))
        source = None
        if against is not None:
            source = opened.enter_context(_source(against, checkpoint, manifest))
        progress = progress or Silent()
        progress.stage("verify", len({record.block for record in manifest.linears.values()}))
        for _, block in groupby(manifest.linears.items(), lambda item: item[1].block):
            for name, record in block:
                checked = _check_linear(checkpoint, name, record, masked, source)
                linears.append(checked)
                if checked.problem is not None:
                    problems.append(f"{name}: {checked.problem}")
            progress.block(0)
        if masked is not None:
            more = (name for name in masked.linears if name not in manifest.linears)
            problems += [f"{name}: in {masked.path}, and not pruned here" for name in more]
        if manifest.totals != Totals.of(manifest.linears.values(), weights_in(checkpoint)):
            problems.append(f"{MANIFEST}: totals do not add up to the linears and tensors")
        if source is not None:
            problems += source.tensor_problems()
            problems += check_companions(folder, source.folder, manifest)
            notes += source.notes()
    other = None if against is None or not problems else _other_base(folder, against, manifest)
    return Verification(manifest, tuple(linears), tuple(problems), tuple(notes), other)


def _other_base(folder: Path, against: str | Path, manifest: Manifest) -> str | None:
    """Why a source is not what the folder was pruned from; None where it is, or nobody knows."""
    if not manifest.bases:
        return None
    differing = other_files(against, manifest.bases)
    if not all(differing):
        return None
    problem = InputError(
        f"--against {against}",
        expected=f"the model that {folder} was pruned from, {manifest.base}",
        found=f"another one by its {', '.join(differing[0][:3])}",
    )
    return str(problem)


@contextmanager
def _source(
    against: str | Path, checkpoint: Checkpoint, manifest: Manifest
) -> Iterator[SourceCheck]:
    with open_model(against) as opened, Checkpoint.open(opened.folder) as source:
        rows = trimmed_rows(manifest, source)
        seen = CutCheckpoint(source, rows) if rows else source
        yield SourceCheck(
            checkpoint, seen, manifest, companions=opened.kind != "gguf", trimmed=bool(rows)
        )


def _file_problems(folder: Path, manifest: Manifest) -> Iterator[str]:
    data = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    if manifest.sha256 is None:
        yield f"{MANIFEST}: its own hash is missing"
    elif manifest_sha256(data) != manifest.sha256:
        yield f"{MANIFEST}: edited since it was written"
    for name, wanted in manifest.files.items():
        path = folder / name
        if ".." in Path(name).parts or Path(name).is_absolute() or not path.is_file():
            yield f"{name}: missing"
        elif sha256_of(path) != wanted:
            yield f"{name}: contents changed since it was written"
    for path in sorted(folder.iterdir()):
        if path.name.endswith(LOADED) and path.name not in manifest.files:
            yield f"{path.name}: not one of the files that were written"


def _check_linear(
    checkpoint: Checkpoint,
    name: str,
    record: LinearRecord,
    masks: MaskFile | None,
    source: SourceCheck | None,
) -> VerifiedLinear:
    missing = misplaced(checkpoint, record)
    if missing is not None:
        return VerifiedLinear(name, record, 0, missing)
    weight = matrix_of(checkpoint, record)
    nonzero = weight != 0
    zeros = count_zeros(nonzero)
    found = [_zeros_problem(record, nonzero, zeros)]
    mask = None
    if masks is not None and name not in masks.linears:
        found.append(f"no mask in {masks.path}")
    elif masks is not None:
        mask = masks.mask(name)
        found.append(_mask_problem(record, nonzero, mask))
        mask = mask if mask.shape == nonzero.shape else None
    if source is not None:
        found.append(source.linear_problem(record, weight, mask))
    problems = [problem for problem in found if problem is not None]
    return VerifiedLinear(name, record, zeros, "; ".join(problems) or None)


def _zeros_problem(record: LinearRecord, nonzero: torch.Tensor, zeros: int) -> str | None:
    if zeros != record.zeros:
        return f"{zeros} zeros instead of {record.zeros}"
    if digest(nonzero) != record.zeros_sha256:
        return "zeros are in other places than when it was written"
    if record.pruned > zeros or record.sparsity != record.pruned / nonzero.numel():
        return f"its sparsity in {MANIFEST} is not what its zeros say"
    if record.pruned == zeros and record.mask_sha256 != record.zeros_sha256:
        return "zeros are in other places than its mask's"
    return None


def _mask_problem(record: LinearRecord, nonzero: torch.Tensor, mask: torch.Tensor) -> str | None:
    if mask.shape != nonzero.shape:
        return f"a mask of shape {[*mask.shape]} instead of {[*nonzero.shape]}"
    if digest(mask) != record.mask_sha256:
        return "another mask than it was pruned with"
    stray = torch.nonzero(nonzero & ~mask)
    if len(stray):
        row, column = stray[0].tolist()
        first = f"the first in row {row}, column {column}"
        return f"{len(stray)} weights where the mask has none, {first}"
    return None
