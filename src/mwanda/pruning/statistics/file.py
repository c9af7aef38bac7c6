"""Statistics on disk: put aside block by block as they are taken, or in a file, and read back.

Tensors are named after the first linear that is fed the same inputs: ``<linear>|tokens`` int64
``[languages]``, ``<linear>|square`` and the other sums float64 ``[languages, in]``, and where asked
for ``<linear>|gram`` ``[in, in]``, of which what is on and below the diagonal counts.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import torch
from pydantic import TypeAdapter

from mwanda.errors import DataError, InputError
from mwanda.methods.gram import GramSums
from mwanda.methods.input_statistics import FeatureSums
from mwanda.model.run.structure import Block, expert_of
from mwanda.model.stored.container import Spill, check_tensors, read_record, read_tensor
from mwanda.model.stored.layout import TensorInfo
from mwanda.pruning.journal import Journal
from mwanda.pruning.statistics.capture import BlockSums
from mwanda.pruning.statistics.record import STATISTICS, InputRecord, StatisticsRecord
from mwanda.system.arguments import path_given

PARTS = FeatureSums.parts_of(("activity", "activity-sign"))
"""Every sum that can be kept."""

_INPUTS = TypeAdapter(dict[str, InputRecord])


class StoredSums(ABC):
    """Sums in tensors, block by block; ``rows`` is language -> its row."""

    inputs: dict[str, InputRecord]
    rows: Mapping[str, int]
    parts: tuple[str, ...]

    @abstractmethod
    def _read(self, name: str) -> torch.Tensor:
        """A tensor by its name."""

    @abstractmethod
    def feed(self, linear: str) -> str:
        """The name of the inputs that a linear is fed."""

    def inputs_of(self, block: int) -> dict[str, InputRecord]:
        """The inputs of one block, by name."""
        return {key: entry for key, entry in self.inputs.items() if entry.block == block}

    def load(self, block: int) -> BlockSums:
        """One block's sums, but for languages that a linear saw no token of."""
        found: BlockSums = {}
        for key, entry in self.inputs_of(block).items():
            tokens = self._read(f"{key}|tokens").tolist()
            made: dict[str, Any] = {part: self._read(f"{key}|{part}") for part in self.parts}
            languages = {
                tag: FeatureSums(tokens[row], **{part: sums[row] for part, sums in made.items()})
                for tag, row in self.rows.items()
                if tokens[row]
            }
            found |= {name: dict(languages) for name in entry.linears}
        return found

    def load_gram(self, _block: int, linear: str) -> GramSums:
        """The Gram matrix of one linear's inputs, which must have been kept."""
        return GramSums(self._read(f"{self.feed(linear)}|gram"))


class StatisticsSpill(StoredSums):
    """A pass's sums, put aside block by block, so that memory does not grow with the model.

    Linears whose sums are the same number for number are fed the same inputs, and stored once.
    Without a folder only which inputs there are is kept, for a process that does not write."""

    def __init__(
        self,
        folder: Path | None,
        languages: Sequence[str],
        parts: Sequence[str] = PARTS,
        journal: Journal | None = None,
    ) -> None:
        self._spill = None if folder is None else Spill(folder, STATISTICS)
        self.rows, self.parts = {tag: row for row, tag in enumerate(languages)}, tuple(parts)
        journal = journal or Journal()
        self.inputs = journal.known("statistics", _INPUTS.validate_python, {})
        journal.take_part("statistics", self.settle)

    def add(self, block: Block, sums: BlockSums, grams: Mapping[str, GramSums]) -> None:
        """One block: the sums of its linears, with all parts, and their Gram matrices where there
        are some; a language without a token is left out, and experts have no Gram matrix."""
        kept: dict[str, dict[str, torch.Tensor]] = {}
        for linear in block.linears:
            made = self._rows(sums[linear.name], linear.columns)
            if linear.name in grams and linear.expert is None:
                made["gram"] = grams[linear.name].lower
            twin = next((name for name, other in kept.items() if _alike(made, other)), None)
            if twin is not None:
                self.inputs[twin].linears[linear.name] = linear.rows
                continue
            kept[linear.name], linears = made, {linear.name: linear.rows}
            self.inputs[linear.name] = InputRecord(
                block=block.index, width=linear.columns, gram="gram" in made, linears=linears
            )
        if self._spill is not None:
            for name, tensors in kept.items():
                self._spill.add({f"{name}|{part}": tensor for part, tensor in tensors.items()})

    def _aside(self) -> Spill:
        if self._spill is None:
            raise DataError("statistics", expected="sums put aside", found="none in this process")
        return self._spill

    def _read(self, name: str) -> torch.Tensor:
        return self._aside().read(name)

    def feed(self, linear: str) -> str:
        return next(key for key, entry in self.inputs.items() if linear in entry.linears)

    def settle(self) -> tuple[dict[str, Any], list[Path]]:
        """What a later run needs to go on: the inputs so far, and the files, which are whole."""
        inputs = {name: record.model_dump() for name, record in self.inputs.items()}
        return inputs, [] if self._spill is None else self._spill.settle()

    def join(self, record: StatisticsRecord) -> Path:
        """Everything in one file, which is still to be given its name."""
        return self._aside().join(record)

    def _rows(self, sums: Mapping[str, FeatureSums], width: int) -> dict[str, torch.Tensor]:
        """One linear's tensors, a row a language."""
        tokens = [sums[tag].tokens if tag in sums else 0 for tag in self.rows]
        made = {"tokens": torch.tensor(tokens, dtype=torch.int64)}
        nothing = torch.zeros(width, dtype=torch.float64)
        for part in self.parts:
            rows = [getattr(sums[t], part) if t in sums else nothing for t in self.rows]
            made[part] = torch.stack([row.cpu() for row in rows])
        return made


