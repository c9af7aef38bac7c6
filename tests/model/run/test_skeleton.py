"""The skeleton: no weights, real buffers; and configs that are refused with a reason."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    BertConfig,
    GPT2Config,
    MT5Config,
    PreTrainedConfig,
    T5Config,
    XLMRobertaConfig,
)

from mwanda.errors import InputError
from mwanda.model.run.skeleton import build_skeleton, load_config
from tests.support.models import FAMILIES, tiny_config
from tests.support.shrink import tiny_config as shrunk_config


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_parameters_are_on_meta_and_buffers_as_a_plain_model_has_them(
    family: str, dtype: torch.dtype
) -> None:
    config = tiny_config(family)
    model = build_skeleton(config, dtype)
    plain = AutoModelForCausalLM.from_config(config, dtype=dtype)
    assert not model.training
    assert all(p.device.type == "meta" and not p.requires_grad for p in model.parameters())
    assert {n: (p.shape, p.dtype) for n, p in model.named_parameters()} == {
        n: (p.shape, p.dtype) for n, p in plain.named_parameters()
    }
    wanted = dict(plain.named_buffers())
    found = dict(model.named_buffers())
    assert found.keys() == wanted.keys()
    for name, buffer in wanted.items():
        assert found[name].device.type == "cpu"
        assert found[name].dtype == buffer.dtype
        assert torch.equal(found[name], buffer)
    if family in ("llama", "qwen3", "gemma3", "olmo", "cohere"):
        assert wanted


def contents(model: Any) -> dict[str, Any]:
    buffers = {n: (b.dtype, b.tolist()) for n, b in model.named_buffers()}
    return buffers | {n: p.dtype for n, p in model.named_parameters()}


OWN_BUFFERS = ("gemma3_text", "ernie4_5_moe", "gptj", "mamba", "zamba2", "falcon", "bloom", "phi3",
               "deepseek_v3", "xglm")  # fmt: skip


@pytest.mark.parametrize("kind", OWN_BUFFERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_the_default_dtype_of_the_process_does_not_matter(kind: str, dtype: torch.dtype) -> None:
    wanted = contents(build_skeleton(shrunk_config(kind), dtype))
    try:
        for other in (torch.bfloat16, torch.float64):
            torch.set_default_dtype(other)
            assert contents(build_skeleton(shrunk_config(kind), dtype)) == wanted
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("tied", [True, False])
def test_tied_weights_are_one_parameter(family: str, tied: bool) -> None:
    model = build_skeleton(tiny_config(family, tied=tied), torch.float32)
    same = model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert same is tied


def test_torch_is_as_before_afterwards() -> None:
    original = nn.Module.register_parameter
    build_skeleton(tiny_config("llama"), torch.float32)
    assert nn.Module.register_parameter is original
    with pytest.raises(InputError):
        build_skeleton(PreTrainedConfig(), torch.float32)
    assert nn.Module.register_parameter is original
    assert nn.Linear(2, 2).weight.device.type == "cpu"


def saved(folder: Path, config: PreTrainedConfig, *architectures: str) -> Path:
    if architectures:
        config.architectures = list(architectures)
    config.save_pretrained(folder)
    return folder


def refuse(folder: Path, *says: str) -> str:
    with pytest.raises(InputError) as caught:
        build_skeleton(load_config(folder), torch.float32)
    for part in ("expected", "found", ";", *says):
        assert part in str(caught.value)
    return str(caught.value)


ENCODERS = [
    (BertConfig, ("BertForMaskedLM",), "BertForMaskedLM"),
    (BertConfig, ("BertModel",), "BertModel"),
    (BertConfig, (), "bert"),
    (XLMRobertaConfig, ("XLMRobertaForSequenceClassification",), "XLMRoberta"),
    (T5Config, ("T5ForConditionalGeneration",), "T5ForConditionalGeneration"),
    (MT5Config, (), "mt5"),
]


@pytest.mark.parametrize(("config", "names", "says"), ENCODERS)
def test_what_is_no_decoder_is_refused(
    tmp_path: Path, config: Any, names: tuple[str, ...], says: str
) -> None:
    refuse(saved(tmp_path, config(), *names), "config.json", "decoder", says, "encoder")


@pytest.mark.parametrize("names", [("GPT2LMHeadModel",), ("GPT2Model",), ()])
def test_a_decoder_is_taken_under_every_name_it_goes_by(
    tmp_path: Path, names: tuple[str, ...]
) -> None:
    config = load_config(saved(tmp_path, GPT2Config(n_layer=2, n_embd=8, n_head=2), *names))
    assert config.n_layer == 2


@pytest.mark.parametrize(
    ("entry", "says"),
    [({"quant_method": "gptq", "bits": 4}, "gptq"), ({"bits": 4}, "unnamed method")],
)
def test_quantised_weights_are_refused(tmp_path: Path, entry: dict[str, Any], says: str) -> None:
    saved(tmp_path, tiny_config("llama"))
    data = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**data, "quantization_config": entry}))
    refuse(tmp_path, "quantised weights", says, "bf16", "prune the original")


CONFIGS: dict[str, dict[str, Any]] = {
    "unknown model type": {"model_type": "nope"},
    "model type a number": {"model_type": 5},
    "no model type": {"model_type": None},
    "a width that is text": {"hidden_size": "wide"},
    "a width of nothing": {"intermediate_size": None},
    "a negative width": {"hidden_size": -4},
    "a width beyond memory": {"hidden_size": 2**42},
    "no heads": {"num_attention_heads": 0},
    "heads that do not divide": {"num_attention_heads": 5},
    "no key heads": {"num_key_value_heads": 0},
    "unknown activation": {"hidden_act": "nope"},
    "rotation a number": {"rope_parameters": 7},
    "an epsilon of text": {"rms_norm_eps": "small"},
    "unknown dtype": {"dtype": "int9"},
    "architectures a number": {"architectures": 5},
    "architectures of numbers": {"architectures": [5]},
    "quantisation a number": {"quantization_config": 5},
    "code of its own": {"model_type": "own", "auto_map": {"AutoConfig": "own.Config"}},
}


@pytest.mark.parametrize("change", CONFIGS.values(), ids=CONFIGS.keys())
def test_a_config_that_cannot_be_is_refused(
    tiny: Callable[..., Path], tmp_path: Path, change: dict[str, Any]
) -> None:
    shutil.copytree(tiny("llama"), tmp_path, dirs_exist_ok=True)
    data = json.loads((tmp_path / "config.json").read_text()) | change
    (tmp_path / "config.json").write_text(json.dumps(data))
    text = refuse(tmp_path)
    assert "config" in text
    assert len(text) < 700


def test_the_message_names_the_field(tiny: Callable[..., Path], tmp_path: Path) -> None:
    data = json.loads((tiny("llama") / "config.json").read_text()) | {"hidden_size": "wide"}
    (tmp_path / "config.json").write_text(json.dumps(data))
    refuse(tmp_path, str(tmp_path / "config.json"), "hidden_size", "int", "wide")


@pytest.mark.parametrize("raw", [b"", b"{", b"[1]", b"5", b"null", b"\xff", b"[" * 100_000])
def test_a_config_that_is_no_json_object_is_refused(tmp_path: Path, raw: bytes) -> None:
    (tmp_path / "config.json").write_bytes(raw)
    refuse(tmp_path, "config.json")
