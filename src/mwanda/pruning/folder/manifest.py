"""``mwanda.json``: what was done to a model, from what, with which result; read and written."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from mwanda.errors import InputError, first_problem
from mwanda.methods.kinds import Signal
from mwanda.pruning.folder.manifest_records import (
    CalibrationRecord,
    Entry,
    ExpertsRecord,
    LinearRecord,
    MaskFileRecord,
    RecoveryRecord,
    StatisticsFileRecord,
    Totals,
    TrimRecord,
)
from mwanda.system.shown import Sheet
from mwanda.text.languages import MULTIPLE

MANIFEST = "mwanda.json"
FORMAT = 1


class Manifest(Entry):
    """Everything in ``mwanda.json``.

    Attributes:
        base: the model as the user named it; ``base_files`` maps its files to SHA-256.
        dequantised: what the weights were made from, when they were not stored plain.
        recipe: resolved; empty where another program pruned.
        statistics: ``sequential``, ``dense`` or ``none``.
        statistics_file: where they were saved by an earlier run; the calibration is that run's.
        mask_file: where masks chosen on another model, or in another run, were read from; recipe
            and calibration are that run's.
        earlier: the text of the prunes that the base had been through, the first one first.
        earlier_bases: the files of what the base was pruned from, and of what that was, as
            ``base_files``, the first one first.
        trims: cuts of the vocabulary since the prune, the first one first.
        earlier_trims: those that the base had been through.
        compute_dtype, device: of the forward.
        signals: what the allocation saw of each block, or linear, in order: a value, or errors by
            language and sparsity.
        experts: which experts the languages' tokens went to; None for a model without.
        recoveries: how its kept weights were trained after the prune, the first time first.
        files: every file written but this one and the card, mapped to SHA-256.
        seconds: stage -> wall time.
        sha256: of the rest, see :func:`manifest_sha256`; None before it is written.
    """

    format: int = FORMAT
    base: str
    base_files: dict[str, str]
    dequantised: str | None
    recipe: dict[str, Any]
    statistics: str
    statistics_file: StatisticsFileRecord | None = None
    mask_file: MaskFileRecord | None = None
    device: str
    compute_dtype: str
    dtype: str
    calibration: CalibrationRecord | None
    earlier: tuple[CalibrationRecord, ...] = ()
    earlier_bases: tuple[dict[str, str], ...] = ()
    trims: tuple[TrimRecord, ...] = ()
    earlier_trims: tuple[TrimRecord, ...] = ()
    linears: dict[str, LinearRecord]
    totals: Totals
    signals: list[Signal]
    experts: ExpertsRecord | None = None
    recoveries: tuple[RecoveryRecord, ...] = ()
    files: dict[str, str]
    versions: dict[str, str]
    seconds: dict[str, float] = Field(default_factory=dict)
    sha256: str | None = None

    def _summary(self) -> str:
        totals = self.totals
        return (
            f"{self.base}, {totals.sparsity:.2%} of {totals.weights:,} weights in "
            f"{totals.linears} linears removed, calibrated on {', '.join(self.seen) or 'no text'}"
        )

    def _records(self) -> list[dict[str, Any]]:
        left_out = ("shape", "mask_sha256", "zeros_sha256", "box", "transposed")
        return [
            {"linear": name, "block": linear.block, "rows": linear.shape[0],
             "columns": linear.shape[1], **linear.model_dump(exclude={"block", *left_out})}
            for name, linear in self.linears.items()
        ]  # fmt: skip

    def _sheet(self) -> Sheet:
        blocks: dict[int, list[int]] = {}
        for linear in self.linears.values():
            sums = blocks.setdefault(linear.block, [0, 0])
            sums[0] += linear.pruned
            sums[1] += linear.shape[0] * linear.shape[1]
        rows = [
            [str(block), f"{weights:,}", f"{pruned / weights:.2%}"]
            for block, (pruned, weights) in sorted(blocks.items())
        ]
        bars = [pruned / weights for _, (pruned, weights) in sorted(blocks.items())]
        return Sheet(["block", "weights", "sparsity"], rows, bars, 2)

    @property
    def bases(self) -> list[dict[str, str]]:
        """The files of the base, as ``base_files``, and of what that was made of, the last first;
        none where the base's are not known."""
        return [self.base_files, *reversed(self.earlier_bases)] if self.base_files else []

    @property
    def calibrations(self) -> tuple[CalibrationRecord, ...]:
        """All text that this model has seen, in every prune and recovery it has been through."""
        own = () if self.calibration is None else (self.calibration,)
        return (*self.earlier, *own, *(recovery.text for recovery in self.recoveries))

    @property
    def seen(self) -> tuple[str, ...]:
        """Languages of that text."""
        return seen_in(self.calibrations)

    @property
    def updated_by(self) -> str | None:
        """What changed the weights that the masks keep; None where nothing did."""
        return "recovery" if self.recoveries else self.reconstruction

    @property
    def reconstruction(self) -> str | None:
        """What gave the kept weights new values as they were pruned; None where nothing did, as
        where masks were applied as they are."""
        method = None if self.mask_file is not None else self.recipe.get("reconstruction")
        name = method.get("name") if isinstance(method, Mapping) else method
        return None if name is None else str(name)


