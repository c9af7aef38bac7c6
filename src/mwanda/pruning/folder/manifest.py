"""``mwanda.json``: what was done to a model, from what, with which result."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mwanda.errors import InputError, first_problem
from mwanda.methods.kinds import Signal
from mwanda.pruning.statistics.routed import Routing
from mwanda.system.durable import put
from mwanda.text.window_files import Windows

MANIFEST = "mwanda.json"
FORMAT = 1


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class LinearRecord(_Record):
    """One pruned linear, under the checkpoint's own tensor name.

    ``shape`` is ``[out, in]``; ``transposed`` says that it is stored ``[in, out]``. ``box`` is the
    part of the tensor it lies in, start and stop along every dimension; None for all of it.
    ``pruned`` counts mask positions, ``zeros`` the zeros written, ``source_zeros`` those that the
    source had already. ``damping`` is what a reconstruction added to the Gram matrix, in mean
    diagonals; None where there was none. The hashes are of bit-packed ``[out, in]`` matrices, see
    ``masks.digest``.
    """

    tensor: str
    block: int
    shape: tuple[int, int]
    transposed: bool
    sparsity: float
    pruned: int
    zeros: int
    source_zeros: int
    mask_sha256: str
    zeros_sha256: str
    damping: float | None = None
    box: tuple[tuple[int, int], ...] | None = None


class ExpertsRecord(_Record):
    """Which experts the calibration text went to.

    Attributes:
        minimum: an expert that saw fewer tokens was pruned by magnitude.
        routing: path of a block's experts -> language -> tokens routed to expert 0, 1, …: numbers
            in one line, ``-`` for an expert that was not to be pruned.
        fallbacks: linears that magnitude served -> tokens their expert saw.
    """

    minimum: int
    routing: dict[str, dict[str, str]]
    fallbacks: dict[str, int]

    @classmethod
    def of(
        cls, routing: Routing, fallbacks: Mapping[str, int], minimum: int
    ) -> ExpertsRecord | None:
        """From the counts of a prune; None where there were no experts to watch."""
        if not routing:
            return None
        lines = {
            path: {
                tag: " ".join("-" if n is None else str(n) for n in counts)
                for tag, counts in languages.items()
            }
            for path, languages in routing.items()
        }
        return cls(minimum=minimum, routing=lines, fallbacks=dict(fallbacks))

    def counts(self) -> Routing:
        """The numbers of :attr:`routing`."""
        return {
            path: {
                tag: [None if n == "-" else int(n) for n in line.split()]
                for tag, line in languages.items()
            }
            for path, languages in self.routing.items()
        }


class LanguageDrawRecord(_Record):
    """What was drawn of one language; ``sentences`` are packed 8-byte hashes."""

    windows: int
    tokens: int
    documents: int
    duplicates_dropped: int
    english_lines_dropped: int
    documents_emptied: int
    window_sha256: str
    source_sha256: str | None
    sentences: str


class CalibrationRecord(_Record):
    """The calibration text: where from, how drawn, what of it.

    Attributes:
        kept: what cleaning was told to leave in, ``english`` and ``repeated``.
    """

    source: str
    seed: int | None
    bos: str
    length: int | None
    weights: dict[str, float]
    languages: dict[str, LanguageDrawRecord]
    kept: tuple[str, ...] = ()

    @property
    def seen(self) -> tuple[str, ...]:
        """Languages with a weight above 0."""
        return tuple(tag for tag in self.languages if self.weights[tag] > 0)

    @classmethod
    def of(cls, windows: Windows, weights: Mapping[str, float]) -> CalibrationRecord:
        """From drawn windows and resolved language weights."""
        languages = {
            tag: LanguageDrawRecord(
                windows=draw.windows,
                tokens=draw.tokens,
                documents=draw.documents,
                duplicates_dropped=draw.duplicates_dropped,
                english_lines_dropped=draw.english_lines_dropped,
                documents_emptied=draw.documents_emptied,
                window_sha256=draw.window_sha256,
                source_sha256=draw.source_sha256,
                sentences=draw.sentence_hashes,
            )
            for tag, draw in windows.draws.items()
        }
        return cls(
            source=windows.source,
            seed=windows.seed,
            bos=windows.bos,
            length=windows.length,
            weights=dict(weights),
            languages=languages,
            kept=windows.kept,
        )


class StatisticsFileRecord(_Record):
    """The file of statistics that a prune used instead of text: its name, and its SHA-256."""

    name: str
    sha256: str


class MaskFileRecord(_Record):
    """The file of masks that was applied to this model as they are, no weight changed by them.

    Attributes:
        name, sha256: of the file.
        base: the model they were chosen on, as the user named it then.
        same: whether this model is known to be that one, by its files or its linears.
    """

    name: str
    sha256: str
    base: str
    same: bool


class Totals(_Record):
    """Sparsity over the pruned linears and over the whole model, by mask positions."""

    linears: int
    weights: int
    pruned: int
    sparsity: float
    source_zeros: int
    model_weights: int
    model_sparsity: float

    @classmethod
    def of(cls, linears: Sequence[tuple[int, int, int]], model_weights: int) -> Totals:
        """From each linear's weights, pruned positions and source zeros."""
        weights, pruned = sum(row[0] for row in linears), sum(row[1] for row in linears)
        return cls(
            linears=len(linears),
            weights=weights,
            pruned=pruned,
            sparsity=pruned / weights if weights else 0.0,
            source_zeros=sum(row[2] for row in linears),
            model_weights=model_weights,
            model_sparsity=pruned / model_weights if model_weights else 0.0,
        )


