"""Checkpoints of one dtype, and of several: what is written keeps each tensor's own."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

import mwanda
from tests.pruning.pipeline.helpers import Tiny, tensors, windows_file

KINDS = {
    "norms in float32": lambda name: torch.float32 if "norm" in name else torch.bfloat16,
    "embedding in float32": lambda name: torch.float32 if "embed" in name else torch.float16,
    "one linear apart": lambda name: torch.float16 if "layers.1.mlp.up" in name else torch.bfloat16,
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mode", ["sequential", "dense"])
def test_every_tensor_keeps_its_dtype(tiny: Tiny, tmp_path: Path, kind: str, mode: str) -> None:
    source = tmp_path / "source"
    shutil.copytree(tiny("llama"), source)
    mixed = {name: t.to(KINDS[kind](name)) for name, t in tensors(source).items()}
    save_file(mixed, source / "model.safetensors", {"format": "pt"})
    windows = windows_file(tmp_path)
    result = mwanda.prune(
        source,
        out=tmp_path / "out",
        calibration=windows,
        sparsity=0.5,
        mode=mode,
        allocation="cwl",
    )
    assert not mwanda.verify(tmp_path / "out").problems
    pruned = {record.tensor for record in result.manifest.linears.values()}
    for name, written in tensors(tmp_path / "out").items():
        assert written.dtype == mixed[name].dtype, name
        kept = written != 0 if name in pruned else torch.ones_like(written, dtype=torch.bool)
        assert torch.equal(written[kept], mixed[name][kept]), name
        assert name not in pruned or float(kept.float().mean()) == pytest.approx(0.5, abs=0.1)
    AutoModelForCausalLM.from_pretrained(tmp_path / "out")
