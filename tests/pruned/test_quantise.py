"""A quantised folder holds what the library gguf gives back, and loads as any other."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType
from gguf.quants import dequantize, quantize
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
)

import mwanda
from mwanda.errors import DataError, InputError
from mwanda.model.gguf.types import TYPES
from tests.cli.helpers import tree

Tiny = Callable[..., Path]


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama whose rows are multiples of 32, in bfloat16. Do not write in it."""
    folder = tmp_path_factory.mktemp("wide")
    torch.manual_seed(0)
    LlamaForCausalLM(LlamaConfig(
        vocab_size=100, hidden_size=64, intermediate_size=96, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, bos_token_id=1, eos_token_id=2,
    )).to(torch.bfloat16).save_pretrained(folder)  # fmt: skip
    return folder


def there_and_back(weight: torch.Tensor, kind: str) -> torch.Tensor:
    used = GGMLQuantizationType[kind]
    values = np.ascontiguousarray(weight.float().numpy())
    return torch.from_numpy(dequantize(quantize(values, used), used))


@pytest.mark.parametrize("kind", TYPES)
def test_every_matrix_is_what_gguf_gives_back(wide: Path, tmp_path: Path, kind: str) -> None:
    made = mwanda.quantise(wide, tmp_path / "out", kind.lower())
    before, after = (load_file(f / "model.safetensors") for f in (wide, tmp_path / "out"))
    assert before.keys() == after.keys()
    for name, weight in before.items():
        wanted = there_and_back(weight, kind) if weight.ndim == 2 else weight.float()
        assert torch.equal(after[name], wanted), name
    assert made.tensors == 2 * 7 + 2
    assert made.kept == {}
    matrices = sum(w.numel() for w in before.values() if w.ndim == 2)
    vectors = sum(w.numel() for w in before.values() if w.ndim == 1)
    group = {"Q8_0": 34, "Q5_1": 24, "Q5_0": 22, "Q4_1": 20, "Q4_0": 18}[kind]
    assert made.bytes == matrices // 32 * group + 4 * vectors
    assert made.source_bytes == 2 * (matrices + vectors)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype="auto")
    assert model.dtype == torch.float32
    assert torch.equal(model.lm_head.weight, after["lm_head.weight"])


def test_conv1d_is_quantised_along_its_inputs(tmp_path: Path) -> None:
    folder = tmp_path / "gpt2"
    GPT2LMHeadModel(
        GPT2Config(vocab_size=100, n_positions=32, n_embd=64, n_layer=1, n_head=4)
    ).save_pretrained(folder)
    made = mwanda.quantise(folder, tmp_path / "out", "Q4_0")
    before, after = (load_file(f / "model.safetensors") for f in (folder, tmp_path / "out"))
    name = "transformer.h.0.mlp.c_fc.weight"
    assert torch.equal(after[name], there_and_back(before[name].t(), "Q4_0").t())
    name = "transformer.wpe.weight"
    assert torch.equal(after[name], before[name])  # positions stay, as in llama.cpp
    assert made.tensors == 4 + 1


def test_rows_that_do_not_fit_stay_and_are_named(tiny: Tiny, tmp_path: Path) -> None:
    made = mwanda.quantise(tiny("qwen3"), tmp_path / "out", "Q8_0")
    assert made.tensors == 3  # o_proj alone has rows of 64
    assert made.kept["model.layers.0.mlp.down_proj.weight"] == "rows of 80, no multiple of 32"
    before, after = (load_file(f / "model.safetensors") for f in (tiny("qwen3"), tmp_path / "out"))
    assert all(torch.equal(before[name].float(), after[name]) for name in made.kept)


def test_zeros_stay_zero_and_losses_are_counted(wide: Path, tmp_path: Path) -> None:
    mwanda.prune(wide, out=tmp_path / "pruned", criterion="magnitude", allocation="uniform")
    assert mwanda.quantise(tmp_path / "pruned", tmp_path / "q8", "Q8_0").zeros_lost == 0
    assert mwanda.quantise(tmp_path / "pruned", tmp_path / "q41", "Q4_1").zeros_lost > 0
    kept = json.loads((tmp_path / "q8" / "quantised.json").read_text())
    assert kept["type"] == "Q8_0"
    assert "model.safetensors" in kept["files"]
    assert not (tmp_path / "q8" / "mwanda.json").exists()