def seen_in(calibrations: Iterable[CalibrationRecord]) -> tuple[str, ...]:
    """Languages that calibrated a model, each once."""
    return tuple(dict.fromkeys(tag for record in calibrations for tag in record.seen))


def background_in(calibrations: Iterable[CalibrationRecord]) -> tuple[str, ...]:
    """Languages that nobody named and of which a little calibrated a model, each once."""
    known = [*calibrations]
    weighed = (one for one in known if one.weights.get(MULTIPLE, 0) > 0)
    found = dict.fromkeys(tag for record in weighed for tag in record.background)
    return tuple(tag for tag in found if tag not in seen_in(known))


def versions() -> dict[str, str]:
    """Versions of what decides the result."""
    found = {"python": platform.python_version()}
    for name in ("mwanda", "torch", "transformers", "tokenizers", "safetensors", "datasets",
                 "scipy"):  # fmt: skip
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "unknown"
    return found


def manifest_sha256(data: Mapping[str, Any]) -> str:
    """SHA-256 of a manifest's fields but ``sha256`` and ``seconds``, which differ where the result
    is the same, as JSON with sorted keys and no spaces."""
    rest = {name: value for name, value in data.items() if name not in ("sha256", "seconds")}
    text = json.dumps(rest, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def manifest_text(manifest: Manifest) -> str:
    """``mwanda.json``, with the hash of what is in it."""
    data = manifest.model_dump(mode="json")
    # As before there were any.
    for name in ("earlier", "earlier_bases", "recoveries", "trims", "earlier_trims"):
        if not data[name]:
            del data[name]
    data["sha256"] = manifest_sha256(data)
    return json.dumps(data, indent=1, ensure_ascii=False) + "\n"


def find_manifest(folder: Path) -> Manifest | None:
    """The manifest of a folder; None for one that mwanda did not write."""
    return read_manifest(folder) if (folder / MANIFEST).is_file() else None


def read_manifest(folder: Path) -> Manifest:
    """Read ``mwanda.json``."""
    path = folder / MANIFEST
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            found = data.get("format") if isinstance(data, dict) else type(data).__name__
            raise InputError(str(path), expected=f"format {FORMAT}", found=repr(found))
        return Manifest.model_validate(data)
    except OSError as error:
        expected, found = "the manifest of a folder that mwanda wrote", error.strerror
        raise InputError(str(path), expected=expected, found=found or "unreadable") from error
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise InputError(str(path), expected="JSON in UTF-8", found=str(error)[:200]) from error
    except ValidationError as error:
        place, found = first_problem(error)
        expected = "a manifest that mwanda wrote"
        raise InputError(f"{path}: {place}", expected=expected, found=found) from None
