"""Zeros set by packed masks: the removed are zero whatever stood there, the others bit for bit."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mwanda.pruned import mask_bits
from mwanda.pruned.mask_bits import clear, pack


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("turned", [False, True])
def test_what_is_removed_is_zero_and_all_else_is_as_it_was(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch, *, turned: bool
) -> None:
    monkeypatch.setattr(mask_bits, "CACHED", 64)
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(13, 21, generator=generator).to(dtype)
    values[0] = torch.tensor(float("nan"))
    values[1], values[2] = float("-inf"), -0.0
    given = values.t() if turned else values
    kept = torch.rand(given.shape, generator=generator) > 0.5
    parameter = nn.Parameter(given.clone(memory_format=torch.preserve_format))
    clear(parameter, pack(kept))
    whole = {2: torch.int16, 4: torch.int32, 8: torch.int64}[dtype.itemsize]
    bits, before = parameter.data.contiguous().view(whole), given.contiguous().view(whole)
    assert torch.equal(bits, torch.where(kept, before, 0))