class Manifest(_Record):
    """Everything in ``mwanda.json``.

    Attributes:
        base: the model as the user named it; ``base_files`` maps its files to SHA-256.
        dequantised: what the weights were made from, when they were not stored plain.
        recipe: resolved.
        statistics: ``sequential``, ``dense`` or ``none``.
        statistics_file: where they were saved by an earlier run; the calibration is that run's.
        mask_file: where masks chosen on another model, or in another run, were read from; recipe
            and calibration are that run's.
        earlier: the text of the prunes that the base had been through, the first one first.
        earlier_bases: the files of what the base was pruned from, and of what that was, as
            ``base_files``, the first one first.
        compute_dtype, device: of the forward.
        signals: what the allocation saw of each block, or linear, in order: a value, or errors by
            language and sparsity.
        experts: which experts the languages' tokens went to; None for a model without.
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
    linears: dict[str, LinearRecord]
    totals: Totals
    signals: list[Signal]
    experts: ExpertsRecord | None = None
    files: dict[str, str]
    versions: dict[str, str]
    seconds: dict[str, float] = Field(default_factory=dict)
    sha256: str | None = None

    @property
    def calibrations(self) -> tuple[CalibrationRecord, ...]:
        """All text that calibrated this model, by every prune it has been through."""
        return (*self.earlier, *(() if self.calibration is None else (self.calibration,)))

    @property
    def seen(self) -> tuple[str, ...]:
        """Languages that calibrated this pruning or an earlier one."""
        return seen_in(self.calibrations)

    @property
    def reconstruction(self) -> str | None:
        """What changed the weights that the masks keep; None where nothing did."""
        method = self.recipe.get("reconstruction")
        name = method.get("name") if isinstance(method, Mapping) else method
        return None if name is None else str(name)


def seen_in(calibrations: Iterable[CalibrationRecord]) -> tuple[str, ...]:
    """Languages that calibrated a model, each once."""
    return tuple(dict.fromkeys(tag for record in calibrations for tag in record.seen))


def versions() -> dict[str, str]:
    """Versions of what decides the result."""
    found = {"python": platform.python_version()}
    for name in (
        "mwanda",
        "torch",
        "transformers",
        "tokenizers",
        "safetensors",
        "datasets",
        "scipy",
    ):
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
    for name in ("earlier", "earlier_bases"):  # as it was written before there were such fields
        if not data[name]:
            del data[name]
    data["sha256"] = manifest_sha256(data)
    return json.dumps(data, indent=1, ensure_ascii=False) + "\n"


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write ``mwanda.json`` and see it on disk."""
    put(folder / MANIFEST, manifest_text(manifest).encode())


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
        raise InputError(
            str(path),
            expected="the manifest of a folder that mwanda wrote",
            found=error.strerror or "unreadable",
        ) from error
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise InputError(str(path), expected="JSON in UTF-8", found=str(error)[:200]) from error
    except ValidationError as error:
        place, found = first_problem(error)
        raise InputError(
            f"{path}: {place}", expected="a manifest that mwanda wrote", found=found
        ) from error
