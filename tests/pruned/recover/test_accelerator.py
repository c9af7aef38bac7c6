"""A recovery on an accelerator: the CPU's zeros and losses, and its weights but for rounding."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import mwanda
from mwanda import RunOptions
from mwanda.pruned.recover.undisturbing import PLACE, undisturbing
from mwanda.pruning.folder.manifest import read_manifest
from tests.pruning.pipeline.helpers import windows_file
from tests.support.accelerators import KIND, Accelerator, on_it
from tests.support.folders_made import Tiny, pruned

pytest.importorskip("accelerate")


def test_a_recovery(accelerator: Accelerator, tiny: Tiny, tmp_path: Path) -> None:
    """Attention with a gradient is another kernel than the CPU's, so not to the bit."""
    places = [tmp_path / "there", tmp_path / "here"]
    how: dict[str, Any] = {
        "model": pruned(tiny, tmp_path / "pruned", "llama"), "dense": tiny("llama"),
        "calibration": windows_file(tmp_path, counts={"de": (8, 20), "sw": (8, 16)}, seed=5),
        "steps": 2, "batch": 8, "learning_rate": 2e-3,
    }  # fmt: skip
    options = RunOptions(device=KIND)
    on_it(accelerator, lambda: mwanda.recover(**how, out=places[0], options=options))
    torch.manual_seed(7)
    mwanda.recover(**how, out=places[1])
    drawn = torch.rand(3)
    found, expected = (read_manifest(place).recoveries[-1].held_out for place in places)
    for tag, one in expected.items():
        assert found[tag].before == pytest.approx(one.before, rel=1e-4)
        assert found[tag].after == pytest.approx(one.after, rel=1e-3)
        assert found[tag].after < found[tag].before
    there, here = (load_file(place / "model.safetensors") for place in places)
    for name, weight in here.items():
        assert torch.equal(there[name] == 0, weight == 0)
        torch.testing.assert_close(there[name], weight, rtol=1e-3, atol=1e-4)
    torch.manual_seed(7)
    assert torch.equal(drawn, torch.rand(3))  # the caller's random numbers are not used up


def test_the_trainer_is_told_the_device(
    accelerator: Accelerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PLACE, "cpu")
    with accelerator.there():
        with undisturbing(torch.device(KIND, 0), 1, Path("runs")):
            assert os.environ[PLACE] == f"{KIND}:0"
        assert os.environ[PLACE] == "cpu"
        with undisturbing(torch.device(KIND, 0), 2, Path("runs")):
            assert os.environ[PLACE] == "cpu"
    monkeypatch.delenv(PLACE)
    with undisturbing(torch.device("cpu"), 1, Path("runs")):
        assert PLACE not in os.environ
