"""The signals of the allocations against plain numpy."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch

from mwanda.methods.allocation import alpha, cwl, dlp, owl
from mwanda.methods.input_statistics import InputStatistics


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


def test_cwl_leaves_out_what_one_language_alone_reached() -> None:
    shared, alone = statistics(3, 16, 1), statistics(1, 16, 2)
    assert cwl.measure([], [shared, alone]) == cwl.measure([], [shared])


def test_cwl_does_not_look_at_languages_of_weight_0() -> None:
    inputs = statistics(3, 16, 1)
    without = InputStatistics(torch.tensor([0.5, 0.0, 0.5]), inputs.mean_square)
    two = InputStatistics(torch.tensor([0.5, 0.5]), inputs.mean_square[[0, 2]])
    assert cwl.measure([], [without]) == cwl.measure([], [two]) != cwl.measure([], [inputs])


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


def cubes(*shapes: tuple[int, int], seed: int = 3) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(*shape, generator=generator) ** 3 for shape in shapes]


@pytest.mark.parametrize("shapes", [[(12, 16), (20, 40)], [(3, 5)], [(1, 1), (2, 2), (7, 9)]])
def test_dlp_is_the_median_and_the_mean_of_the_whole_block(shapes: list[tuple[int, int]]) -> None:
    weights = cubes(*shapes)
    inputs = [statistics(3, wide, wide) for _, wide in shapes]
    scores = [
        np.abs(weight.double().numpy()) * np.sqrt(one.weights.numpy() @ one.mean_square.numpy())
        for weight, one in zip(weights, inputs, strict=True)
    ]
    joined = np.sort(np.concatenate([score.ravel() for score in scores]))
    lower = joined[(len(joined) - 1) // 2]
    assert dlp.measure(weights, inputs) == pytest.approx(lower, rel=1e-6)
    assert dlp.measure(weights, inputs, centre="mean") == pytest.approx(joined.mean(), rel=1e-6)


def test_dlp_finds_a_median_among_ties_and_zeros() -> None:
    one = InputStatistics(torch.ones(1, dtype=torch.float64), torch.ones(1, 5).double())
    for row, median in (([0, 0, 0, 1, 2], 0), ([3, 3, 1, 3, 9], 3), ([1, 2, 3, 4, 5], 3)):
        assert dlp.measure([torch.tensor([row], dtype=torch.float32)], [one]) == median


def test_dlp_gives_more_to_the_important() -> None:
    found = dlp.allocate([1.0, 3.0, 2.0], [10, 10, 10], 0.5)
    assert found == pytest.approx([0.35, 0.65, 0.5])
    assert dlp.allocate([0.0, 0.0], [1, 2], 0.5) == [0.5, 0.5]


def hill(values: np.ndarray, start: int) -> float:
    """One plus the inverse of the mean logarithm of what is above λ_min, λ_min itself included."""
    tail = values[start:]
    return 1 + len(tail) / sum(np.log(value / tail[0]) for value in tail)


@pytest.mark.parametrize("shape", [(12, 40), (40, 12), (30, 30)])
def test_alpha_is_hills_exponent_of_the_singular_values(shape: tuple[int, int]) -> None:
    (weight,) = cubes(shape)
    values = np.sort(np.linalg.svd(weight.double().numpy(), compute_uv=False) ** 2)
    found = alpha.measure([weight], [], tail="half")
    assert found == pytest.approx(hill(values, len(values) // 2), rel=1e-9)
    logs = np.log10(values)
    counts, edges = np.histogram(logs, bins=100)
    mode = 10 ** edges[counts.argmax()]
    distances = {}
    for start in range(len(values) - 1):
        if 0.95 * mode <= values[start] <= 1.5 * mode:
            exponent, tail = hill(values, start), values[start:]
            law = 1 - (tail / tail[0]) ** (1 - exponent)
            empirical = np.arange(len(tail)) / len(tail)
            distances[np.abs(law - empirical).max()] = exponent
    assert alpha.measure([weight], []) == pytest.approx(distances[min(distances)], rel=1e-9)
    both = alpha.measure([weight, weight * 4], [])
    assert both == pytest.approx(alpha.measure([weight], []), rel=1e-9)  # scale says nothing


def test_alpha_recovers_a_power_law() -> None:
    """Eigenvalues drawn from a density λ^-3 above 1."""
    uniform = (torch.arange(4000, dtype=torch.float64) + 0.5) / 4000
    values = uniform.pow(-1 / 2).sort().values
    assert alpha.exponent(values) == pytest.approx(3, rel=0.05)
    assert alpha.exponent(values, tail="half") == pytest.approx(3, rel=0.01)


@pytest.mark.parametrize("tail", ["peak", "half"])
def test_alpha_of_no_tail_is_finite(tail: Any) -> None:
    for weight in (torch.zeros(4, 6), torch.eye(5), torch.ones(3, 3), torch.ones(1, 1)):
        assert alpha.measure([weight], [], tail=tail) == 1.0
