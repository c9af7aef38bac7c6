"""Sound files of every kind, made once for all that is wrong."""

from __future__ import annotations

import pytest

from tests.bad_input.place import Place
from tests.cli.conftest import as_it_was

__all__ = ["as_it_was"]


@pytest.fixture(scope="session")
def good(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Sound files of every kind. Do not write in it."""
    return Place.make(tmp_path_factory.mktemp("good") / "files")
