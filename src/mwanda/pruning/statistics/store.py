"""Statistics on disk: one safetensors file a block, so that memory does not grow with the model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from mwanda.errors import MwandaError
from mwanda.methods.gram import GramSums
from mwanda.methods.input_statistics import FeatureSums
from mwanda.pruning.statistics.capture import BlockSums
from mwanda.system.refusals import named

__all__ = ["StatisticsStore"]


class StatisticsStore:
    """Per-block statistics in a folder.

    Tensors are named ``<linear>|<language>|square``, ``…|active`` and ``…|positive``, float64
    ``[in]``; token counts are in the file's metadata. Gram matrices are ``<linear>|gram``,
    ``[in, in]``, one for all linears that are fed the same inputs; which those are is in the
    metadata too.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._saved = sorted(folder.glob("statistics-*.safetensors"))

    def save(
        self,
        block: int,
        sums: BlockSums,
        grams: Mapping[str, GramSums] | None = None,
        leaders: Mapping[str, str] | None = None,
    ) -> None:
        """Write one block's sums, and its Gram matrices with whose is whose.

        Raises:
            MwandaError: the disk is full or fails.
        """
        tensors: dict[str, torch.Tensor] = {}
        tokens: dict[str, int] = {}
        for linear, languages in sums.items():
            for tag, entry in languages.items():
                tokens[f"{linear}|{tag}"] = entry.tokens
                tensors[f"{linear}|{tag}|square"] = entry.square.cpu()
                if entry.active is not None:
                    tensors[f"{linear}|{tag}|active"] = entry.active.cpu()
                if entry.positive is not None:
                    tensors[f"{linear}|{tag}|positive"] = entry.positive.cpu()
        for leader in set((leaders or {}).values()):
            tensors[f"{leader}|gram"] = (grams or {})[leader].lower.cpu()
        metadata = {"tokens": json.dumps(tokens), "leaders": json.dumps(dict(leaders or {}))}
        path = self._path(block)
        try:
            save_file(tensors, path, metadata=metadata)
        except (SafetensorError, OSError) as error:
            raise named(error, path) or MwandaError(
                str(path), expected="a file that can be written", found=str(error)[:120]
            ) from error
        self._saved.append(path)

    def settle(self) -> tuple[None, list[Path]]:
        """The files of all blocks that were saved, which do not change any more."""
        return None, list(self._saved)

    def load(self, block: int) -> BlockSums:
        """Read one block's sums back."""
        sums: BlockSums = {}
        with safe_open(self._path(block), framework="pt") as stored:
            tokens: dict[str, int] = json.loads(stored.metadata()["tokens"])
            names = set(stored.keys())
            for key, count in tokens.items():
                linear, _, tag = key.rpartition("|")
                counts = (f"{key}|active", f"{key}|positive")
                sums.setdefault(linear, {})[tag] = FeatureSums(
                    count,
                    stored.get_tensor(f"{key}|square"),
                    *(stored.get_tensor(name) if name in names else None for name in counts),
                )
        return sums

    def load_gram(self, block: int, linear: str) -> GramSums:
        """Read the Gram matrix of one linear's inputs, which must have been saved."""
        with safe_open(self._path(block), framework="pt") as stored:
            leaders: dict[str, str] = json.loads(stored.metadata()["leaders"])
            return GramSums(stored.get_tensor(f"{leaders[linear]}|gram"))

    def _path(self, block: int) -> Path:
        return self._folder / f"statistics-{block:05d}.safetensors"
