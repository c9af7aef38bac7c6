"""Scores against their formulas in numpy, and each part of m-wanda on its own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from mwanda.methods.criteria import m_ria, m_wanda, magnitude, ria, wanda
from mwanda.methods.input_statistics import InputStatistics


def made(languages: int = 3, seed: int = 0) -> tuple[torch.Tensor, InputStatistics]:
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> torch.Tensor:
        return torch.rand(*shape, generator=generator, dtype=torch.float64)

    weights = draw(languages)
    return draw(6, 10).float() - 0.5, InputStatistics(
        weights / weights.sum(),
        draw(languages, 10) * 9,
        activity=draw(languages, 10),
        positive=draw(languages, 10),
    )


def parts(s: InputStatistics, norms_taken: str = "raw") -> dict[str, np.ndarray]:
    w, norms = s.weights.numpy(), np.sqrt(s.mean_square.numpy())
    if norms_taken == "normalised":
        norms = norms / norms.mean(axis=1, keepdims=True)
    pooled = np.sqrt(w @ norms**2)
    variance = w @ (norms - w @ norms) ** 2
    return {
        "pooled": pooled,
        "variance": variance,
        "deviation": np.sqrt(variance),
        "variance-ratio": variance / pooled,
        "magnitude": np.zeros(10) if s.activity is None else w @ s.activity.numpy(),
        "sign": np.zeros(10) if s.positive is None else w @ s.positive.numpy(),
    }


def test_magnitude_and_wanda() -> None:
    weight, statistics = made()
    size = np.abs(weight.numpy())
    np.testing.assert_array_equal(magnitude.score(weight), size)
    np.testing.assert_allclose(
        wanda.score(weight, statistics), size * parts(statistics)["pooled"], rtol=1e-6
    )


def test_wanda_with_normalised_norms() -> None:
    weight, statistics = made()
    expected = np.abs(weight.numpy()) * parts(statistics, "normalised")["pooled"]
    found = wanda.score(weight, statistics, norms="normalised")
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    # A louder language weighs no more, and each language by itself ranks as before.
    louder = InputStatistics(
        statistics.weights, statistics.mean_square * torch.tensor([[1.0], [100.0], [1.0]])
    )
    torch.testing.assert_close(wanda.score(weight, louder, norms="normalised"), found)


@pytest.mark.parametrize("rule", ["magnitude", "sign"])
def test_activity_that_was_not_measured_is_no_zero(rule: Any) -> None:
    weight, statistics = made()
    bare = InputStatistics(statistics.weights, statistics.mean_square)
    with pytest.raises(ValueError, match=f"activity by {rule} was not measured"):
        m_wanda.score(weight, bare, activity=rule)
    assert torch.equal(
        m_wanda.score(weight, bare, activity=rule, activity_weight=0.0), wanda.score(weight, bare)
    )


def test_wanda_of_one_language_is_the_original() -> None:
    weight, statistics = made(languages=1)
    norm = statistics.mean_square[0].sqrt().numpy()
    np.testing.assert_allclose(
        wanda.score(weight, statistics), np.abs(weight.numpy()) * norm, rtol=1e-6
    )


@pytest.mark.parametrize("dispersion", ["variance-ratio", "deviation", "variance"])
@pytest.mark.parametrize("ratio", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("activity", [0.0, 0.5, 3.0])
@pytest.mark.parametrize("rule", ["magnitude", "sign"])
@pytest.mark.parametrize("norms", ["raw", "normalised"])
def test_m_wanda_is_its_formula(
    dispersion: Any, ratio: float, activity: float, rule: Any, norms: Any
) -> None:
    weight, statistics = made()
    plain = parts(statistics, norms)
    expected = (
        np.abs(weight.numpy())
        * (plain["pooled"] + ratio * plain[dispersion])
        * (1 + activity * plain[rule])
    )
    found = m_wanda.score(
        weight,
        statistics,
        dispersion=dispersion,
        dispersion_weight=ratio,
        activity_weight=activity,
        activity=rule,
        norms=norms,
    )
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_m_wanda_without_its_parts_is_wanda() -> None:
    weight, statistics = made()
    found = m_wanda.score(weight, statistics, dispersion_weight=0.0, activity_weight=0.0)
    assert torch.equal(found, wanda.score(weight, statistics))


@pytest.mark.parametrize("dispersion", ["variance-ratio", "deviation", "variance"])
def test_one_language_has_no_dispersion(dispersion: Any) -> None:
    weight, statistics = made(languages=1)
    found = m_wanda.score(
        weight, statistics, dispersion=dispersion, dispersion_weight=9.0, activity_weight=0.0
    )
    assert torch.equal(found, wanda.score(weight, statistics))


@pytest.mark.parametrize("dispersion", ["variance-ratio", "deviation"])
def test_a_louder_model_scores_the_same_but_for_a_factor(dispersion: Any) -> None:
    """Not so with the bare variance, whose weight depends on the model's scale."""
    weight, statistics = made()
    louder = InputStatistics(statistics.weights, statistics.mean_square * 64, statistics.activity)
    one, other = (
        m_wanda.score(weight, s, dispersion=dispersion, dispersion_weight=1.0)
        for s in (statistics, louder)
    )
    torch.testing.assert_close(other, one * 8)


