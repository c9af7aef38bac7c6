"""The paired comparison and the tables of the benchmarks."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from benchmarks.paired import clusters_of, difference, ratio, verdict
from benchmarks.tables import fill


def test_neighbouring_ids_are_one_article_in_any_order() -> None:
    assert clusters_of([30, 1, 6, 7, 12, 18]) == [2, 0, 0, 0, 0, 1]


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


def test_a_marked_table_is_made_anew(tmp_path: Path) -> None:
    table = {"header": ["language", "rise"], "rows": [["de", "+1.0%"]]}
    (tmp_path / "modes.json").write_text(json.dumps({"table": table}))
    text = "before\n<!-- table: modes -->\nold\n<!-- end of table -->\nafter\n"
    made = fill(text, tmp_path)
    assert "old" not in made
    assert "| de | +1.0% |" in made
    assert made.startswith("before\n")
    assert made.endswith("\nafter\n")
    assert fill(made, tmp_path) == made


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