def test_the_same_bytes_twice_and_its_own_overwritten(wide: Path, tmp_path: Path) -> None:
    mwanda.quantise(wide, tmp_path / "out", "Q4_0")
    before = tree(tmp_path)
    with pytest.raises(InputError, match="expected a new folder"):
        mwanda.quantise(wide, tmp_path / "out", "Q4_0")
    mwanda.quantise(wide, tmp_path / "out", "Q4_0", options=mwanda.RunOptions(overwrite=True))
    assert tree(tmp_path) == before
    (tmp_path / "out" / "mine").touch()
    with pytest.raises(InputError, match="did not write: mine"):
        mwanda.quantise(wide, tmp_path / "out", "Q4_0", options=mwanda.RunOptions(overwrite=True))


def test_refusals(wide: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="did you mean 'Q8_0'"):
        mwanda.quantise(wide, tmp_path / "out", "Q8_K")
    tensors = load_file(wide / "model.safetensors")
    tensors["lm_head.weight"][0, 0] = float("nan")
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "config.json").write_bytes((wide / "config.json").read_bytes())
    save_file(tensors, broken / "model.safetensors", {"format": "pt"})
    with pytest.raises(DataError, match=r"lm_head\.weight: expected finite"):
        mwanda.quantise(broken, tmp_path / "out", "Q8_0")
    assert not (tmp_path / "out").exists()


def by_scale(weight: torch.Tensor, group: int) -> torch.Tensor:
    """Plainly, a group at a time."""
    rows = []
    for row in weight.float():
        parts = []
        for part in row.split(group):
            scale = (part.abs().max() / 127).to(torch.float16).float()
            parts.append((part / scale).round() * scale)
        rows.append(torch.cat(parts))
    return torch.stack(rows)


@pytest.mark.parametrize(("kind", "group"), [("INT8", None), ("INT8_G128", 128)])
@pytest.mark.parametrize("linears", [False, True])
def test_int8_by_row_and_by_group(
    tmp_path: Path, kind: str, group: int | None, linears: bool
) -> None:
    folder = tmp_path / "wide"
    torch.manual_seed(0)
    LlamaForCausalLM(LlamaConfig(
        vocab_size=64, hidden_size=128, intermediate_size=256, num_hidden_layers=1,
        num_attention_heads=4, bos_token_id=1, eos_token_id=2,
    )).save_pretrained(folder)  # fmt: skip
    changed = load_file(folder / "model.safetensors")
    name = "model.layers.0.mlp.up_proj.weight"
    changed[name][3, :5] = 0.0
    changed["model.embed_tokens.weight"][7] = 0.0
    save_file(changed, folder / "model.safetensors", metadata={"format": "pt"})
    made = mwanda.quantise(folder, tmp_path / "out", kind + ("-linears" if linears else ""))
    after = load_file(tmp_path / "out" / "model.safetensors")
    assert torch.allclose(after[name], by_scale(changed[name], group or 128), atol=1e-7)
    assert made.zeros_lost == 0
    tables = ("model.embed_tokens.weight", "lm_head.weight")
    assert [torch.equal(after[one], changed[one]) for one in tables] == [linears] * 2
    assert made.tensors == 7 + (0 if linears else 2)
    sizes = [w.shape for n, w in changed.items() if w.ndim == 2 and not (linears and n in tables)]
    scales = sum(r if group is None else r * c // group for r, c in sizes)
    rest = sum(w.numel() * (2 if w.ndim == 2 else 4) for n, w in changed.items()
               if w.ndim < 2 or (linears and n in tables))  # fmt: skip
    assert made.bytes == sum(r * c for r, c in sizes) + 2 * scales + rest
