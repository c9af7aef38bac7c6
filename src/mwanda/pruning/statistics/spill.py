"""Statistics as they are taken: put aside on disk block by block, and read back.

So memory does not grow with the model. They lie there as in a file of statistics, see
:mod:`mwanda.pruning.statistics.file`, which they can be joined into.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter

from mwanda.errors import DataError
from mwanda.methods.gram import GramSums
from mwanda.methods.input_statistics import FeatureSums
from mwanda.model.run.structure import Block
from mwanda.model.stored.container import Spill
from mwanda.pruning.journal import Journal
from mwanda.pruning.statistics.capture import BlockSums
from mwanda.pruning.statistics.record import STATISTICS, InputRecord, StatisticsRecord

PARTS = tuple(field.name for field in fields(FeatureSums) if field.name != "tokens")
"""Every sum that can be kept."""

_INPUTS = TypeAdapter(dict[str, InputRecord])


class StoredSums(ABC):
    """Sums in tensors as a file of statistics names them, block by block.

    Attributes:
        rows: language -> its row.
    """

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
            made = {part: self._read(f"{key}|{part}") for part in self.parts}
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
    """A pass's sums, put aside block by block.

    Linears whose sums are the same number for number are fed the same inputs, and stored once.

    Args:
        folder: where they lie meanwhile; None keeps only which inputs there are, for a process
            that does not write.
        languages: in the order of the rows.
    """

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
        """One block.

        Args:
            sums: of its linears, with all parts; a language without a token is left out.
            grams: linear -> Gram matrix, where there is one; not looked at for experts.
        """
        kept: dict[str, dict[str, torch.Tensor]] = {}
        for linear in block.linears:
            made = self._rows(sums[linear.name], linear.columns)
            if linear.name in grams and linear.expert is None:
                made["gram"] = grams[linear.name].lower
            twin = next((name for name, other in kept.items() if _alike(made, other)), None)
            if twin is not None:
                self.inputs[twin].linears[linear.name] = linear.rows
                continue
            kept[linear.name] = made
            self.inputs[linear.name] = InputRecord(
                block=block.index,
                width=linear.columns,
                gram="gram" in made,
                linears={linear.name: linear.rows},
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
