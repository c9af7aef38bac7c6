"""A mask as one bit a weight, and a parameter's zeros set by it."""

from __future__ import annotations

import torch
from torch import nn

WHOLE = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
"""Bytes of a number -> whole numbers as long, whose bits are the number's."""

CACHED = 1 << 18
"""Weights cleared at a time on a CPU: what is made on the way stays in its cache, six times as fast
as filling by a mask."""

PIECE = 1 << 22
"""Weights whose mask is unpacked at a time."""


def pack(kept: torch.Tensor) -> torch.Tensor:
    """``uint8 [ceil(n / 8)]`` of a bool tensor, low bit first."""
    flat = kept.reshape(-1)
    shifts = torch.arange(8, dtype=torch.uint8, device=flat.device)
    bits = torch.zeros(-(-flat.numel() // 8), dtype=torch.uint8, device=flat.device)
    for start in range(0, flat.numel(), PIECE):
        part = flat[start : start + PIECE]
        part = nn.functional.pad(part.to(torch.uint8), (0, -part.numel() % 8)).view(-1, 8)
        into = bits[start // 8 : start // 8 + len(part)]
        torch.sum(part << shifts, 1, dtype=torch.uint8, out=into)
    return bits


def clear(parameter: nn.Parameter, bits: torch.Tensor) -> None:
    """Set a parameter's zeros to zero, by its packed mask on the same device."""
    whole = parameter.data
    flat = whole.view(-1) if whole.is_contiguous() else whole.reshape(-1)
    kind = WHOLE[whole.element_size()]
    shifts = torch.arange(8, dtype=torch.uint8, device=bits.device)
    every = torch.arange(256, dtype=torch.uint8, device=bits.device)[:, None]
    kept = ((every >> shifts) & 1).to(kind).neg_()  # all bits of a number, or none
    numbers, step = flat.view(kind), CACHED if bits.device.type == "cpu" else PIECE
    for start in range(0, flat.numel(), step):
        part = numbers[start : start + step]
        packed = bits[start // 8 : (start + part.numel() + 7) // 8]
        part &= kept.index_select(0, packed.int()).view(-1)[: part.numel()]
    if not whole.is_contiguous():
        whole.copy_(flat.view(whole.shape))
