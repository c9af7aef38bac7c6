"""Gram matrices in strips: the same as the product, in any batches and any order."""

from __future__ import annotations

import pytest
import torch

from mwanda.methods.gram import GramSums


def draw(tokens: int, features: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(tokens, features, generator=torch.Generator().manual_seed(seed)) * 3


@pytest.mark.parametrize("features", [1, 7, 64, 65, 600, 1100])
@pytest.mark.parametrize(
    "dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16], ids=str
)
def test_it_is_the_product_of_all_tokens(features: int, dtype: torch.dtype) -> None:
    parts = [draw(40, features).to(dtype), draw(7, features, seed=1).to(dtype)]
    sums = GramSums.empty(features, parts[0])
    for part in parts:
        sums.add_inputs(part[None], 0.25)
    x = torch.cat(parts).double()
    found = sums.matrix
    assert found.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert torch.equal(found, found.t())
    torch.testing.assert_close(found.double(), 0.25 * x.t() @ x, rtol=1e-5, atol=1e-4)


def test_parts_merge_and_factors_are_the_weights_of_languages() -> None:
    german, swahili = draw(30, 20), draw(50, 20, seed=1)
    one, other = GramSums.empty(20, german), GramSums.empty(20, german)
    one.add_inputs(german[:10], 0.75 / 30)
    other.add_inputs(swahili, 0.25 / 50)
    other.add_inputs(german[10:], 0.75 / 30)
    one.lower += other.lower
    mean = 0.75 * german.t() @ german / 30 + 0.25 * swahili.t() @ swahili / 50
    torch.testing.assert_close(one.matrix, mean)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e30])
def test_what_is_not_finite_is_seen(value: float) -> None:
    x = draw(5, 12)
    sums = GramSums.empty(12, x)
    sums.add_inputs(x, 1.0)
    assert sums.finite
    x[2, 7] = value
    sums.add_inputs(x, 1.0)
    assert not sums.finite