@pytest.mark.parametrize("dispersion", ["variance-ratio", "deviation", "variance"])
def test_a_dead_feature_scores_zero(dispersion: Any) -> None:
    weight, statistics = made()
    statistics.mean_square[:, 4] = 0
    found = m_wanda.score(weight, statistics, dispersion=dispersion, dispersion_weight=1.0)
    assert torch.isfinite(found).all()
    assert (found[:, 4] == 0).all()


def shares(weight: torch.Tensor) -> np.ndarray:
    """|W| over the sum of its column plus |W| over the sum of its row, entry by entry."""
    size = np.abs(weight.double().numpy())
    found = np.zeros_like(size)
    for i, j in np.ndindex(size.shape):
        found[i, j] = size[i, j] / size[:, j].sum() + size[i, j] / size[i].sum()
    return found


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("norms", ["raw", "normalised"])
def test_ria_is_its_formula(power: float, norms: Any) -> None:
    weight, statistics = made()
    expected = shares(weight) * parts(statistics, norms)["pooled"] ** power
    found = ria.score(weight, statistics, power=power, norms=norms)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    half = ria.score(weight, statistics, power=0.5)
    assert torch.equal(ria.score(weight, statistics), half)


@pytest.mark.parametrize("power", [0.5, 1.0])
@pytest.mark.parametrize("dispersion", ["variance-ratio", "deviation", "variance"])
@pytest.mark.parametrize(("rule", "norms"), [("magnitude", "normalised"), ("sign", "raw")])
def test_m_ria_has_the_feature_term_of_m_wanda(
    dispersion: Any, power: float, rule: str, norms: str
) -> None:
    weight, statistics = made()
    plain = parts(statistics, norms)
    term = (plain["pooled"] + 0.7 * plain[dispersion]) * (1 + 1.5 * plain[rule])
    options: dict[str, Any] = {"dispersion": dispersion, "dispersion_weight": 0.7}
    options |= {"activity_weight": 1.5, "activity": rule, "norms": norms}
    found = m_ria.score(weight, statistics, power=power, **options)
    np.testing.assert_allclose(found, shares(weight) * term**power, rtol=1e-6)
    # The same term, in one function: the ratio of both scores to their weights says so.
    wanda_term = m_wanda.score(torch.ones(1, 10), statistics, **options)
    np.testing.assert_allclose(wanda_term[0], term, rtol=1e-6)


def test_m_ria_without_its_parts_is_ria() -> None:
    weight, statistics = made()
    found = m_ria.score(weight, statistics, dispersion_weight=0.0, activity_weight=0.0)
    assert torch.equal(found, ria.score(weight, statistics))


def test_ria_of_a_row_and_a_column_of_zeros_is_finite() -> None:
    weight, statistics = made()
    weight[2], weight[:, 3] = 0, 0
    found = ria.score(weight, statistics)
    assert torch.isfinite(found).all()
    assert (found[2] == 0).all()
    assert (found[:, 3] == 0).all()
    assert (found[0, :3] > 0).all()
