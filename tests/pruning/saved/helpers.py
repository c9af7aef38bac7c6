"""Statistics taken once, prunes with them, and files of them spoiled."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

import mwanda
from mwanda import RunOptions
from mwanda.pruning.statistics.collect import Collected
from tests.pruning.pipeline.helpers import WEIGHTS, token_windows, windows_object

LANGUAGES = ["de", "sw"]
OPTIONS = RunOptions(batch_tokens=48)


def collected(source: Path, out: Path, **given: Any) -> Collected:
    """Statistics of two languages' random windows."""
    given = {"calibration": windows_object(), "options": OPTIONS} | given
    return mwanda.collect_statistics(source, out, **given)


def from_text(source: Any, out: Path | None, **fields: Any) -> Any:
    """With the default allocation of saved statistics, which is not that of text."""
    given = {"calibration": windows_object(), "options": OPTIONS, "mode": "dense"}
    given["allocation"] = "uniform" if "pattern" in fields else "cwl"
    return mwanda.prune(source, out=out, **given | fields)


def from_file(source: Any, out: Path | None, file: Path, **fields: Any) -> Any:
    return mwanda.prune(source, out=out, statistics=file, **{"options": OPTIONS} | fields)


def content(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """A file's tensors and its record."""
    with safe_open(path, framework="pt") as stored:
        tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
        return tensors, json.loads(stored.metadata()["mwanda"])


def spoiled(
    path: Path, to: Path, change: Callable[[dict[str, torch.Tensor], dict[str, Any]], Any]
) -> Path:
    """A copy whose tensors or record were changed."""
    tensors, record = content(path)
    change(tensors, record)
    save_file(tensors, to, {"mwanda": json.dumps(record)})
    return to


def three_windows(seed: int = 1) -> dict[str, torch.Tensor]:
    """Random windows of three languages."""
    return token_windows({"de": (4, 24), "sw": (4, 24), "fr": (2, 24)}, seed)


__all__ = ["LANGUAGES", "OPTIONS", "WEIGHTS", "collected", "content", "from_file", "from_text",
           "spoiled", "three_windows"]  # fmt: skip
