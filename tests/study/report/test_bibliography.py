"""The page of methods is the registry, word for word."""

from __future__ import annotations

import pytest

from mwanda.cli.views.listing import KINDS, methods_page, rows_of
from mwanda.errors import InputError
from tests.support import REPOSITORY

PAGE = REPOSITORY / "docs" / "methods.md"


def test_the_page_in_the_docs_is_in_step() -> None:
    assert PAGE.read_text(encoding="utf-8") == methods_page(), "run make lists"


def test_every_method_says_all_there_is_to_say() -> None:
    page = methods_page()
    for kind, table in KINDS.items():
        for name, row in zip(table, rows_of(kind), strict=False):
            assert row["name"] == name
            assert f"### `{name}`" in page
            for key in ("formula", "cost", "when", "source"):
                assert row[key]
                assert row[key] in page
    with pytest.raises(InputError, match="did you mean 'criteria'"):
        rows_of("criterias")
