"""One pruned folder for the tests that only look at it, and copies for those that spoil it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mwanda
from tests.pruning.pipeline.helpers import windows_file

Tiny = Callable[..., Path]


def pruned(tiny: Tiny, out: Path, family: str = "llama", **fields: Any) -> Path:
    """A pruned folder, its windows in a file beside it."""
    given = {"criterion": "wanda", "allocation": "uniform"} | fields
    mwanda.prune(tiny(family), out=out, calibration=windows_file(out.parent), **given)
    return out


def copied(folder: Path, to: Path) -> Path:
    shutil.copytree(folder, to)
    return to
