"""The paired comparison of two models on the same sentences."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from mwanda.evaluation.articles import clusters_of
from mwanda.evaluation.paired import difference, differences


def test_neighbouring_ids_are_one_article_in_any_order() -> None:
    assert clusters_of([30, 1, 6, 7, 12, 18]) == [2, 0, 0, 0, 0, 1]


def test_how_far_apart_an_article_reaches_can_be_said() -> None:
    assert clusters_of([3, 1, 2, 9], apart=0) == [2, 0, 1, 3]
    assert clusters_of([3, 1, 2, 9], apart=6) == [0, 0, 0, 0]


def test_ids_in_a_row_are_not_one_article() -> None:
    found = np.bincount(clusters_of(list(range(300))))
    assert len(found) == 16
    assert found.max() < 20
    # One file with an article of three sentences and a long run: cut where the gap is widest.
    run = [*range(12), *range(15, 30)]
    assert clusters_of(run) == [0] * 12 + [1] * 15


def test_names_that_end_in_a_number_are_numbered_in_their_document() -> None:
    assert clusters_of(["b-2", "a-1", "a-3", "b-30"]) == [1, 0, 0, 2]
    assert clusters_of(["12", 14, "x", "y", "x"]) == [0, 0, 1, 2, 1]
    rows = [f"row{number}" for number in range(300)]
    assert clusters_of(rows) == clusters_of(list(range(300)))
    digits = ["9" * 5000, "8" * 5000]  # more than int() takes
    assert len(set(clusters_of(digits))) == 2


def test_an_id_that_most_sentences_share_is_their_article() -> None:
    assert clusters_of([7, 7, 7, 8, 8, 8, 9, 9, 9, 9]) == [0, 0, 0, 1, 1, 1, 2, 2, 2, 2]
    assert clusters_of(["b"] * 4 + ["a"] * 2 + ["b"]) == [0, 0, 0, 0, 1, 1, 0]
    # A row that is there twice makes no articles of the rest.
    assert len(set(clusters_of([*range(300), 17]))) == 16


@pytest.mark.parametrize(
    "written", ["{d}-{s}", "{s}_doc{d}", "doc{d}:{s}:x", "{d}.{s}.1", "https://x/{d}#{s}"]
)
def test_a_number_in_a_name_counts_the_sentences_of_its_document(written: str) -> None:
    rows = [(d, s) for d in range(30) for s in range(6)]
    found = clusters_of([written.format(d=d, s=s) for d, s in rows])
    assert len({(d, cluster) for (d, _), cluster in zip(rows, found, strict=True)}) == 30
    assert len(set(found)) == 30


def test_the_last_number_counts_also_where_the_text_is_shuffled() -> None:
    rows = [(d, s) for d in range(30) for s in range(3)]
    np.random.default_rng(0).shuffle(rows)
    found = clusters_of([f"doc{d}-{s}" for d, s in rows])
    assert len({(d, c) for (d, _), c in zip(rows, found, strict=True)}) == len(set(found)) == 30


def test_the_mean_is_over_languages_of_ratios_of_sums() -> None:
    base = [[10.0, 30.0], [100.0, 100.0]]
    found = difference(base, [[12.0, 34.0], [101.0, 101.0]], base, clusters=[0, 1])
    assert found.mean == pytest.approx((6 / 40 + 2 / 200) / 2)
    assert found.clusters == 2


@pytest.mark.parametrize("clusters", [[0], [0, 0, 0], [0, 1, 2, 3], [0] * 40 + list(range(12))])
def test_too_few_articles_have_no_interval(clusters: list[int]) -> None:
    base = np.full((2, len(clusters)), 50.0)
    noise = base + np.random.default_rng(0).normal(0, 1, base.shape)
    found = difference(base, noise + 9, base, clusters=clusters)
    assert "too little text" in found.reason
    assert (found.low, found.high) == (-math.inf, math.inf)
    assert not found.significant
    told = found.as_dict()
    assert told["low"] is told["high"] is None
    json.dumps(told, allow_nan=False)


@pytest.mark.parametrize("each", [1.1, 30.0, 50.3, 777.7])
def test_five_equal_articles_are_enough_whatever_rounding_makes_of_them(each: float) -> None:
    base = np.full((1, 5), each)
    found = difference(base, base + np.arange(5), base, clusters=[*range(5)])
    assert not found.reason
    assert found.low < found.mean < found.high


def test_what_is_not_finite_has_no_interval() -> None:
    base = np.full((1, 9), 50.0)
    broken = base.copy()
    broken[0, 3] = math.nan
    found = difference(base, broken, base, clusters=list(range(9)))
    assert "not finite" in found.reason
    json.dumps(found.as_dict(), allow_nan=False)


SIZES: dict[str, Callable[[np.random.Generator, int], Any]] = {
    "equal": lambda rng, count: np.full(count, 4),
    "unequal": lambda rng, count: 1 + rng.geometric(0.2, count),
    "one giant": lambda rng, count: np.array([3 * count, *[3] * (count - 1)]),
    "a few long": lambda rng, count: 1 + rng.pareto(1.2, count).clip(0, 60).astype(int),
}
TAILS: dict[str, Callable[[np.random.Generator, Any], Any]] = {
    "normal": lambda rng, shape: rng.normal(size=shape),
    "heavy": lambda rng, shape: rng.standard_t(3, size=shape),
}


@pytest.mark.parametrize("tails", TAILS)
@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("count", [1, 2, 3, 5, 10, 50])
def test_95_percent_holds_for_few_articles(count: int, sizes: str, tails: str) -> None:
    """Two models that lose alike, whose gap is the article's more than the sentence's."""
    rng = np.random.default_rng([count, len(sizes), len(tails)])
    runs, wrong = 300, 0
    for _ in range(runs):
        article = np.repeat(np.arange(count), SIZES[sizes](rng, count))
        base = rng.lognormal(4, 0.4, (2, len(article)))
        noise = TAILS[tails](rng, (1, count))[:, article] + TAILS[tails](rng, base.shape)
        wrong += difference(base, base * (1 + 0.01 * noise), base, clusters=[*article]).significant
    # 300 runs at 5 % give up to 8.5 % by chance; the percentile bootstrap gave 13 to 100 %.
    assert wrong / runs < 0.085


def test_languages_of_their_own_hold_95_percent_too() -> None:
    rng = np.random.default_rng(4)
    runs, wrong = 400, 0
    for _ in range(runs):
        base = [rng.lognormal(4, 0.3, count) for count in (7, 9, 30)]
        other = [row + rng.normal(0, 2, len(row)) for row in base]
        wrong += difference(base, other, base, clusters=None).significant
    assert 0.01 < wrong / runs < 0.08


def test_articles_count_whole() -> None:
    # Ten copies of each of six sentences say no more than the six.
    base = np.full((1, 60), 100.0)
    shift = np.repeat([1.0, -1.0, 3.0, -2.0, 2.0, -3.0], 10)
    articles = [number // 10 for number in range(60)]
    whole = difference(base, base + shift, base, clusters=articles)
    apart = difference(base, base + shift, base, clusters=list(range(60)))
    assert whole.high - whole.low > 2 * (apart.high - apart.low)


def test_languages_that_are_not_parallel_stand_for_themselves() -> None:
    base = [[10.0, 30.0, 20.0], [100.0, 100.0]]
    found = difference(base, [[12.0, 34.0, 20.0], [101.0, 103.0]], base, clusters=None)
    assert found.mean == pytest.approx((6 / 60 + 4 / 200) / 2)
    assert "a language: too little text" in found.reason
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
