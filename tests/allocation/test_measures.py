"""The signals of the allocations against plain numpy."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from mwanda.allocation import cwl, owl
from mwanda.statistics.sums import InputStatistics


def statistics(languages: int, features: int, seed: int) -> InputStatistics:
    generator = torch.Generator().manual_seed(seed)
    square = torch.rand(languages, features, generator=generator, dtype=torch.float64)
    weights = torch.rand(languages, generator=generator, dtype=torch.float64)
    return InputStatistics(weights / weights.sum(), square * 7)


@pytest.mark.parametrize("languages", [2, 3, 7])
def test_cwl_is_the_mean_pairwise_correlation(languages: int) -> None:
    inputs = [statistics(languages, wide, wide) for wide in (16, 40)]
    expected = []
    for one in inputs:
        matrix = np.corrcoef(np.sqrt(one.mean_square.numpy()))
        pairs = itertools.combinations(range(languages), 2)
        expected.append(np.mean([matrix[a, b] for a, b in pairs]))
    found = cwl.measure([torch.empty(0)] * 2, inputs)
    assert found == pytest.approx(np.mean(expected), abs=1e-12)


def test_cwl_knows_one_language_agreement_and_contrast() -> None:
    weights = torch.tensor([0.5, 0.5], dtype=torch.float64)
    one = torch.tensor([[1.0, 4.0, 9.0]], dtype=torch.float64)
    assert cwl.measure([], [InputStatistics(weights[:1], one)]) == 1.0
    scaled = InputStatistics(weights, torch.cat([one, one * 4]))
    assert cwl.measure([], [scaled]) == pytest.approx(1.0)
    turned = InputStatistics(weights, torch.cat([one, (4 - one.sqrt()).square()]))
    assert cwl.measure([], [turned]) == pytest.approx(-1.0)


def test_cwl_takes_a_constant_vector_for_unrelated() -> None:
    weights = torch.tensor([0.5, 0.5], dtype=torch.float64)
    flat = torch.tensor([[1.0, 4.0, 9.0], [2.0, 2.0, 2.0]], dtype=torch.float64)
    assert cwl.measure([], [InputStatistics(weights, flat)]) == 0.0
    dead = torch.zeros(2, 3, dtype=torch.float64)
    assert cwl.measure([], [InputStatistics(weights, dead)]) == 0.0


@pytest.mark.parametrize("outlier", [0.0, 1.0, 2.5, 5.0, 100.0])
def test_owl_is_the_share_of_outliers_in_the_whole_block(outlier: float) -> None:
    generator = torch.Generator().manual_seed(3)
    shapes = [(12, 16), (20, 40)]
    # Cubes have tails: some scores are beyond five times the mean.
    weights = [torch.randn(*shape, generator=generator) ** 3 for shape in shapes]
    inputs = [statistics(3, wide, wide) for _, wide in shapes]
    scores = [
        np.abs(weight.double().numpy()) * np.sqrt(one.weights.numpy() @ one.mean_square.numpy())
        for weight, one in zip(weights, inputs, strict=True)
    ]
    joined = np.concatenate([score.ravel() for score in scores])
    expected = (joined > outlier * joined.mean()).mean()
    assert owl.measure(weights, inputs, outlier=outlier) == pytest.approx(expected, abs=1e-12)


def test_owl_defaults_to_five_times_the_mean() -> None:
    inputs = InputStatistics(torch.ones(1, dtype=torch.float64), torch.ones(1, 100).double())
    weight = torch.ones(1, 100)
    weight[0, :2] = 50.0
    assert owl.measure([weight], [inputs]) == 0.02
    assert owl.measure([torch.zeros(1, 100)], [inputs]) == 0.0
