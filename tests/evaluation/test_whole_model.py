"""A model loaded whole: what lies in its folder, and nothing on top."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import mwanda
from mwanda.errors import InputError
from mwanda.evaluation.whole_model import load_whole
from mwanda.model.stored.reader import Checkpoint


def test_an_adapter_beside_the_weights_is_never_seen(
    tiny: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import LlamaForCausalLM

    seen: list[list[str]] = []
    real = LlamaForCausalLM.from_pretrained.__func__  # type: ignore[attr-defined]

    def load(cls: Any, folder: Path, *given: Any, **named: Any) -> Any:
        seen.append(sorted(path.name for path in Path(folder).iterdir()))
        return real(cls, folder, *given, **named)

    monkeypatch.setattr(LlamaForCausalLM, "from_pretrained", classmethod(load))
    folder = shutil.copytree(tiny("llama"), tmp_path / "model")
    whole = sorted(path.name for path in folder.iterdir())
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA"}))
    (folder / "adapter_model.safetensors").write_bytes(b"not read")
    model = load_whole(folder, torch.float32, torch.device("cpu"), mwanda.RunOptions())
    assert seen == [whole]
    assert model.name_or_path == str(folder)


def test_a_config_that_names_other_weights_is_refused(
    tiny: Callable[..., Path], tmp_path: Path
) -> None:
    """transformers would load those, and not the ones that are read here."""
    folder = shutil.copytree(tiny("llama"), tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    for named, refused in (("model.safetensors", False), ("other.safetensors", True), (3, True),
                           ("model.safetensors.index.json", True)):  # fmt: skip
        text = json.dumps(config | {"transformers_weights": named})
        (folder / "config.json").write_text(text)
        if refused:
            with pytest.raises(InputError, match="transformers_weights: expected none, or model"):
                Checkpoint.open(folder)
    (folder / "config.json").write_text(
        json.dumps(config | {"transformers_weights": "model.safetensors"})
    )
    out = tmp_path / "out"
    mwanda.prune(folder, out=out, criterion="magnitude", allocation="uniform")
    assert "transformers_weights" not in json.loads((out / "config.json").read_text())
    assert not mwanda.verify(out, against=folder).problems
