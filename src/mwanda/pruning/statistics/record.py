"""What a file of statistics says of itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import torch
from pydantic import Field

from mwanda.errors import InputError
from mwanda.model.stored.container import SavedRecord
from mwanda.pruning.folder.manifest_records import CalibrationRecord, Entry
from mwanda.text.shared_sentences import pack_hashes
from mwanda.text.window_files import window_sha256

STATISTICS: Literal["statistics"] = "statistics"
"""The kind of the file."""

Size = Annotated[int, Field(gt=0)]


class ModelRecord(Entry):
    """The model that was looked at, named as the user wrote it, its hashes those of
    :mod:`mwanda.model.identity`; and what its weights were made from, when they were not stored
    plain."""

    name: str
    blocks: Size
    linears_sha256: str
    rest_sha256: str
    dequantised: str | None


class InputRecord(Entry):
    """Inputs of so many features that one or more linears of a block are fed, by name -> outputs,
    and whether their Gram matrix is kept."""

    block: Annotated[int, Field(ge=0)]
    width: Size
    gram: bool
    linears: Annotated[dict[str, Size], Field(min_length=1)]


class StatisticsRecord(SavedRecord):
    """Statistics of a model on text.

    Attributes:
        settings: what else decides the sums: dtype of the forward, first tokens of every window
            that do not count; files are added up only where all agree.
        needs: what was measured; ``gram`` under the calibration's languages and weights.
        parts: sums kept of each input, by their names in
            :class:`~mwanda.methods.input_statistics.FeatureSums`.
        calibration: the text; its languages, in order, are the rows of every tensor.
        windows: language -> packed hashes of its windows.
        inputs: name of the first linear -> the inputs.
        files: how many were added up.
        device: of the forward.
    """

    kind: Literal["statistics"] = STATISTICS
    model: ModelRecord
    settings: dict[str, Any]
    needs: tuple[str, ...]
    parts: tuple[str, ...]
    calibration: CalibrationRecord
    windows: dict[str, str]
    inputs: Annotated[dict[str, InputRecord], Field(min_length=1)]
    files: Size = 1
    device: str
    versions: dict[str, str]
    seconds: dict[str, float]

    @property
    def languages(self) -> tuple[str, ...]:
        """In the order of the tensors' rows."""
        return tuple(self.calibration.languages)

    @property
    def gram(self) -> bool:
        """Whether Gram matrices are kept."""
        return "gram" in self.needs

    @property
    def compute_dtype(self) -> str:
        """Of the forward."""
        return str(self.settings["compute_dtype"])

    @property
    def skip_first_tokens(self) -> int:
        """First tokens of every window that do not count."""
        return int(self.settings["skip_first_tokens"])

    @property
    def shapes(self) -> dict[str, tuple[int, int]]:
        """Linear -> ``(out, in)``."""
        return {
            name: (rows, entry.width)
            for entry in self.inputs.values()
            for name, rows in entry.linears.items()
        }

    def tensors(self) -> dict[str, tuple[torch.dtype, tuple[int, ...]]]:
        """Name of every tensor of the file -> its dtype and shape; Gram matrices are float32, or
        float64 where the forward was."""
        rows = len(self.calibration.languages)
        wide = torch.float64 if self.compute_dtype == "float64" else torch.float32
        found: dict[str, tuple[torch.dtype, tuple[int, ...]]] = {}
        for name, entry in self.inputs.items():
            found[f"{name}|tokens"] = (torch.int64, (rows,))
            for part in self.parts:
                found[f"{name}|{part}"] = (torch.float64, (rows, entry.width))
            if entry.gram:
                found[f"{name}|gram"] = (wide, (entry.width, entry.width))
        return found

    def check(self, thing: str) -> None:
        """Refuse a record that contradicts itself."""
        tags = set(self.calibration.languages)
        named = [name for entry in self.inputs.values() for name in entry.linears]
        alone = [name for name, entry in self.inputs.items() if name not in entry.linears]
        beyond = [e for e in self.inputs.values() if e.block >= self.model.blocks]
        alike = {*self.windows} == {*self.calibration.weights} == tags
        problems = {
            "a linear named twice": len(set(named)) < len(named),
            "inputs under another name than their first linear's": alone,
            "a block beyond the model's": beyond,
            "languages that differ": not tags or not alike,
            "no sums of squares": "square" not in self.parts,
            "no compute_dtype": not isinstance(self.settings.get("compute_dtype"), str),
            "no skip_first_tokens": not isinstance(self.settings.get("skip_first_tokens"), int),
            "Gram matrices that were not measured": not self.gram
            and any(entry.gram for entry in self.inputs.values()),
        }
        found = next((what for what, wrong in problems.items() if wrong), None)
        if found is not None:
            expected, fix = "a record that mwanda wrote", "the file is damaged; make it again"
            raise InputError(thing, expected=expected, found=found, fix=fix)


def window_hashes(windows: Mapping[str, torch.Tensor]) -> dict[str, str]:
    """Language -> packed hashes of its windows ``int64 [windows, length]``, by which the same
    window is known again."""
    return {
        tag: pack_hashes(bytes.fromhex(window_sha256(row))[:8] for row in ids)
        for tag, ids in windows.items()
    }
