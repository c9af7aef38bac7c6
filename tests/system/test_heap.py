"""Freed memory is given back, also from between pieces that stay."""

from __future__ import annotations

import sys

import pytest
import torch

from mwanda.pruning.forecast.memory import process_memory
from mwanda.system import heap

PIECE = 1 << 14
"""float32 values: 64 KiB, which glibc takes from its heap and not from a mapping of its own."""


@pytest.mark.skipif(
    not sys.platform.startswith("linux") or heap._malloc_trim() is None, reason="needs glibc"
)
def test_memory_between_held_pieces_is_given_back() -> None:
    pieces = [torch.ones(PIECE) for _ in range(1600)]
    held = pieces[::16]
    del pieces
    before = process_memory().anonymous
    heap.trim()
    freed = before - process_memory().anonymous
    assert len(held) == 100
    assert freed > 50 << 20, f"{freed >> 20} MiB of about 94"


def test_a_system_without_it_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heap, "_malloc_trim", lambda: None)
    heap.trim()
