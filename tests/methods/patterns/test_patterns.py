"""Exact counts and the tie rule, against a full stable sort of every row."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mwanda.methods.patterns import n_of_m, unstructured, unstructured_matrix

QUICK = settings(max_examples=60)
FEW = st.sampled_from([0.0, 0.25, 1.0, 1.5, 3.0])
"""So few values that most rows hold ties."""


def matrices(
    values: st.SearchStrategy[float], columns: st.SearchStrategy[int]
) -> st.SearchStrategy:
    return columns.flatmap(
        lambda wide: st.lists(
            st.lists(values, min_size=wide, max_size=wide), min_size=1, max_size=5
        ).map(torch.tensor)
    )


TIED = matrices(FEW, st.integers(1, 24))
ANY = matrices(st.floats(0, 1e6, width=32), st.integers(1, 24))
SHARES = st.floats(0, 1, exclude_max=True) | st.sampled_from([0.0, 0.01, 0.29, 0.5, 0.95])


def by_full_sort(score: torch.Tensor, count: int) -> torch.Tensor:
    """The lowest ``count`` of every row go; of equal ones the lower column first."""
    mask = torch.ones_like(score, dtype=torch.bool)
    for row, values in enumerate(score.tolist()):
        order = sorted(range(len(values)), key=lambda column: (values[column], column))
        mask[row, order[:count]] = False
    return mask


@QUICK
@given(TIED | ANY, SHARES)
def test_unstructured_is_a_full_stable_sort(score: torch.Tensor, sparsity: float) -> None:
    mask = unstructured.select(score, sparsity)
    count = int(score.shape[1] * sparsity)
    assert mask.dtype == torch.bool
    assert (~mask).sum(dim=1).tolist() == [count] * len(score)
    assert torch.equal(mask, by_full_sort(score, count))
    if 0 < count < score.shape[1]:
        sorted_mask = torch.empty_like(mask)
        unstructured._select_by_sort(score, sorted_mask, count)
        assert torch.equal(sorted_mask, mask)


def test_everything_may_go() -> None:
    assert not unstructured.select(torch.rand(3, 4), 1.0).any()


@QUICK
@given(TIED | ANY, SHARES)
def test_a_whole_matrix_is_one_full_stable_sort(score: torch.Tensor, sparsity: float) -> None:
    mask = unstructured_matrix.select(score, sparsity)
    count = int(score.numel() * sparsity)
    assert int((~mask).sum()) == count
    assert torch.equal(mask, by_full_sort(score.reshape(1, -1), count).reshape(score.shape))
    turned = unstructured_matrix.select(score.t().contiguous().t(), sparsity)
    assert torch.equal(turned, mask)


@QUICK
@given(ANY, SHARES, st.sampled_from([0.5, 2.0, 1024.0]))
def test_only_the_order_of_scores_matters(
    score: torch.Tensor, sparsity: float, factor: float
) -> None:
    mask = unstructured.select(score, sparsity)
    assert torch.equal(unstructured.select(score.double() * factor, sparsity), mask)
    flipped = unstructured.select(score.flip(0), sparsity)
    assert torch.equal(flipped.flip(0), mask)


def test_the_lower_column_goes_first() -> None:
    tied = torch.tensor([[2.0, 1.0, 1.0, 1.0, 2.0, 1.0]])
    assert unstructured.select(tied, 0.5).tolist() == [[True, False, False, False, True, True]]
    assert unstructured.select(torch.zeros(2, 6), 0.5).tolist() == [[False] * 3 + [True] * 3] * 2
    assert n_of_m.select(torch.zeros(1, 8), 2, 4).tolist() == [[False, False, True, True] * 2]


@pytest.mark.parametrize(
    ("columns", "sparsity", "count"),
    [(100, 0.29, 28), (100, 0.57, 56), (10, 0.3, 3), (48, 0.5, 24), (3, 0.99, 2), (7, 0.0, 0)],
)
def test_the_count_is_that_of_ieee_doubles(columns: int, sparsity: float, count: int) -> None:
    """100 · 0.29 is 28.999999999999996 in doubles: the reference removes 28."""
    assert unstructured.removed(1, columns, sparsity) == count
    assert int((~unstructured.select(torch.rand(2, columns), sparsity)).sum()) == 2 * count


@QUICK
@given(
    st.integers(1, 20).flatmap(lambda m: st.tuples(st.integers(1, m), st.just(m))),
    st.integers(1, 4),
    st.integers(1, 4),
    st.booleans(),
    st.integers(0, 1000),
)
def test_n_of_m_keeps_the_n_highest_of_every_group(
    pattern: tuple[int, int], rows: int, groups: int, tied: bool, seed: int
) -> None:
    keep, size = pattern
    generator = torch.Generator().manual_seed(seed)
    score = torch.rand(rows, groups * size, generator=generator)
    if tied:
        score = (score * 3).floor()
    mask = n_of_m.select(score, keep, size)
    grouped = mask.reshape(-1, size)
    assert grouped.sum(dim=1).tolist() == [keep] * len(grouped)
    assert torch.equal(grouped, by_full_sort(score.reshape(-1, size), size - keep))


def test_a_transposed_score_is_read_in_its_own_order() -> None:
    score = torch.rand(8, 12, generator=torch.Generator().manual_seed(2))
    turned = score.t().contiguous().t()
    assert not turned.is_contiguous()
    assert torch.equal(unstructured.select(turned, 0.5), unstructured.select(score, 0.5))
    assert torch.equal(n_of_m.select(turned, 2, 4), n_of_m.select(score, 2, 4))
