"""Sums against numpy in float64, whatever the batches, the order and the dtype."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mwanda.methods.input_statistics import FeatureSums, summarise

NEEDS: Any = ("square", "activity", "activity-sign")
QUICK = settings(max_examples=40)
DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]


def inputs(shape: tuple[int, ...], seed: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(shape, generator=generator, dtype=torch.float64) * 3).to(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(5,), (1, 5), (3, 7, 24), (2, 1, 3, 8)])
def test_sums_are_those_of_numpy(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    x = inputs(shape, 1, dtype)
    before = x.clone()
    sums = FeatureSums.of(x, NEEDS)
    plain = x.double().numpy().reshape(-1, shape[-1])
    assert sums.tokens == len(plain)
    assert sums.square.dtype == torch.float64
    np.testing.assert_allclose(sums.square, (plain**2).sum(axis=0), rtol=2e-7)
    active = np.abs(plain) > np.abs(plain).mean(axis=1, keepdims=True)
    assert sums.active is not None
    np.testing.assert_array_equal(sums.active, active.sum(axis=0))
    assert sums.positive is not None
    np.testing.assert_array_equal(sums.positive, (plain > 0).sum(axis=0))
    assert torch.equal(x, before)
    assert sums.finite


def test_half_precision_does_not_overflow() -> None:
    sums = FeatureSums.of(torch.full((1000, 2), 6e4, dtype=torch.float16), NEEDS)
    np.testing.assert_allclose(sums.square, 1000 * float(torch.tensor(6e4).half()) ** 2)
    many = FeatureSums.of(torch.full((70_000, 1), 0.1, dtype=torch.bfloat16), ("square",))
    np.testing.assert_allclose(many.square, 70_000 * float(torch.tensor(0.1).bfloat16()) ** 2)


def test_only_what_is_asked_for_is_kept() -> None:
    plain = FeatureSums.of(inputs((3, 4), 1), ("square",))
    assert (plain.active, plain.positive, len(plain.tensors)) == (None, None, 1)
    sign = FeatureSums.of(inputs((3, 4), 1), ("square", "activity-sign"))
    assert sign.active is None
    assert sign.tensors[1] is sign.positive


@QUICK
@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.permutations(range(6)))
def test_batches_and_their_order_change_nothing(sizes: list[int], order: list[int]) -> None:
    x = inputs((sum(sizes), 16), len(sizes))
    whole = FeatureSums.of(x, NEEDS)
    parts = x.split(sizes)
    turned = [parts[place] for place in order if place < len(parts)]
    merged = FeatureSums.of(turned[0], NEEDS)
    for part in turned[1:]:
        merged.add(FeatureSums.of(part, NEEDS))
    assert merged.tokens == whole.tokens
    torch.testing.assert_close(merged.square, whole.square, rtol=1e-13, atol=0)
    assert merged.active is not None
    assert whole.active is not None
    assert torch.equal(merged.active, whole.active)
    assert merged.positive is not None
    assert whole.positive is not None
    assert torch.equal(merged.positive, whole.positive)


def test_a_copy_grows_alone() -> None:
    first = FeatureSums.of(inputs((3, 4), 1), NEEDS)
    before = [tensor.clone() for tensor in first.tensors]
    copy = first.copy()
    copy.add(FeatureSums.of(inputs((2, 4), 2), NEEDS))
    assert (first.tokens, copy.tokens) == (3, 5)
    assert all(map(torch.equal, first.tensors, before))
    assert not any(map(torch.equal, copy.tensors, before))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_what_is_not_finite_shows(value: float) -> None:
    x = inputs((3, 4), 1)
    x[1, 2] = value
    assert not FeatureSums.of(x, NEEDS).finite


@QUICK
@given(
    st.lists(st.tuples(st.integers(1, 30), st.floats(0.01, 100)), min_size=1, max_size=5),
    st.integers(0, 99),
)
def test_the_summary_is_the_formula(languages: list[tuple[int, float]], seed: int) -> None:
    x = {f"l{k}": inputs((n, 12), seed + k) for k, (n, _) in enumerate(languages)}
    weights = {f"l{k}": weight for k, (_, weight) in enumerate(languages)}
    found = summarise({tag: FeatureSums.of(part, NEEDS) for tag, part in x.items()}, weights)
    share = np.array([weights[tag] for tag in sorted(x)]) / sum(weights.values())
    plain = [x[tag].double().numpy() for tag in sorted(x)]
    square = np.stack([(part**2).mean(axis=0) for part in plain])
    np.testing.assert_allclose(found.weights, share, rtol=1e-12)
    np.testing.assert_allclose(found.mean_square, square, rtol=2e-7)
    np.testing.assert_allclose(found.rms, np.sqrt(square), rtol=2e-7)
    np.testing.assert_allclose(found.pooled_rms, np.sqrt(share @ square), rtol=2e-7)
    assert found.activity is not None
    assert found.positive is not None
    positive = np.stack([(part > 0).mean(axis=0) for part in plain])
    np.testing.assert_allclose(found.positive, positive, atol=1e-12)
    for row, part in zip(found.activity, plain, strict=True):
        active = np.abs(part) > np.abs(part).mean(axis=1, keepdims=True)
        np.testing.assert_allclose(row, active.mean(axis=0), atol=1e-12)


def test_more_tokens_of_one_language_do_not_weigh_more() -> None:
    one, other = inputs((8, 6), 1), inputs((8, 6), 2)
    longer = one.repeat(9, 1)
    weights = {"de": 1.0, "sw": 1.0}
    short, long = (
        summarise({"de": FeatureSums.of(part, NEEDS), "sw": FeatureSums.of(other, NEEDS)}, weights)
        for part in (one, longer)
    )
    torch.testing.assert_close(short.pooled_rms, long.pooled_rms, rtol=1e-12, atol=0)


def test_a_language_of_weight_zero_is_not_heard() -> None:
    sums = {tag: FeatureSums.of(inputs((5, 6), k), NEEDS) for k, tag in enumerate(("de", "sw"))}
    alone = summarise({"de": sums["de"]}, {"de": 5.0})
    found = summarise(sums, {"de": 3.0, "sw": 0.0})
    assert torch.equal(found.pooled_rms, alone.pooled_rms)


def test_normalised_norms_have_a_mean_of_one() -> None:
    x = {tag: inputs((5, 6), k) * 10.0**k for k, tag in enumerate(("de", "hi", "sw"))}
    weights = {"de": 1.0, "hi": 2.0, "sw": 3.0}
    found = summarise({tag: FeatureSums.of(part, NEEDS) for tag, part in x.items()}, weights)
    assert found.with_norms("raw") is found
    before = found.mean_square.clone()
    made = found.with_norms("normalised")
    norms = np.stack([np.sqrt((part.double().numpy() ** 2).mean(axis=0)) for part in x.values()])
    expected = norms / norms.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(made.rms, expected, rtol=2e-7)
    pooled = np.sqrt(np.array([1, 2, 3]) / 6 @ expected**2)
    np.testing.assert_allclose(made.pooled_rms, pooled, rtol=2e-7)
    assert torch.equal(found.mean_square, before)
    assert made.activity is found.activity
    assert made.positive is found.positive


def test_a_language_of_zeros_stays_one() -> None:
    sums = {"de": FeatureSums.of(inputs((5, 6), 1), NEEDS)}
    sums["sw"] = FeatureSums.of(torch.zeros(3, 6), NEEDS)
    made = summarise(sums, {"de": 1.0, "sw": 1.0}).with_norms("normalised")
    assert torch.equal(made.rms[1], torch.zeros(6, dtype=torch.float64))
    assert made.rms[0].mean().item() == pytest.approx(1)
