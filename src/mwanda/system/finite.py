"""Weights that are numbers, before and after they are made narrower."""

from __future__ import annotations

import torch

from mwanda.errors import DataError
from mwanda.system.device import dtype_name


def is_finite(tensor: torch.Tensor) -> bool:
    """Whether no value is NaN or an infinity; no copy is made."""
    if not tensor.numel():
        return True
    low, high = torch.aminmax(tensor)
    return bool(torch.isfinite(low) & torch.isfinite(high))


def narrowed(what: str, tensor: torch.Tensor, dtype: torch.dtype, fix: str) -> torch.Tensor:
    """A tensor in another dtype, or the tensor itself where that is its own; one that overflows
    is refused as ``what``."""
    made = tensor.to(dtype)
    if made.dtype == tensor.dtype or is_finite(made):
        return made
    overflow = is_finite(tensor)
    found = f"an overflow: up to {float(tensor.abs().max()):.3g}" if overflow else "NaN or infinity"
    raise DataError(what, expected=f"values that fit {dtype_name(dtype)}", found=found, fix=fix)
