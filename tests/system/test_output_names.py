"""Who may read an output, and by which option its messages name it."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest

from mwanda.errors import InputError
from mwanda.system.output import OutputFile, OutputFolder


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_who_may_read_it_is_for_the_umask_to_say(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        with OutputFolder(tmp_path / "out", overwrite=False):
            pass
    finally:
        os.umask(before)
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o777 & ~mask


def test_a_file_is_named_by_its_own_option(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / ".taken.html.partial").touch()
    how: dict[str, Any] = {"suffix": ".html", "what": "a page", "overwrite": False}
    for name, says in (
        ("file/r.html", "choose another --html"),
        ("taken.html", "move it away, or choose another --html"),
        (f"{'x' * 300}.html", "--html: expected a name that the disk takes"),
        (f"{'x' * 245}.html", "choose another --html"),
    ):
        with pytest.raises(InputError, match=re.escape(says)):
            OutputFile(tmp_path / name, is_ours=lambda _: True, option="--html", **how).check()
