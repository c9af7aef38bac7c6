"""What plan says of memory where attention counts, against what a prune takes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

from mwanda.model.run.skeleton import build_skeleton
from mwanda.pruning.forecast.forward_memory import count_forward
from mwanda.pruning.forecast.plan import _Shape
from mwanda.system.device import HOST
from mwanda.system.surroundings import undisturbed
from tests.support.models import tiny_tokenizer
from tests.support.shrink import tiny_config

LENGTH, HEADS = 2048, 4
SCORES = HEADS * LENGTH**2 * 4
"""Bytes of one layer's attention scores in float32."""

MEASURED = """
import json, sys, time
from pathlib import Path
from threading import Event, Thread
import mwanda
from mwanda.pruning.forecast.memory import process_memory
folder = Path(sys.argv[1])
fields = {"criterion": "wanda", "allocation": "uniform"}
options = mwanda.RunOptions(compute_dtype="float32", batch_tokens=2048)
given = {"calibration": folder / "windows.safetensors", "options": options}
said = mwanda.plan(folder / "model", recipe=mwanda.Recipe.build(fields), **given).anonymous
most, ended = [0], Event()
def watch():
    while not ended.wait(0.002):
        most[0] = max(most[0], process_memory().anonymous)
thread = Thread(target=watch)
thread.start()
mwanda.prune(folder / "model", out=folder / "out", **given, **fields)
ended.set()
thread.join()
print(json.dumps([said, most[0]]))
"""


def config_of(family: str) -> Any:
    config = tiny_config(family)
    for name in ("max_position_embeddings", "n_positions", "max_seq_len"):
        if hasattr(config, name):
            setattr(config, name, 2 * LENGTH)
    return config


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize("family", ["bloom", "llama"])
def test_plan_is_near_what_is_used(tmp_path: Path, family: str) -> None:
    model = AutoModelForCausalLM.from_config(config_of(family), dtype=torch.float32)
    model.save_pretrained(tmp_path / "model")
    tiny_tokenizer().save_pretrained(tmp_path / "model")
    tokens = torch.randint(3, 300, (2, LENGTH), generator=torch.Generator().manual_seed(0))
    save_file({"de": tokens}, tmp_path / "windows.safetensors")
    run = subprocess.run(
        [sys.executable, "-c", MEASURED, str(tmp_path)], capture_output=True, text=True, check=True
    )
    said, used = json.loads(run.stdout.splitlines()[-1])
    assert abs(said / used - 1) < 0.25


@pytest.mark.parametrize(
    ("family", "scores"),
    [
        ("llama", (0, 0.1)),  # in one kernel
        ("gemma3_text", (0, 0.4)),  # a sliding mask, in the queries' dtype
        ("bloom", (2.9, 3.2)),  # written out, with ALiBi and a softmax beside
        ("gptj", (1.9, 2.2)),
        ("mpt", (1.9, 2.2)),
        ("gemma2", (1.9, 2.2)),
        ("deepseek_v3", (1.9, 2.6)),  # heads of two sizes, which no kernel takes
    ],
)
def test_a_block_is_counted_as_its_class_computes(family: str, scores: tuple[float, float]) -> None:
    model = build_skeleton(config_of(family), torch.float32)
    decoder = _Shape(model, HOST, torch.float32)
    with undisturbed():
        counted = count_forward(decoder, (1, LENGTH))
    assert counted is not None
    assert scores[0] <= counted.block / SCORES <= scores[1]
    assert all(parameter.is_meta for parameter in model.parameters())


def test_a_class_that_looks_at_values_is_not_counted() -> None:
    """A scan token by token is not followed to its end."""
    decoder = _Shape(build_skeleton(config_of("falcon_mamba"), torch.float32), HOST, torch.float32)
    with undisturbed():
        assert count_forward(decoder, (1, LENGTH)) is None
