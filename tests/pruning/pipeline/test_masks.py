"""Counts and hashes of a mask."""

from __future__ import annotations

import hashlib

import pytest
import torch

from mwanda.errors import DataError
from mwanda.methods.input_statistics import InputStatistics
from mwanda.methods.registry import CRITERIA, PATTERNS
from mwanda.pruning import masks
from mwanda.pruning.masks import choose_mask, count_zeros, digest, record


def test_the_hash_is_of_packed_rows() -> None:
    mask = torch.tensor([[True, False, True], [True, False, False], [True, True, False]])
    bits = "101" + "100" + "110"  # row after row, the high bit first, the last byte filled up
    packed = bytes([int(bits[:8], 2), int(bits[8:].ljust(8, "0"), 2)])
    assert digest(mask) == hashlib.sha256(packed).hexdigest()
    assert digest(mask.t().contiguous().t()) == digest(mask)
    assert digest(mask.t()) != digest(mask)


def test_zeros_of_the_source_are_not_pruned_ones() -> None:
    weight = torch.tensor([[0.0, 1.0, -0.0, 2.0], [3.0, 4.0, 5.0, 6.0]])
    mask = torch.tensor([[False, False, True, True], [True, True, True, False]])
    written = weight * mask
    found = record(mask, written, source_zeros=count_zeros(weight))
    assert found.shape == (2, 4)
    assert (found.pruned, found.zeros, found.source_zeros) == (3, 4, 2)
    assert found.sparsity == 3 / 8
    assert found.mask_sha256 == digest(mask)
    assert found.zeros_sha256 == digest(written != 0)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_scores_that_are_not_finite_are_named(value: float) -> None:
    weight = torch.ones(4, 6)
    weight[2, 3] = value
    with pytest.raises(DataError, match=r"linear a\.b, rows 0 to 3: expected finite scores"):
        choose_mask("a.b", weight, None, CRITERIA["magnitude"], {}, PATTERNS["unstructured"], 0.5)


@pytest.mark.parametrize("criterion", ["wanda", "m-wanda", "ria"])
@pytest.mark.parametrize("pattern", ["unstructured", "2:4", "unstructured-matrix"])
def test_pieces_and_threads_change_nothing(
    monkeypatch: pytest.MonkeyPatch, criterion: str, pattern: str
) -> None:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(40, 24, generator=generator).mul(4).round()  # ties, too
    squares = torch.rand(2, 24, generator=generator, dtype=torch.float64)
    shares = torch.tensor([0.25, 0.75], dtype=torch.float64)
    inputs = InputStatistics(shares, squares, squares / 2)
    row, chosen = CRITERIA[criterion], PATTERNS[pattern]
    whole = chosen.select(row.score(weight, inputs), 0.5)
    for piece in (1, 100, 10**6):
        monkeypatch.setattr(masks, "PIECE", piece)
        assert torch.equal(choose_mask("a", weight, inputs, row, {}, chosen, 0.5), whole)
