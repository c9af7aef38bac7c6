"""A place for studies."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.study.helpers import Lab, Tiny, make_lab


@pytest.fixture
def lab(tiny: Tiny, tmp_path: Path) -> Lab:
    return make_lab(tiny, tmp_path)
