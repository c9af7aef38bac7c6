"""A file of statistics, read block by block.

Tensors are named after the first linear that is fed the same inputs: ``<linear>|tokens`` int64
``[languages]``, ``<linear>|square`` and the other sums float64 ``[languages, in]``, and where asked
for ``<linear>|gram`` ``[in, in]``, of which what is on and below the diagonal counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Self

import torch

from mwanda.errors import InputError
from mwanda.model.run.structure import expert_of
from mwanda.model.stored.container import check_tensors, read_record, read_tensor
from mwanda.model.stored.layout import TensorInfo
from mwanda.pruning.statistics.capture import BlockSums
from mwanda.pruning.statistics.record import STATISTICS, StatisticsRecord
from mwanda.pruning.statistics.spill import PARTS, StoredSums
from mwanda.system.arguments import path_given


class SavedStatistics(StoredSums):
    """Statistics in a file, of which one block at a time is read.

    Attributes:
        linears: those that :meth:`load` gives, all of the file's at first.
    """

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
        strange = sorted({*record.parts} - {*PARTS})
        if strange:
            raise InputError(
                thing, expected=f"sums among {', '.join(PARTS)}", found=", ".join(strange)
            )
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
        return InputError(
            f"{STATISTICS} {self.path}: tensor {name}",
            expected=expected,
            found=found[:80],
            fix="the file is damaged; make it again",
        )

    def _read(self, name: str) -> torch.Tensor:
        return read_tensor(f"{STATISTICS} {self.path}", self._infos[name])
