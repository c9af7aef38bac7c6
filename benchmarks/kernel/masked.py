"""A linear layer whose weight is a bit mask and the values kept; its product is ``masked.cpp``."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.cpp_extension import load

__all__ = ["MOST_BATCH", "MaskedLinear", "kernel"]

MOST_BATCH = 4
WORD = 32


@cache
def kernel() -> Any:
    """The compiled module; built once, for this machine's compiler."""
    source = Path(__file__).with_name("masked.cpp")
    return load(
        "mwanda_masked", [str(source)], extra_cflags=["-O3", "-fopenmp"], extra_ldflags=["-fopenmp"]
    )


class MaskedLinear(nn.Module):
    """``x W^T + b`` of bfloat16 from the packed form of ``W``.

    Args:
        weight: ``bfloat16 [out, in]`` with zeros.
        bias: ``bfloat16 [out]``.
        path: of the kernel's, the fastest by default.
    """

    def __init__(
        self, weight: torch.Tensor, bias: torch.Tensor | None = None, path: str | None = None
    ) -> None:
        super().__init__()
        self.rows, self.columns = weight.shape
        kept = (weight != 0).numpy()
        padding = -self.columns % WORD
        bits = np.packbits(np.pad(kept, ((0, 0), (0, padding))), axis=1, bitorder="little")
        starts = np.zeros(self.rows + 1, np.int64)
        np.cumsum(kept.sum(1), out=starts[1:])
        values = weight.contiguous().view(torch.int16).numpy()[kept]
        values = np.concatenate([values, np.zeros(WORD, np.int16)])  # that may be read
        self.register_buffer("words", torch.from_numpy(bits.view(np.int32).copy()))
        self.register_buffer("values", torch.from_numpy(values))
        self.register_buffer("starts", torch.from_numpy(starts))
        self.register_buffer("bias", bias)
        self.padding = padding
        self.path = path or kernel().paths()[0]

    @property
    def nbytes(self) -> int:
        """Bytes that a product reads of it."""
        return sum(t.nbytes for t in (self.words, self.values, self.starts))

    def dense(self) -> torch.Tensor:
        """The weight again."""
        bits = self.words.numpy().view(np.uint8)
        kept = np.unpackbits(bits, axis=1, bitorder="little", count=self.columns).astype(bool)
        weight = np.zeros((self.rows, self.columns), np.int16)
        weight[kept] = self.values.numpy()[:-WORD]
        return torch.from_numpy(weight).view(torch.bfloat16)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        flat = x.reshape(-1, self.columns)
        if len(flat) > MOST_BATCH:  # many tokens at once are bound by arithmetic, not by reading
            return nn.functional.linear(x, self.dense(), self.bias)
        if self.padding:
            flat = nn.functional.pad(flat, (0, self.padding))
        out = kernel().multiply(
            self.words, self.values, self.starts, flat.contiguous(), self.bias, self.path
        )
        return out.view(*x.shape[:-1], self.rows)
