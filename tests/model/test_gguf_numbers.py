"""Sizes and numbers of a GGUF file reach the folder whole, or the file is refused."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType as Kind

from mwanda import InputError, MwandaError
from mwanda.model.gguf.file import read_gguf
from mwanda.model.source import open_model
from tests.support.gguf_files import gguf_model, write_gguf
from tests.support.walk import IDS, load


def same_logits(tmp_path: Path, architecture: str, **fields: Any) -> Any:
    """The config read of a tiny model with these fields, and its logits as they were."""
    made = gguf_model(architecture, **fields)
    path = write_gguf(tmp_path / "tiny.gguf", architecture, made)
    (tmp_path / "out").mkdir()
    file = read_gguf(path)
    file.convert(tmp_path / "out", torch.float32)
    with torch.no_grad():
        found = load(tmp_path / "out")(input_ids=IDS, use_cache=False).logits
        torch.testing.assert_close(found, made(input_ids=IDS, use_cache=False).logits)
    return file.config


def test_a_head_size_of_its_own_comes_before_its_rotary_part(tmp_path: Path) -> None:
    for number, (architecture, size) in enumerate((("nemotron", 32), ("qwen3", 64))):
        folder = tmp_path / str(number)
        folder.mkdir()
        assert same_logits(folder, architecture, head_dim=size).head_dim == size


def test_positions_and_width_of_gpt_2(tmp_path: Path) -> None:
    found = same_logits(tmp_path, "gpt2", max_position_embeddings=64, n_inner=96)
    assert (found.n_positions, found.n_inner) == (64, 96)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("rope.freq_base", 0.0),
        ("rope.freq_base", math.nan),
        ("rope.scaling.factor", -2.0),
        ("rope.scaling.factor", math.inf),
        ("attention.layer_norm_rms_epsilon", -1e-5),
        ("final_logit_softcapping", math.nan),
    ],
)
def test_numbers_that_no_model_works_with(tmp_path: Path, name: str, value: float) -> None:
    path = write_gguf(tmp_path / "tiny.gguf", "gemma2", gguf_model("gemma2"), fields={name: value})
    with pytest.raises(InputError) as caught:
        read_gguf(path)
    message = str(caught.value)
    assert f"gemma2.{name}: expected a " in message
    assert f"found {np.float32(value)}"[:9] in message


def test_a_weight_too_large_for_bfloat16(tmp_path: Path) -> None:
    made = gguf_model("llama")
    made.model.layers[1].mlp.up_proj.weight.data[3, 5] = 3.4e38
    path = write_gguf(tmp_path / "tiny.gguf", "llama", made)
    with pytest.raises(MwandaError) as caught:  # noqa: SIM117
        with open_model(path, tmp_path):
            pass
    message = str(caught.value)
    assert message.startswith(f"{path}: model.layers.1.mlp.up_proj.weight: expected values")
    assert "an overflow: up to 3.4e+38" in message
    (tmp_path / "out").mkdir()
    read_gguf(path).convert(tmp_path / "out", torch.float32)
    assert load(tmp_path / "out").model.layers[1].mlp.up_proj.weight[3, 5] == np.float32(3.4e38)


@pytest.mark.parametrize(("kind", "said"), [(Kind.F32, 1), (Kind.F16, 1), (Kind.BF16, 0)])
def test_rounding_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: Kind, said: int
) -> None:
    path = write_gguf(tmp_path / "tiny.gguf", "llama", gguf_model("llama"), kind=kind)
    with caplog.at_level("INFO", "mwanda"), open_model(path, tmp_path):
        pass
    words = f"{path}: its weights in {kind.name} are rounded to bfloat16"
    assert [record.getMessage() for record in caplog.records] == [
        f"unpacking {path}",
        *[words] * said,
    ]
