"""What a plan says of an accelerator's memory, against what a pretend one has counted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig

import mwanda
from mwanda import RunOptions
from tests.pruning.pipeline.helpers import windows_file
from tests.support.models import tiny_tokenizer
from tests.support.pretend.device import KIND, Pretend

UNIFORM = {"criterion": "wanda", "allocation": "uniform"}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Wider than the tiny ones, so that matrices count and not what lies around them."""
    folder = tmp_path_factory.mktemp("wide")
    config = LlamaConfig(
        vocab_size=300, hidden_size=128, intermediate_size=384, num_hidden_layers=3,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=256,
    )  # fmt: skip
    made = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    made.save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("fields", "options"),
    [
        ({}, {}),
        (UNIFORM, {"activation_memory": 0, "compute_dtype": "float32"}),
        ({**UNIFORM, "reconstruction": "admm"}, {}),
        ({"criterion": "magnitude", "allocation": "uniform"}, {}),
    ],
    ids=["defaults", "spilled", "admm", "magnitude"],
)
def test_a_plan_foresees_the_devices_memory(
    counting: Pretend, model: Path, tmp_path: Path, fields: dict[str, Any],
    options: dict[str, Any],
) -> None:  # fmt: skip
    windows = windows_file(tmp_path, counts={"de": (6, 128), "sw": (6, 128)})
    given = {
        "calibration": windows,
        "options": RunOptions(device=KIND, batch_tokens=512, **options),
    }
    with counting.there():
        plan = mwanda.plan(model, **given, **fields)
        with counting.counted() as copies:
            mwanda.prune(model, out=tmp_path / "out", **given, **fields)
    assert plan.device_memory is not None
    assert plan.device_memory == pytest.approx(copies.peak, rel=0.25)
    assert any("accelerator" in row[0] for row in plan.table())


def test_a_plan_for_the_cpu_speaks_of_none(model: Path) -> None:
    plan = mwanda.plan(model, criterion="magnitude", allocation="uniform")
    assert plan.device_memory is None
    assert not any("accelerator" in row[0] for row in plan.table())
