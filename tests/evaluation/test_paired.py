"""The paired comparison of two models on the same sentences."""

from __future__ import annotations

import numpy as np
import pytest

from mwanda.evaluation.paired import clusters_of, difference, differences, ratio, verdict


def test_neighbouring_ids_are_one_article_in_any_order() -> None:
    assert clusters_of([30, 1, 6, 7, 12, 18]) == [2, 0, 0, 0, 0, 1]


def test_how_far_apart_an_article_reaches_can_be_said() -> None:
    assert clusters_of([3, 1, 2, 9], apart=0) == [2, 0, 1, 3]
    assert clusters_of([3, 1, 2, 9], apart=6) == [0, 0, 0, 0]


def test_the_mean_is_over_languages_of_ratios_of_sums() -> None:
    base = [[10.0, 30.0], [100.0, 100.0]]
    found = difference(base, [[12.0, 34.0], [101.0, 101.0]], base, clusters=[0, 1])
    assert found.mean == pytest.approx((6 / 40 + 2 / 200) / 2)
    assert found.low < found.mean < found.high
    assert found.clusters == 2


def test_a_constant_share_has_no_spread_and_a_verdict() -> None:
    base = np.random.default_rng(1).uniform(50, 150, (3, 20))
    found = difference(base, 1.2 * base, 1.3 * base, clusters=list(range(20)))
    assert [found.mean, found.low, found.high] == pytest.approx([-0.1] * 3)
    assert verdict(found, "dense", "sequential") == "dense"
    swapped = difference(base, 1.3 * base, 1.2 * base, clusters=list(range(20)))
    assert verdict(swapped, "dense", "sequential") == "sequential"


def test_noise_is_told_from_a_difference() -> None:
    random = np.random.default_rng(2)
    base = random.uniform(50, 150, (4, 40))
    noise = base + random.normal(0, 5, base.shape)
    assert verdict(difference(base, noise, base, clusters=list(range(40))), "a", "b") == "either"
    assert verdict(difference(base, noise + 9, base, clusters=list(range(40))), "a", "b") == "b"


def test_articles_are_resampled_whole() -> None:
    # Ten copies of each of four sentences say no more than the four.
    base = np.full((1, 40), 100.0)
    shift = np.repeat([1.0, -1.0, 3.0, -2.0], 10)
    articles = [number // 10 for number in range(40)]
    whole = difference(base, base + shift, base, clusters=articles)
    apart = difference(base, base + shift, base, clusters=list(range(40)))
    assert whole.high - whole.low > 2 * (apart.high - apart.low)


def test_a_ratio_is_of_means_of_rises() -> None:
    base = [[10.0, 30.0], [100.0, 100.0]]
    first = [[[12.0, 34.0], [101.0, 101.0]], [[10.0, 34.0], [105.0, 105.0]]]
    second = [[[14.0, 34.0], [110.0, 110.0]], [[14.0, 36.0], [110.0, 110.0]]]
    found = ratio(base, first, second, clusters=[0, 1])
    # Rises of the first: 15 and 1 %, 10 and 5 %; of the second: 20 and 10 %, 25 and 10 %.
    assert found.value == pytest.approx(31 / 65)
    assert found.low < found.value < found.high
    worst = ratio(base, first, second, clusters=[0, 1], worst=True)
    assert worst.value == pytest.approx(25 / 45)


def test_a_ratio_of_the_same_is_one_in_every_sample() -> None:
    rng = np.random.default_rng(1)
    base, model = rng.uniform(50, 150, (3, 20)), rng.uniform(160, 300, (2, 3, 20))
    found = ratio(base, model, model, clusters=list(range(20)))
    assert (found.low, found.value, found.high) == (1, 1, 1)


def test_languages_that_are_not_parallel_are_resampled_each_for_itself() -> None:
    base = [[10.0, 30.0, 20.0], [100.0, 100.0]]
    found = difference(base, [[12.0, 34.0, 20.0], [101.0, 103.0]], base, clusters=None)
    assert found.mean == pytest.approx((6 / 60 + 4 / 200) / 2)
    assert found.low < found.mean < found.high
    assert found.clusters == 0
    random = np.random.default_rng(3)
    rows = [random.uniform(50, 150, 40) for _ in range(4)]
    shift = random.normal(0, 5, 40)
    same = [row + shift for row in rows]
    # The same surprise in every language says more when it counts as four.
    apart = difference(rows, same, rows, clusters=None)
    together = difference(rows, same, rows, clusters=list(range(40)))
    assert apart.high - apart.low < 0.8 * (together.high - together.low)


def test_an_interval_that_holds_zero_is_not_significant() -> None:
    base = np.full((2, 10), 100.0)
    noise = np.tile([1.0, -1.0], 5)
    alone = list(range(10))
    assert not difference(base, base + noise, base, clusters=alone).significant
    assert difference(base, base + 2, base, clusters=alone).significant
    assert difference(base, base - 2, base, clusters=alone).significant


@pytest.mark.parametrize("parallel", [True, False])
def test_each_language_is_told_as_if_it_were_alone(parallel: bool) -> None:
    base = np.random.default_rng(1).uniform(50, 150, (3, 12))
    first = base * np.random.default_rng(2).uniform(1.0, 1.4, (3, 12))
    clusters = [number // 2 for number in range(12)] if parallel else None
    mean, each = differences(base, first, base, clusters=clusters)
    assert mean == difference(base, first, base, clusters=clusters)
    assert mean.mean == pytest.approx(np.mean([one.mean for one in each]))
    alone = difference(base[:1], first[:1], base[:1], clusters=clusters)
    assert [alone.low, alone.mean, alone.high] == pytest.approx(
        [each[0].low, each[0].mean, each[0].high]
    )
