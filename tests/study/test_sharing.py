"""Which recipes of a study share statistics: those that say the same of the text."""

from __future__ import annotations

from typing import Any

import pytest

from mwanda.pruning.recipe.asked import Recipe
from mwanda.pruning.recipe.keywords import StatisticsFields
from mwanda.pruning.recipe.resolved import ResolvedRecipe, resolve
from mwanda.study.records import ModelRecord
from mwanda.study.sharing import FIELDS, SharedStatistics
from tests.support.recipes import EVERY_FIELD

LEAST = {"criterion": "wanda", "allocation": "uniform", "mode": "dense", "languages": ["de"]}


def made(**fields: Any) -> ResolvedRecipe:
    return resolve(Recipe.build(LEAST | fields))


@pytest.mark.parametrize("name", StatisticsFields.__annotations__)
def test_a_recipe_that_reads_text_otherwise_has_statistics_of_its_own(name: str) -> None:
    value = EVERY_FIELD[name]
    weighted = {"languages": ["de", "sw"]} if name == "language_weights" else {}
    plain, other = made(**weighted), made(**weighted, **{name: value})
    record = ModelRecord(path="x", sha256="0" * 64)
    shared = SharedStatistics("tiny", record, "float32", {}, {}, [plain, other])
    one, two = shared.of(plain), shared.of(other)
    assert one is not None
    assert two is not None
    assert (one[0] != two[0]) is (name in FIELDS)
    if name in FIELDS:
        assert two[1][name] == value
    assert {"keep_english", "keep_repeated", "seed"} <= FIELDS
