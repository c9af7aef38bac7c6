"""Files of statistics added up: sums by addition, Gram matrices where the weights allow it."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch

from mwanda.errors import InputError
from mwanda.model.stored.container import Spill
from mwanda.pruning.folder.made_with import short_source
from mwanda.pruning.folder.manifest import versions
from mwanda.pruning.folder.manifest_records import CalibrationRecord, LanguageDrawRecord
from mwanda.pruning.statistics.file import SavedStatistics
from mwanda.pruning.statistics.record import STATISTICS, InputRecord
from mwanda.text.shared_sentences import pack_hashes, unpack_hashes

Value = TypeVar("Value")

CLOSE = 1e-9
"""Relative difference of weights and shares that counts as none."""


@dataclass(frozen=True)
class MergePlan:
    """Files that can be added up, looked at and not yet read.

    Attributes:
        languages: of all, in the order in which they first come.
        weights: language -> weight of the whole, summing to 1.
        factors: of each file's Gram matrices in the whole.
        shared: language -> sentences that more than one file has read.
    """

    files: tuple[SavedStatistics, ...]
    languages: tuple[str, ...]
    weights: dict[str, float]
    factors: tuple[float, ...]
    shared: dict[str, int]

    def write(self, folder: Path) -> Path:
        """Add up, one input at a time, into a file in ``folder``."""
        spill, inputs = Spill(folder, STATISTICS), self._inputs()
        for name, entry in inputs.items():
            spill.add(self._add(name, entry))
        first = self.files[0].record
        record = first.model_copy(
            update={
                "calibration": self._calibration(),
                "windows": {tag: self._windows(tag) for tag in self.languages},
                "inputs": inputs,
                "files": sum(file.record.files for file in self.files),
                "device": _one([file.record.device for file in self.files], "several"),
                "versions": versions(),
                "seconds": {},
            }
        )
        return spill.join(record)

    def _inputs(self) -> dict[str, InputRecord]:
        """Linears are fed the same inputs where every file says so."""
        found: dict[str, InputRecord] = {}
        names: dict[tuple[str, ...], str] = {}
        for entry in self.files[0].record.inputs.values():
            for linear, rows in entry.linears.items():
                feeds = tuple(file.feed(linear) for file in self.files)
                name = names.setdefault(feeds, linear)
                if name == linear:
                    found[name] = entry.model_copy(update={"linears": {}})
                found[name].linears[linear] = rows
        return found

    def _add(self, name: str, entry: InputRecord) -> dict[str, torch.Tensor]:
        rows = {tag: row for row, tag in enumerate(self.languages)}
        whole = {f"{name}|tokens": torch.zeros(len(rows), dtype=torch.int64)}
        for file, factor in zip(self.files, self.factors, strict=True):
            place = torch.tensor([rows[tag] for tag in file.record.languages])
            tokens, parts = file.tensors(file.feed(name))
            whole[f"{name}|tokens"].index_add_(0, place, tokens)
            for part, values in parts.items():
                empty = torch.zeros(len(rows), entry.width, dtype=values.dtype)
                whole.setdefault(f"{name}|{part}", empty).index_add_(0, place, values)
            if entry.gram:
                lower = file.load_gram(entry.block, name).lower * factor
                known = whole.get(f"{name}|gram")
                whole[f"{name}|gram"] = lower if known is None else known.add_(lower)
        return whole

    def _windows(self, tag: str) -> str:
        every = [unpack_hashes(f.record.windows[tag]) for f in self.files if tag in f.languages]
        return pack_hashes(frozenset().union(*every))

    def _calibration(self) -> CalibrationRecord:
        records = [file.record.calibration for file in self.files]
        return CalibrationRecord(
            source=_joined(record.source for record in records) or "",
            seed=_one([record.seed for record in records], None),
            bos=records[0].bos,
            length=records[0].length,
            weights=self.weights,
            languages={tag: self._draw(tag) for tag in self.languages},
            kept=tuple(dict.fromkeys(one for record in records for one in record.kept)),
            background=tuple(
                tag
                for tag in dict.fromkeys(one for record in records for one in record.background)
                if tag not in self.languages
            ),
            background_source=_joined(record.background_source for record in records),
        )

    def _draw(self, tag: str) -> LanguageDrawRecord:
        """One language's draws as one. Of several, ``window_sha256`` is that of the hashes of all
        windows, so that it does not depend on how they were spread over files."""
        draws = [f.record.calibration.languages[tag] for f in self.files if tag in f.languages]
        if len(draws) == 1:
            return draws[0]
        total = {
            name: sum(getattr(draw, name) for draw in draws)
            for name in (
                "windows", "tokens", "documents", "duplicates_dropped", "english_lines_dropped",
                "documents_emptied",
            )
        }  # fmt: skip
        sentences = frozenset().union(*(unpack_hashes(draw.sentences) for draw in draws))
        return LanguageDrawRecord(
            **total,
            window_sha256=hashlib.sha256(self._windows(tag).encode()).hexdigest(),
            source_sha256=_one([draw.source_sha256 for draw in draws], None),
            sentences=pack_hashes(sentences),
        )


def plan_merge(files: Sequence[SavedStatistics]) -> MergePlan:
    """See whether files can be added up."""
    problems = [p for file in files[1:] for p in _differences(files[0], file)]
    languages = tuple(dict.fromkeys(tag for file in files for tag in file.languages))
    shared: dict[str, int] = {}
    for tag in languages:
        windows, sentences = _repeated(files, tag)
        if windows:
            problems.append(
                f"language {tag}: expected every window in one file only, found {windows} in more "
                "than one, which would count twice; draw with another --seed from other text"
            )
        elif sentences:
            shared[tag] = sentences
    if problems:
        raise InputError.several(problems)
    weights, factors = {tag: 1 / len(languages) for tag in languages}, [1.0 for _ in files]
    if files[0].record.gram:
        weights = _weights(files, languages)
        factors = _factors(files, weights)
    return MergePlan(tuple(files), languages, weights, tuple(factors), shared)


def _differences(first: SavedStatistics, other: SavedStatistics) -> list[str]:
    """Why two files cannot be added up, beside what they have read."""
    one, two = first.record, other.record
    pairs = [
        (
            "the same model", one.model.name, two.model.name,
            one.model.linears_sha256 == two.model.linears_sha256
            and one.model.rest_sha256 == two.model.rest_sha256,
        ),
        ("the same linears", f"{len(one.shapes)}", f"{len(two.shapes)}", one.shapes == two.shapes),
        ("the same sums", ", ".join(one.needs), ", ".join(two.needs), {*one.needs} == {*two.needs}),
        ("windows that begin alike", one.calibration.bos, two.calibration.bos, None),
        ("windows of one length", one.calibration.length, two.calibration.length, None),
        *(
            (f"the same {name}", one.settings.get(name), two.settings.get(name), None)
            for name in sorted(one.settings.keys() | two.settings.keys())
        ),
    ]  # fmt: skip
    return [
        f"{other.path}: expected {what} as {first.path} ({wanted}), found "
        + (f"{found}" if found != wanted else "others")
        for what, wanted, found, same in pairs
        if not (wanted == found if same is None else same)
    ]


def _repeated(files: Sequence[SavedStatistics], tag: str) -> tuple[int, int]:
    """How many windows, and how many sentences, of a language more than one file has."""
    records = [file.record for file in files if tag in file.languages]
    windows = [unpack_hashes(r.windows[tag]) for r in records]
    sentences = [unpack_hashes(r.calibration.languages[tag].sentences) for r in records]

    def repeated(every: list[frozenset[bytes]]) -> int:
        return sum(map(len, every)) - len(frozenset().union(*every))

    return repeated(windows), repeated(sentences)


def _weights(files: Sequence[SavedStatistics], languages: Sequence[str]) -> dict[str, float]:
    """Weights of the whole that keep the relative ones of every file; between files without a
    language in common, each language weighs 1 on the average of its file.
    """
    found: dict[str, float] = {}
    waiting = list(files)
    while waiting:
        # A file that shares a language with those before takes its scale from there.
        file = next((f for f in waiting if any(found.get(t) for t in f.languages)), waiting[0])
        waiting.remove(file)
        own = file.record.calibration.weights
        common = [tag for tag in file.languages if tag in found]
        scales = (found[tag] / own[tag] for tag in common if own[tag] and found[tag])
        scale = next(scales, float(len(own)))
        for tag in file.languages:
            weight = found.setdefault(tag, own[tag] * scale)
            if not math.isclose(weight, own[tag] * scale, rel_tol=CLOSE):
                raise InputError(
                    f"{file.path}: Gram matrices",
                    expected="languages weighed against each other as in the other files",
                    found=f"{tag} weighed otherwise",
                    fix="make both with the same --language-weights, or without --gram",
                )
    total = sum(found.values())
    return {tag: found[tag] / total for tag in languages}


def _factors(files: Sequence[SavedStatistics], weights: dict[str, float]) -> list[float]:
    """What each file's G = Σ (w_ℓ/T_ℓ) Σ x xᵀ is to be taken times, so that they add up to that of
    all tokens under ``weights``: one number a file, the same for all its languages.
    """
    factors = []
    for file in files:
        shares = {}
        for tag, own in file.record.calibration.weights.items():
            whole = sum(_counted(f, tag) for f in files if tag in f.languages)
            if own:
                shares[tag] = weights[tag] / own * (_counted(file, tag) / whole)
        low, high = min(shares, key=shares.__getitem__), max(shares, key=shares.__getitem__)
        if not math.isclose(shares[low], shares[high], rel_tol=CLOSE):
            raise InputError(
                f"{file.path}: Gram matrices",
                expected="the same share of every language's tokens in this file, since its "
                "languages are added up under fixed weights",
                found=f"more of {high}'s than of {low}'s",
                fix="merge files of the same number of tokens a language, or files without --gram",
            )
        factors.append(shares[low])
    return factors


def _counted(file: SavedStatistics, tag: str) -> int:
    """Tokens of a language that count."""
    draw = file.record.calibration.languages[tag]
    return draw.tokens - draw.windows * file.record.skip_first_tokens


def _one(values: Sequence[Value], otherwise: Value) -> Value:
    return values[0] if len({*values}) == 1 else otherwise


def _joined(sources: Iterable[str | None]) -> str | None:
    """Sources in one line, one alone as it is; None of none."""
    known = dict.fromkeys(source for source in sources if source is not None)
    if len(known) < 2:
        return next(iter(known), None)
    return " + ".join(dict.fromkeys(map(short_source, known)))
