"""What the benchmarks say of a paired comparison: one loss as a share of another, and a verdict."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from mwanda.evaluation.paired import Difference, difference
from tests.support import REPOSITORY

Ratios = Callable[..., Any]
Verdict = Callable[[Difference, str, str], str]


@pytest.fixture
def verdict(monkeypatch: pytest.MonkeyPatch) -> Verdict:
    monkeypatch.syspath_prepend(str(REPOSITORY / "benchmarks"))
    from study_tables import verdict as found

    return found


@pytest.fixture
def ratio(monkeypatch: pytest.MonkeyPatch) -> Ratios:
    monkeypatch.syspath_prepend(str(REPOSITORY / "benchmarks"))
    from study_tables import ratio as found

    return found


@pytest.mark.parametrize("clusters", [[0], [0, 0, 0], [0, 1, 2, 3], [0] * 40 + list(range(12))])
def test_too_few_articles_tell_nothing(
    verdict: Verdict, ratio: Ratios, clusters: list[int]
) -> None:
    base = np.full((2, len(clusters)), 50.0)
    noise = base + np.random.default_rng(0).normal(0, 1, base.shape)
    found = difference(base, noise + 9, base, clusters=clusters)
    assert verdict(found, "a", "b") == "cannot tell"
    share = ratio(base, [noise + 9], [noise + 9], clusters=clusters)
    assert "too little text" in share.reason


@pytest.mark.parametrize("worst", [False, True])
@pytest.mark.parametrize("count", [6, 10, 30])
def test_ratios_hold_95_percent(ratio: Ratios, count: int, worst: bool) -> None:
    rng = np.random.default_rng([count, worst])
    runs, wrong = 300, 0
    lift = np.array([[0.1], [0.2], [0.3]])
    for _ in range(runs):
        article = np.repeat(np.arange(count), 1 + rng.geometric(0.4, count))
        base = rng.lognormal(4, 0.4, (3, len(article)))
        shared = 0.05 * rng.normal(size=(1, count))[:, article]

        def model(share: float, base: Any = base, shared: Any = shared) -> Any:
            noise = 0.05 * rng.normal(size=(2, *base.shape))
            return base * (1 + share * lift + shared + noise)

        found = ratio(base, model(0.8), model(1.0), clusters=[*article], worst=worst)
        wrong += not found.low <= 0.8 <= found.high
    assert wrong / runs < 0.085


def test_a_ratio_to_nothing_has_no_interval(ratio: Ratios) -> None:
    rng = np.random.default_rng(1)
    base = rng.uniform(50, 150, (3, 20))
    noise = base + rng.normal(0, 5, (1, 3, 20))
    found = ratio(base, noise + 9, noise, clusters=list(range(20)))
    assert found.reason == "the second's rise cannot be told from 0"


def test_a_constant_share_has_no_spread_and_a_verdict(verdict: Verdict) -> None:
    base = np.random.default_rng(1).uniform(50, 150, (3, 20))
    found = difference(base, 1.2 * base, 1.3 * base, clusters=list(range(20)))
    assert [found.mean, found.low, found.high] == pytest.approx([-0.1] * 3)
    assert verdict(found, "dense", "sequential") == "dense"
    swapped = difference(base, 1.3 * base, 1.2 * base, clusters=list(range(20)))
    assert verdict(swapped, "dense", "sequential") == "sequential"


def test_noise_is_told_from_a_difference(verdict: Verdict) -> None:
    random = np.random.default_rng(2)
    base = random.uniform(50, 150, (4, 40))
    noise = base + random.normal(0, 5, base.shape)
    assert verdict(difference(base, noise, base, clusters=list(range(40))), "a", "b") == "either"
    assert verdict(difference(base, noise + 9, base, clusters=list(range(40))), "a", "b") == "b"


def test_a_ratio_is_of_means_of_rises(ratio: Ratios) -> None:
    base = [[10.0, 30.0], [100.0, 100.0]]
    first = [[[12.0, 34.0], [101.0, 101.0]], [[10.0, 34.0], [105.0, 105.0]]]
    second = [[[14.0, 34.0], [110.0, 110.0]], [[14.0, 36.0], [110.0, 110.0]]]
    found = ratio(base, first, second, clusters=[0, 1])
    # Rises of the first: 15 and 1 %, 10 and 5 %; of the second: 20 and 10 %, 25 and 10 %.
    assert found.value == pytest.approx(31 / 65)
    worst = ratio(base, first, second, clusters=[0, 1], worst=True)
    assert worst.value == pytest.approx(25 / 45)


def test_a_ratio_of_the_same_is_one_and_sure(ratio: Ratios) -> None:
    rng = np.random.default_rng(1)
    base, model = rng.uniform(50, 150, (3, 20)), rng.uniform(160, 300, (2, 3, 20))
    found = ratio(base, model, model, clusters=list(range(20)))
    assert (found.low, found.value, found.high) == (1, 1, 1)
