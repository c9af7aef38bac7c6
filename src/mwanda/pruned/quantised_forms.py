"""Forms that weights are quantised to: what they take, and what is read back."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch

from mwanda.model.gguf.types import INT8

SCALE_BYTES = 2
"""Of one float16."""

LARGEST = 127


class Form(ABC):
    """A form of a matrix's rows.

    Attributes:
        group: weights of a row that belong together; its length has to be a multiple.
    """

    group: int

    @abstractmethod
    def nbytes(self, weights: int, row: int) -> int:
        """What so many weights take, in rows of ``row``."""

    @abstractmethod
    def read_back(self, rows: torch.Tensor) -> torch.Tensor:
        """Finite float32 ``[rows, columns]``, quantised and dequantised, in float32."""


def form_of(kind: str) -> Form:
    """The form of a type that :func:`mwanda.model.gguf.types.check_type` knows."""
    return Int8(INT8[kind]) if kind in INT8 else Gguf(kind)


class Gguf(Form):
    """A type of GGUF, by the library gguf."""

    def __init__(self, kind: str) -> None:
        from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

        self._kind = GGMLQuantizationType[kind]
        sizes: tuple[int, int] = GGML_QUANT_SIZES[self._kind]
        self.group, self._bytes = sizes

    def nbytes(self, weights: int, row: int) -> int:
        return weights // self.group * self._bytes

    def read_back(self, rows: torch.Tensor) -> torch.Tensor:
        from gguf.quants import dequantize, quantize

        return torch.from_numpy(dequantize(quantize(rows.numpy(), self._kind), self._kind))


class Int8(Form):
    """Whole numbers from -127 to 127 times a scale of a row, or of each of its groups; zero stays.

    Args:
        group: weights with one scale; None for a row.
    """

    def __init__(self, group: int | None) -> None:
        self.group, self._by_row = group or 1, group is None

    def nbytes(self, weights: int, row: int) -> int:
        return weights + SCALE_BYTES * weights // (row if self._by_row else self.group)

    def read_back(self, rows: torch.Tensor) -> torch.Tensor:
        split = rows[:, None] if self._by_row else rows.reshape(len(rows), -1, self.group)
        scale = split.abs().amax(-1, keepdim=True) / LARGEST
        # As it is kept: a scale below the least float16 would make a row of zeros.
        scale = scale.clamp_min(2.0**-24).half().float()
        return (split / scale).round().clamp(-LARGEST, LARGEST).mul(scale).reshape(rows.shape)
