"""A linear layer that reads a bit mask and the weights kept, for decoding on a CPU."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from mwanda.errors import InputError
from mwanda.model.run.discovery import find_structure
from mwanda.pruned.kernel.build import PATHS, available_paths, kernel
from mwanda.system.device import HOST
from mwanda.system.surroundings import undisturbed

MOST_TOKENS = 4
"""Tokens from which on arithmetic counts, not reading, and torch's dense product is faster."""

WORD = 32


class MaskedLinear(nn.Module):
    """``x W^T + b`` where ``W`` is a bit a weight and the weights that are not zero.

    Reading weights is what one token costs on a CPU. At 50 % this reads 0.56 of a bf16 matrix. Up
    to :data:`MOST_TOKENS` tokens are multiplied from the packed form, summed in float32; for more,
    such as a prompt, the matrix is made dense for the moment, and so it is for inputs with an
    infinity or NaN. On x86, numbers below 2^-126 count as zero. For inference: there is no
    gradient, nothing to train, and nothing to save that the model's folder does not hold.

    Args:
        weight: ``bfloat16 [out, in]``, on the CPU.
        bias: ``bfloat16 [out]``.
        path: one of :func:`~mwanda.pruned.kernel.build.available_paths`; None for the fastest.

    Attributes:
        nbytes: that a product reads: 2 bytes a kept weight, an eighth of one a weight, 8 a row.

    Raises:
        InputError: another dtype or device, or no compiler.
    """

    words: torch.Tensor
    values: torch.Tensor
    starts: torch.Tensor
    bias: torch.Tensor | None

    def __init__(
        self, weight: torch.Tensor, bias: torch.Tensor | None = None, path: str | None = None
    ) -> None:
        super().__init__()
        _check("weight", weight)
        paths = available_paths()
        if path is not None and path not in paths:
            raise InputError("path", expected=f"one of {', '.join(paths)}", found=path)
        self.out_features, self.in_features = (int(size) for size in weight.shape)
        self._path = PATHS.index(path or paths[-1])
        self._padding = -self.in_features % WORD
        weight = weight.detach().contiguous()
        kept = (weight != 0).numpy()
        bits = np.packbits(np.pad(kept, ((0, 0), (0, self._padding))), axis=1, bitorder="little")
        starts = np.zeros(self.out_features + 1, np.int64)
        np.cumsum(kept.sum(1), out=starts[1:])
        values = np.zeros(int(starts[-1]) + WORD, np.int16)  # so much may be read after the end
        values[:-WORD] = weight.view(torch.int16).numpy()[kept]
        self.register_buffer("words", torch.from_numpy(bits.view(np.int32).copy()), False)
        self.register_buffer("values", torch.from_numpy(values), False)
        self.register_buffer("starts", torch.from_numpy(starts), False)
        self.register_buffer("bias", None if bias is None else bias.detach().contiguous(), False)

    @property
    def nbytes(self) -> int:
        return self.words.nbytes + self.values.nbytes + self.starts.nbytes

    def dense(self) -> torch.Tensor:
        """``W`` again, ``bfloat16 [out, in]``; a weight that was -0.0 is 0.0."""
        width = self.in_features + self._padding
        made = torch.empty(self.out_features, width, dtype=torch.bfloat16, device=HOST)
        kernel().mwanda_expand(
            *self._matrix(), made.data_ptr(), self._path, torch.get_num_threads()
        )  # fmt: skip
        return made[:, : self.in_features]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``bfloat16 [..., in]`` -> ``bfloat16 [..., out]``.

        Raises:
            InputError: another dtype, device or width, or a gradient is asked for.
        """
        _check("x", x)
        if x.requires_grad and torch.is_grad_enabled():
            raise InputError(
                "MaskedLinear", expected="no gradient", found="an input that wants one",
                fix="run under torch.inference_mode()",
            )  # fmt: skip
        if x.shape[-1] != self.in_features:
            raise InputError("x", expected=f"{self.in_features} features", found=str(x.shape[-1]))
        flat = x.reshape(-1, self.in_features)
        if not 1 <= len(flat) <= MOST_TOKENS:
            return nn.functional.linear(x, self.dense(), self.bias)
        if self._padding:
            flat = nn.functional.pad(flat, (0, self._padding))
        flat = flat.contiguous()
        out = torch.empty(len(flat), self.out_features, dtype=torch.bfloat16, device=HOST)
        done = kernel().mwanda_multiply(
            *self._matrix(), flat.data_ptr(), len(flat),
            None if self.bias is None else self.bias.data_ptr(),
            out.data_ptr(), self._path, torch.get_num_threads(),
        )  # fmt: skip
        if not done:
            return nn.functional.linear(x, self.dense(), self.bias)
        return out.view(*x.shape[:-1], self.out_features)

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}"

    def _matrix(self) -> tuple[int, int, int, int, int]:
        rows, width = self.words.shape
        return (
            self.words.data_ptr(), self.values.data_ptr(), self.starts.data_ptr(), rows, width
        )  # fmt: skip


@undisturbed()
def mask_linears(model: Any) -> list[str]:
    """Replace, in a model in memory, every pruned linear that is smaller as mask and values.

    Those are ``nn.Linear`` in the blocks, in bf16 on the CPU, with more than a sixteenth of zeros.
    What they held is freed; the model is for inference from then on.

    Returns:
        Names of the linears replaced.

    Raises:
        InputError: none to replace, or no compiler; the model is as it was.
    """
    available_paths()  # before anything is changed
    replaced = []
    for linear in find_structure(model).linears():
        parent, _, leaf = linear.name.rpartition(".")
        module = model.get_submodule(linear.name) if linear.fused is None else None
        if type(module) is not nn.Linear or not _fits(module.weight):
            continue
        bias = None if module.bias is None else module.bias.to(torch.bfloat16)
        setattr(model.get_submodule(parent), leaf, MaskedLinear(module.weight, bias))
        replaced.append(linear.name)
    if not replaced:
        raise InputError(
            f"model class {type(model).__name__}",
            expected="pruned nn.Linear layers in bfloat16 on the CPU", found="none",
            fix="load a pruned model with dtype=torch.bfloat16",
        )  # fmt: skip
    return replaced


def _fits(weight: torch.Tensor) -> bool:
    if weight.dtype != torch.bfloat16 or not weight.is_cpu:
        return False
    return 16 * int(torch.count_nonzero(weight)) < 15 * weight.numel()


def _check(name: str, tensor: torch.Tensor) -> None:
    if tensor.dtype != torch.bfloat16 or not tensor.is_cpu:
        raise InputError(
            name, expected="bfloat16 on the CPU", found=f"{tensor.dtype} on {tensor.device}",
            fix="masked linears are for decoding in bfloat16 on a CPU",
        )  # fmt: skip