def _alike(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(
        one[name] is other[name] or torch.equal(one[name], other[name]) for name in one
    )


class SavedStatistics(StoredSums):
    """Statistics in a file, of which one block at a time is read; :meth:`load` gives ``linears``,
    all of the file's at first."""

    def __init__(
        self, path: Path, record: StatisticsRecord, infos: Mapping[str, TensorInfo]
    ) -> None:
        self.path = path
        self.record = record
        self._infos = infos
        self.inputs, self.parts = record.inputs, record.parts
        self.rows = {tag: row for row, tag in enumerate(record.languages)}
        self._feeds = {name: key for key, entry in record.inputs.items() for name in entry.linears}
        self.linears = frozenset(self._feeds)

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """Read and check the record and every tensor's place; no sum is read."""
        path = path_given("statistics", path)
        record, infos = read_record(path, STATISTICS, StatisticsRecord)
        thing = f"{STATISTICS} {path}"
        strange = ", ".join(sorted({*record.parts} - {*PARTS}))
        if strange:
            raise InputError(thing, expected=f"sums among {', '.join(PARTS)}", found=strange)
        record.check(thing)
        check_tensors(thing, infos, record.tensors())
        return cls(path, record, infos)

    def only(self, languages: Sequence[str], linears: Iterable[str] | None = None) -> Self:
        """The same with some of its languages, in this order, and some of its linears only."""
        chosen = type(self)(self.path, self.record, self._infos)
        chosen.rows = {tag: self.rows[tag] for tag in languages}
        chosen.linears = self.linears if linears is None else frozenset(linears)
        return chosen

    def load(self, block: int) -> BlockSums:
        return {name: sums for name, sums in super().load(block).items() if name in self.linears}

    def tensors(self, key: str) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Tokens ``int64 [languages]`` and sums ``float64 [languages, in]`` of inputs by name, of
        all the file's languages."""
        parts = {part: self._read(f"{key}|{part}") for part in self.record.parts}
        return self._read(f"{key}|tokens"), parts

    @property
    def languages(self) -> tuple[str, ...]:
        """Those that :meth:`load` gives, all of the file's at first."""
        return tuple(self.rows)

    def feed(self, linear: str) -> str:
        return self._feeds[linear]

    def has_gram(self, linear: str) -> bool:
        """Whether the Gram matrix of this linear's inputs was kept."""
        return self.record.inputs[self._feeds[linear]].gram

    def check_values(self, *, grams: bool) -> None:
        """Refuse sums that cannot be, one tensor in memory at a time."""
        for key, entry in self.record.inputs.items():
            tokens, parts = self.tensors(key)
            few = bool((tokens < 0).any()) or (expert_of(key) is None and bool((tokens == 0).any()))
            if few:
                raise self._wrong(f"{key}|tokens", "counts of tokens above 0", str(tokens.tolist()))
            for part, values in parts.items():
                found = None
                if not bool(torch.isfinite(values).all()):
                    found = "NaN or infinity"
                elif bool((values < 0).any()):
                    found = f"{float(values.min()):g}"
                elif part != "square" and bool((values > tokens[:, None]).any()):
                    found = "a count beyond the number of tokens"
                if found is not None:
                    raise self._wrong(f"{key}|{part}", "finite sums of 0 or more", found)
            if grams and entry.gram:
                lower = self._read(f"{key}|gram")
                if not bool(torch.isfinite(lower).all()) or bool((lower.diagonal() < 0).any()):
                    found = "NaN, infinity or a negative square"
                    raise self._wrong(f"{key}|gram", "a finite Gram matrix", found)

    def _wrong(self, name: str, expected: str, found: str) -> InputError:
        what, fix = f"{STATISTICS} {self.path}: tensor {name}", "the file is damaged; make it again"
        return InputError(what, expected=expected, found=found[:80], fix=fix)

    def _read(self, name: str) -> torch.Tensor:
        return read_tensor(f"{STATISTICS} {self.path}", self._infos[name])
