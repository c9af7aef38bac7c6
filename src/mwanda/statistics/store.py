"""Statistics on disk: one safetensors file a block, so that memory does not grow with the model."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from mwanda.statistics.capture import BlockSums
from mwanda.statistics.sums import FeatureSums

__all__ = ["StatisticsStore"]


class StatisticsStore:
    """Per-block statistics in a folder.

    Tensors are named ``<linear>|<language>|square`` and ``…|active``, float64 ``[in]``; token
    counts are in the file's metadata.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def save(self, block: int, sums: BlockSums) -> None:
        """Write one block's sums."""
        tensors: dict[str, torch.Tensor] = {}
        tokens: dict[str, int] = {}
        for linear, languages in sums.items():
            for tag, entry in languages.items():
                tokens[f"{linear}|{tag}"] = entry.tokens
                tensors[f"{linear}|{tag}|square"] = entry.square.cpu()
                if entry.active is not None:
                    tensors[f"{linear}|{tag}|active"] = entry.active.cpu()
        save_file(tensors, self._path(block), metadata={"tokens": json.dumps(tokens)})

    def load(self, block: int) -> BlockSums:
        """Read one block's sums back."""
        sums: BlockSums = {}
        with safe_open(self._path(block), framework="pt") as stored:
            tokens: dict[str, int] = json.loads(stored.metadata()["tokens"])
            names = set(stored.keys())
            for key, count in tokens.items():
                linear, _, tag = key.rpartition("|")
                active = f"{key}|active"
                sums.setdefault(linear, {})[tag] = FeatureSums(
                    count,
                    stored.get_tensor(f"{key}|square"),
                    stored.get_tensor(active) if active in names else None,
                )
        return sums

    def _path(self, block: int) -> Path:
        return self._folder / f"statistics-{block:05d}.safetensors"
