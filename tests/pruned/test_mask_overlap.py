"""Two masks counted against each other, beside counts by hand and set arithmetic."""

from __future__ import annotations

import pytest
import torch

from mwanda.pruned.diff import MaskOverlap, overlap_of


def test_counts_by_hand() -> None:
    one = torch.tensor([[1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1]]).bool()
    other = torch.tensor([[1, 0, 1, 0], [1, 0, 0, 0], [0, 0, 0, 0]]).bool()
    found = overlap_of(one, other)
    assert found == MaskOverlap(12, 4, 3, 2, rows=2, of_rows=3, columns=3, of_columns=4)
    assert (found.differing, found.share, found.overlap) == (3, 0.25, 0.4)
    both = MaskOverlap.total([found, overlap_of(one, one)])
    assert (both.weights, both.differing, both.overlap) == (24, 3, 6 / 9)


def test_the_same_as_with_sets() -> None:
    generator = torch.Generator().manual_seed(0)
    one, other = (torch.rand(17, 9, generator=generator) > share for share in (0.4, 0.7))
    places = [set(map(tuple, torch.nonzero(mask).tolist())) for mask in (one, other)]
    found = overlap_of(one, other)
    assert found.differing == len(places[0] ^ places[1])
    assert found.overlap == len(places[0] & places[1]) / len(places[0] | places[1])
    assert found.rows == len({row for row, _ in places[0] ^ places[1]})


def test_nothing_kept_is_the_same_and_shapes_must_be_too() -> None:
    none = torch.zeros(2, 3, dtype=torch.bool)
    assert overlap_of(none, none).overlap == 1.0
    assert MaskOverlap.total([]).share == 0.0
    with pytest.raises(ValueError, match=r"\[2, 3\] and \[3, 2\]"):
        overlap_of(none, none.t())
