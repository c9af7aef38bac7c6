"""A mixture of experts pruned by several processes: the bytes that one writes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

import mwanda
from mwanda.model.run.discovery import find_structure
from mwanda.pruning.statistics.capture import Capture
from mwanda.pruning.statistics.routed import routed_tokens
from mwanda.system.ranks import Ranks
from tests.pruning.pipeline.helpers import Tiny, shard_bytes, token_windows, windows_file
from tests.support.forked import Several

COUNTS = {"de": (2, 4), "sw": (1, 3)}
MINIMUM = 3
"""Tokens that an expert must have seen; a batch is one window."""


@torch.no_grad()
def tokens_by_process(source: Path, size: int) -> list[list[int]]:
    """Tokens that each process's windows send to each expert of the first block."""
    model = AutoModelForCausalLM.from_pretrained(source).eval()
    linears = list(find_structure(model).blocks[0].linears)
    windows = [window for ids in token_windows(COUNTS).values() for window in ids]
    found = []
    for rank in range(size):
        with Capture(model, linears, ("square",)) as capture:
            for window in Ranks(rank, size).share(windows):
                capture.run(lambda ids=window[None]: model(ids, use_cache=False), "any")
        routed = routed_tokens(capture.sums)["model.layers.0.mlp.experts"]
        found.append([count or 0 for count in routed["any"]])
    return found


@pytest.mark.parametrize(("mode", "size"), [("sequential", 2), ("dense", 3)])
def test_the_same_bytes_as_one_process(tiny: Tiny, tmp_path: Path, mode: str, size: int) -> None:
    source, windows = tiny("olmoe"), windows_file(tmp_path, counts=COUNTS)
    seen = list(zip(*tokens_by_process(source, size), strict=True))
    assert any(not sum(counts) for counts in seen)
    assert any(max(counts) == sum(counts) > 0 for counts in seen)
    # Enough tokens in all, and too few in each process.
    assert any(max(counts) < MINIMUM <= sum(counts) for counts in seen)
    options = mwanda.RunOptions(device="cpu", batch_tokens=1)
    fields = {"criterion": "m-wanda", "allocation": "owl", "mode": mode}
    mwanda.prune(
        source,
        out=tmp_path / "one",
        calibration=windows,
        options=options,
        expert_tokens=MINIMUM,
        **fields,
    )
    words = ["prune", source, "--out", "many", "--calibration", windows, "--device", "cpu"]
    words += [word for name, value in fields.items() for word in (f"--{name}", value)]
    words += ["--batch-tokens", "1", "--expert-tokens", str(MINIMUM)]
    with Several(size, *words, cwd=tmp_path) as running:
        _, err = running.communicate(timeout=120)
    assert running.returncode == 0, err
    assert shard_bytes(tmp_path / "many") == shard_bytes(tmp_path / "one")
    one, many = (mwanda.verify(tmp_path / name) for name in ("one", "many"))
    assert not many.problems
    assert many.manifest.linears == one.manifest.linears
    assert many.manifest.experts == one.manifest.experts
    assert many.manifest.experts is not None
    assert many.manifest.experts.fallbacks
