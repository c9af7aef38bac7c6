"""Every causal class of transformers tried again, and the page that says what became of it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import transformers

from mwanda.model.classes import STATUSES, model_rows, models_page, tried_classes
from tests.support import REPOSITORY
from tests.support.walk import UNTRIED, classes, proven_types, tried

PAGE = REPOSITORY / "docs" / "models.md"
TABLE = tried_classes()
WRITTEN = {row.name: row for row in TABLE.classes}
SAME = transformers.__version__ == TABLE.transformers


@pytest.mark.filterwarnings("ignore")  # a class may warn of whatever it likes
@pytest.mark.parametrize("name", classes())
def test_a_class_does_what_the_page_says(tmp_path: Path, name: str) -> None:
    """Else: python tools/model_families.py"""
    found = tried(name, classes()[name], tmp_path)
    if SAME:
        assert found == WRITTEN[name]


def test_the_page_in_the_docs_is_in_step() -> None:
    """Else: python tools/model_families.py"""
    assert PAGE.read_text(encoding="utf-8") == models_page(TABLE)


def test_every_class_is_there_and_enough_of_them_work() -> None:
    if SAME:
        assert list(WRITTEN) == list(classes())
    assert len(TABLE.of("proven", "works")) >= 60
    for row in TABLE.classes:
        assert row.status in STATUSES
        if row.status in ("refused", "not tried"):
            assert 20 < len(row.reason) <= 400
        if row.status == "refused":  # names the thing, what was expected and found, what to do
            assert re.fullmatch(r"\S.*: expected .+, found .+; .*whole", row.reason), row.reason
        elif row.status != "not tried":
            assert row.reason == "" or row.reason.startswith("with --exclude ")
    if SAME:
        assert {row.name for row in TABLE.of("not tried")} == UNTRIED.keys()
    assert {row.model_type for row in TABLE.of("proven")} <= proven_types()
    assert len(TABLE.of("proven")) >= 25
    assert all(all(row.values()) for row in model_rows(TABLE))
