"""A default dtype of one thread's own, in all that makes real numbers out of nothing or of whole
ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from mwanda.system.default_dtype import own_default_dtype

WHOLE = torch.arange(5)
SINGLE = torch.ones(2, dtype=torch.float32)

MADE: dict[str, Callable[[], Any]] = {
    "empty": lambda: torch.empty(2),
    "empty strided": lambda: torch.empty_strided((2,), (1,)),
    "zeros": lambda: torch.zeros(2),
    "tensor": lambda: torch.tensor([0.1, 1]),
    "full": lambda: torch.full((2,), 0.1),
    "arange": lambda: torch.arange(0, 1, 0.1),
    "linspace": lambda: torch.linspace(0, 1, 7),
    "normal": lambda: torch.normal(0.0, 1.0, (2,)).sign().abs(),
    "window": lambda: torch.hann_window(8),
    "quotient": lambda: WHOLE / 3,
    "power": lambda: 10000.0**-WHOLE,
    "product": lambda: WHOLE * 0.1,
    "root": lambda: WHOLE.sqrt(),
    "of truth": lambda: (WHOLE > 2) * 0.1,
    "chosen": lambda: torch.where(WHOLE > 2, 0.1, 0.2),
    "linear": lambda: torch.ones_like(nn.Linear(2, 2).weight),
    "whole": lambda: torch.arange(3) + torch.tensor(2) + torch.full((3,), 4),
    "truth": lambda: torch.tensor(True),
    "given": lambda: torch.zeros(2, dtype=torch.float16),
    "like": lambda: torch.zeros_like(SINGLE) + WHOLE[:2] * 0.1 * SINGLE,
    "cast": lambda: WHOLE.float() / 3,
    "to": lambda: WHOLE.to(torch.float16),
    "numpy": lambda: torch.tensor(np.array([0.1])),
    "asked": lambda: WHOLE.to(torch.get_default_dtype()),
}


@pytest.fixture
def _as_before() -> Iterator[None]:
    before = torch.get_default_dtype()
    yield
    torch.set_default_dtype(before)


@pytest.mark.usefixtures("_as_before")
@pytest.mark.parametrize("name", MADE)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_all_is_as_with_that_default_of_the_process(name: str, dtype: torch.dtype) -> None:
    torch.set_default_dtype(dtype)
    wanted = MADE[name]()
    for other in (torch.float32, torch.float16, torch.float64):
        torch.set_default_dtype(other)
        with own_default_dtype(dtype):
            found = MADE[name]()
        assert found.dtype == wanted.dtype
        if "empty" not in name:
            assert torch.equal(found, wanted)


def test_what_is_set_inside_is_set_for_one_thread() -> None:
    functions = torch.get_default_dtype, torch.set_default_dtype
    with own_default_dtype(torch.float32), ThreadPoolExecutor(1) as pool:
        torch.set_default_dtype(torch.bfloat16)
        assert torch.get_default_dtype() == torch.zeros(1).dtype == torch.bfloat16
        with own_default_dtype(torch.float16):
            assert torch.zeros(1).dtype == torch.float16
        assert torch.zeros(1).dtype == torch.bfloat16
        assert pool.submit(lambda: torch.zeros(1).dtype).result() == torch.float32
        assert pool.submit(lambda: torch.get_default_dtype()).result() == torch.float32
        pool.submit(torch.set_default_dtype, torch.float64).result()
        assert torch.get_default_dtype() == torch.bfloat16
    assert (torch.get_default_dtype, torch.set_default_dtype) == functions
    assert torch.get_default_dtype() == torch.float64
    torch.set_default_dtype(torch.float32)
