"""Sums in float64 wherever a tensor lies; compensated float32 where its device has no float64.

The one file of the maths that asks what a device can do: :mod:`mwanda.system.device` knows.
"""

from __future__ import annotations

import torch


def wide_sum(tensor: torch.Tensor, dim: int | None = None, *, keep: bool = False) -> torch.Tensor:
    """A sum in float64, over one dimension or all; ``keep`` leaves that dimension at size 1. It
    lies where the tensor does, or on the host where its device has no float64."""
    values = tensor if _has_float64(tensor.device) else tensor.cpu()
    if dim is None:
        return values.sum(dtype=torch.float64)
    return values.sum(dim=dim, keepdim=keep, dtype=torch.float64)


def sums_in(device: torch.device) -> torch.dtype:
    """What sums that stay on a device and grow there are kept in: float64, or float32, to be added
    to by :func:`add_compensated`."""
    return torch.float64 if _has_float64(device) else torch.float32


def add_compensated(total: torch.Tensor, lost: torch.Tensor, part: torch.Tensor) -> None:
    """Add a part to float32 sums, in place, and what rounding loses of it to ``lost``: the sum of
    both is right to some 48 bits (Knuth's two-sum)."""
    grown = total + part
    taken = grown - total
    lost += (total - (grown - taken)) + (part - taken)
    total.copy_(grown)


def widened(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor in float64: where it lies, or on the host where its device has none."""
    from mwanda.system.device import widened as in_float64

    return in_float64(tensor)


def _has_float64(device: torch.device) -> bool:
    from mwanda.system.device import has_float64  # it loads torch, which this file must not

    return has_float64(device)
