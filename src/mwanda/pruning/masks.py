"""From one weight and its statistics to a mask: scores and selection in pieces of rows."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from mwanda.errors import DataError
from mwanda.methods.input_statistics import InputStatistics
from mwanda.methods.kinds import Criterion, Pattern
from mwanda.system.threads import run_all

PIECE = 1 << 15
"""Scores that one thread makes and ranks at a time: 128 KiB of float32, which stay in its cache,
and not enough for torch to share out among threads of its own."""

DEVICE_PIECE = 1 << 24
"""The same on a device that wants large pieces."""


@dataclass(frozen=True)
class MaskRecord:
    """What became of one linear.

    Attributes:
        shape: ``(out, in)``.
        pruned: positions the mask removes.
        zeros: zeros in the written weight: pruned ones and kept ones that were zero already.
        source_zeros: zeros in the source weight.
        mask_sha256: of the keep mask, row by row, eight positions a byte, high bit first.
        zeros_sha256: of the written weight's nonzero positions, packed alike; lets a folder be
            checked without its source.
    """

    shape: tuple[int, int]
    pruned: int
    zeros: int
    source_zeros: int
    mask_sha256: str
    zeros_sha256: str

    @property
    def sparsity(self) -> float:
        """Share of positions that the mask removes."""
        return self.pruned / (self.shape[0] * self.shape[1])


def choose_mask(
    name: str,
    weight: torch.Tensor,
    statistics: InputStatistics | None,
    criterion: Criterion,
    options: Mapping[str, Any],
    pattern: Pattern,
    sparsity: float,
) -> torch.Tensor:
    """The keep mask ``bool [out, in]`` of one weight ``[out, in]``, where that lies."""
    rows, columns = weight.shape
    mask = torch.empty((rows, columns), dtype=torch.bool, device=weight.device)
    piece = PIECE if weight.is_cpu else DEVICE_PIECE
    step = max(1, piece // columns) if pattern.rowwise else rows
    # A row whose scores depend on others is scored with all of them, and selected by itself.
    scores = None if criterion.rowwise else criterion.score(weight, statistics, **options)

    def choose(start: int) -> None:
        rows_here = slice(start, start + step)
        if scores is None:
            part = criterion.score(weight[rows_here], statistics, **options)
        else:
            part = scores[rows_here]
        if not bool(torch.isfinite(part).all()):
            what = f"linear {name}, rows {start} to {start + len(part) - 1}"
            found = "NaN or infinity in the weights or their statistics"
            fix = "the source is damaged or overflowed its dtype"
            raise DataError(what, expected="finite scores", found=found, fix=fix)
        mask[rows_here] = pattern.select(part, sparsity)

    threads = torch.get_num_threads() if weight.is_cpu else 1
    run_all(choose, range(0, rows, step), threads)
    return mask


def record(mask: torch.Tensor, written: torch.Tensor, source_zeros: int) -> MaskRecord:
    """Counts and hashes of a mask and of the weight ``[out, in]`` that was written under it."""
    nonzero = written != 0
    rows, columns = mask.shape
    shape, pruned, zeros = (int(rows), int(columns)), count_zeros(mask), count_zeros(nonzero)
    return MaskRecord(shape, pruned, zeros, source_zeros, digest(mask), digest(nonzero))


def count_zeros(tensor: torch.Tensor) -> int:
    """Number of zeros, or of False."""
    # Not by sum: summing bools makes an int64 copy, eight times the mask.
    return tensor.numel() - int(torch.count_nonzero(tensor))


def digest(mask: torch.Tensor) -> str:
    """SHA-256 of a bool matrix, row after row, eight positions a byte, high bit first."""
    return hashlib.sha256(_packed(mask.reshape(-1))).hexdigest()


def _packed(bits: torch.Tensor) -> bytes:
    """Bools ``[n]``, eight a byte, high bit first; packed where they lie, so that of a device an
    eighth is copied."""
    if bits.is_cpu:
        return np.packbits(bits.numpy()).tobytes()
    places = torch.arange(7, -1, -1, dtype=torch.uint8, device=bits.device)
    whole = nn.functional.pad(bits.view(torch.uint8), (0, -len(bits) % 8)).view(-1, 8)
    return (whole << places).sum(dim=1, dtype=torch.uint8).cpu().numpy().tobytes()
