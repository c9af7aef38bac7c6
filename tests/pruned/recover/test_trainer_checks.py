"""What the Trainer would refuse late is told at once, and what it looks for is put back."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers.integrations import integration_utils

import mwanda
from mwanda.errors import InputError
from mwanda.pruned.recover.undisturbing import RUNS, undisturbing

pytest.importorskip("accelerate")

NOWHERE: dict[str, Any] = {
    "model": "pruned", "out": "out", "dense": "dense", "calibration": "text",
}  # fmt: skip
"""Nothing of this is there: it must not be looked for."""


def test_a_logger_that_cannot_be_used_is_told_before_any_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for wrong in (3, [None]):
        with pytest.raises(InputError, match=r"recover: report_to.0: expected text"):
            mwanda.recover(**NOWHERE, report_to=wrong)
    with pytest.raises(InputError, match=r"--report-to: .*did you mean 'tensorboard'"):
        mwanda.recover(**NOWHERE, report_to="tensorbord")
    monkeypatch.setattr(integration_utils, "is_tensorboard_available", lambda: False)
    with pytest.raises(InputError, match=r"--report-to tensorboard: .*; pip install tensorboard"):
        mwanda.recover(**NOWHERE, report_to=["tensorboard"])


@pytest.mark.parametrize("name", ["FSDP", "DEEPSPEED"])
def test_weights_that_would_be_split_are_refused(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"ACCELERATE_USE_{name}", "true")
    with pytest.raises(InputError, match=f"ACCELERATE_USE_{name}: expected .* the whole model"):
        mwanda.recover(**NOWHERE)


def test_tensorboards_files_have_a_place_that_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(RUNS, raising=False)
    with undisturbing(torch.device("cpu"), 1, tmp_path):
        assert os.environ[RUNS] == str(tmp_path)
    assert RUNS not in os.environ
    monkeypatch.setenv(RUNS, "mine")
    with undisturbing(torch.device("cpu"), 1, tmp_path):
        assert os.environ[RUNS] == "mine"
    assert os.environ[RUNS] == "mine"
