"""Weights that are not stored as plain numbers, told by what is stored where a config is silent."""

from __future__ import annotations

import re

import torch

from mwanda.errors import InputError
from mwanda.model.stored.layout import TensorInfo
from mwanda.model.stored.reader import Checkpoint
from mwanda.system.device import dtype_name

PLAIN = "weights in bf16, fp16, fp32 or fp64"

PACKED: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"\.g_idx$"), "GPTQ"),
    (re.compile(r"\.(qweight|qzeros)$"), "GPTQ or AWQ"),
    (re.compile(r"\.(SCB|absmax|nested_absmax|quant_map)$|\.quant_state\."), "bitsandbytes"),
    (re.compile(r"\.weight_packed$"), "compressed-tensors"),
    (re.compile(r"_blocks$"), "MXFP4"),
)
"""Tensor names that only such a checkpoint has; the last also needs bytes for numbers."""


def refuse_quantised(checkpoint: Checkpoint) -> None:
    """Refuse a checkpoint whose matrices are not stored as plain numbers."""
    for info in checkpoint.tensors.values():
        if info.name.endswith(".bitmask"):
            raise bitmask_error(_place(info))
    for pattern, method in PACKED:
        for info in checkpoint.tensors.values():
            plain = method == "MXFP4" and info.dtype not in (torch.uint8, torch.int8)
            if pattern.search(info.name) and not plain:
                kind = f"({method}, tensors of {dtype_name(info.dtype)})"
                raise quantised_tensor(info, kind)
    for info in checkpoint.tensors.values():
        if info.dtype == torch.uint32 and info.name.endswith(".weight"):
            raise quantised_tensor(info, "(MLX, tensors of uint32)")
        if len(info.shape) >= 2 and dtype_name(info.dtype).startswith("float8"):
            raise quantised_tensor(info, f"in {dtype_name(info.dtype)}")


def quantised_tensor(info: TensorInfo, kind: str) -> InputError:
    """The error for a tensor of a kind such as ``in int8``."""
    return quantised_error(_place(info), kind)


def quantised_error(thing: str, kind: str) -> InputError:
    """The error for weights of a kind such as ``(gptq)``."""
    found, fix = f"quantised weights {kind}", "prune the original model, then quantise the result"
    return InputError(thing, expected=PLAIN, found=found, fix=fix)


def bitmask_error(thing: str) -> InputError:
    """The error for weights that are stored without their zeros."""
    found = "weights without their zeros, and bitmasks (compressed-tensors)"
    fix = "give the folder from which it was made, with its zeros in it"
    return InputError(thing, expected=PLAIN, found=found, fix=fix)


def _place(info: TensorInfo) -> str:
    return f"{info.file}: tensor {info.name}"
