"""What a GGUF file says beside its weights is in the config, or the file is refused."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType as Kind
from transformers import AutoConfig, AutoModelForCausalLM, GgufConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from mwanda import InputError
from mwanda.model.gguf.file import read_gguf
from mwanda.model.gguf.header import parse_header
from mwanda.model.gguf.older_readers import older_rotary
from mwanda.model.source import open_model
from tests.support.gguf_files import ALSO_READ, ARCHITECTURES, gguf_model, write_gguf
from tests.support.walk import load

LONG = 131072


@pytest.fixture(scope="module")
def llama() -> Any:
    return gguf_model("llama")


def config(tmp_path: Path, architecture: str = "llama", **parts: Any) -> Any:
    """As transformers reads it from the folder made of the file."""
    path = write_gguf(tmp_path / "tiny.gguf", architecture, gguf_model(architecture), **parts)
    with open_model(path, tmp_path) as source:
        return load(source.folder).config


def refused(tmp_path: Path, architecture: str = "llama", **parts: Any) -> str:
    path = write_gguf(tmp_path / "tiny.gguf", architecture, gguf_model(architecture), **parts)
    with pytest.raises(InputError) as caught:
        read_gguf(path)
    assert str(caught.value).startswith(str(path))
    return str(caught.value)


def factors(
    base: float, factor: float, low: float, high: float, context: int, head: int
) -> torch.Tensor:
    """As llama.cpp's converter writes them for Llama 3."""
    found = []
    for i in range(0, head, 2):
        wavelength = 2 * math.pi * base ** (i / head)
        if wavelength < context / high:
            found.append(1.0)
        elif wavelength > context / low:
            found.append(factor)
        else:
            smooth = (context / wavelength - low) / (high - low)
            found.append(1 / ((1 - smooth) / factor + smooth))
    return torch.tensor(found, dtype=torch.float32)


@pytest.mark.parametrize(
    ("factor", "low", "high", "context"),
    [(8.0, 1.0, 4.0, 8192), (32.0, 1.0, 4.0, 8192), (16.0, 1.0, 8.0, 4096), (4.0, 2.0, 6.0, 2048)],
)
def test_scaled_rotary_frequencies_of_llama_3(
    tmp_path: Path, llama: Any, factor: float, low: float, high: float, context: int
) -> None:
    """The numbers are found again from the factors; ``low`` and ``context`` as a ratio."""
    held = factors(1e6, factor, low, high, context, 128)
    fields = {
        "context_length": LONG, "rope.freq_base": 1e6, "rope.dimension_count": 128,
        "attention.key_length": 128, "attention.value_length": 128,
    }  # fmt: skip
    extra = {"rope_freqs.weight": held}
    file = read_gguf(write_gguf(tmp_path / "tiny.gguf", "llama", llama, extra=extra, fields=fields))
    rotary = file.config.rope_parameters
    assert rotary["rope_type"] == "llama3"
    assert rotary["factor"] == factor
    if low == 1:
        assert (rotary["low_freq_factor"], rotary["high_freq_factor"]) == (low, high)
        assert rotary["original_max_position_embeddings"] == context
    found, _ = ROPE_INIT_FUNCTIONS["llama3"](file.config, torch.device("cpu"))
    plain = 1e6 ** (-torch.arange(0, 128, 2, dtype=torch.float32) / 128)
    torch.testing.assert_close(found, plain / held, rtol=2e-4, atol=0)


def test_rotary_frequencies_reach_the_folder(tmp_path: Path) -> None:
    extra = {"rope_freqs.weight": factors(10000.0, 8.0, 1.0, 4.0, 8192, 16)}
    fields = {"context_length": LONG}
    assert config(tmp_path, extra=extra, fields=fields).rope_parameters == {
        "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192, "rope_theta": 10000.0,
    }  # fmt: skip
    assert config(tmp_path, extra={"rope_freqs.weight": torch.ones(8)}).rope_parameters == {
        "rope_type": "default", "rope_theta": 10000.0,
    }  # fmt: skip


@pytest.mark.parametrize(
    "extra",
    [
        torch.tensor([1.0, 2, 1, 3, 1, 4, 1, 5]),
        torch.tensor([1.0, 1, 1, 1, 2, 2, 2, 8]),
        torch.full((5,), 3.0),
    ],
)
def test_rotary_factors_that_no_scaling_makes(tmp_path: Path, extra: torch.Tensor) -> None:
    message = refused(tmp_path, extra={"rope_freqs.weight": extra})
    assert "rotary positions: expected a scaling of rotary frequencies" in message


def test_linear_and_yarn_scaling(tmp_path: Path) -> None:
    linear: dict[str, Any] = {"rope.scaling.type": "linear", "rope.scaling.factor": 4.0}
    assert config(tmp_path, fields=linear).rope_parameters == {
        "rope_type": "linear", "factor": 4.0, "rope_theta": 10000.0,
    }  # fmt: skip
    yarn: dict[str, Any] = {
        "rope.scaling.type": "yarn", "rope.scaling.factor": 4.0, "context_length": LONG,
        "rope.scaling.original_context_length": LONG // 4,
    }  # fmt: skip
    assert config(tmp_path, "qwen2", fields=yarn).rope_parameters == {
        "rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": LONG // 4,
        "rope_theta": 10000.0,
    }  # fmt: skip
    none = {"rope.scaling.type": "none", "rope.scaling.factor": 4.0}
    assert config(tmp_path, fields=none).rope_parameters["rope_type"] == "default"
    found = config(tmp_path, "gemma3", fields=linear).rope_parameters
    assert found["full_attention"]["factor"] == 4.0
    assert found["sliding_attention"]["rope_type"] == "default"
    for fields in (
        {"rope.scaling.type": "ntk", "rope.scaling.factor": 2.0},
        yarn | {"rope.scaling.yarn_log_multiplier": 0.1},
        yarn | {"rope.scaling.attn_factor": 1.5},
        {"rope.dimension_sections": [1, 2, 3, 4]},
    ):
        assert "rotary positions" in refused(tmp_path, "qwen2", fields=fields)


def test_long_and_short_factors(tmp_path: Path) -> None:
    long, short = torch.linspace(1, 8, 8), torch.linspace(1, 2, 8)
    extra = {"rope_factors_long.weight": long, "rope_factors_short.weight": short}
    fields = {
        "rope.scaling.original_context_length": 64, "rope.scaling.attn_factor": 1.25,
        "context_length": 256,
    }  # fmt: skip
    path = write_gguf(
        tmp_path / "tiny.gguf", "phi3", gguf_model("phi3"), extra=extra, fields=fields
    )
    rotary = read_gguf(path).config.rope_parameters
    assert (rotary["rope_type"], rotary["attention_factor"]) == ("longrope", 1.25)
    assert rotary["original_max_position_embeddings"] == 64
    assert rotary["long_factor"] == pytest.approx(long.tolist())
    assert rotary["short_factor"] == pytest.approx(short.tolist())
    del extra["rope_factors_short.weight"]
    assert "factors for long or short text" in refused(tmp_path, "phi3", extra=extra, fields=fields)


def test_fields_that_transformers_passes_over_are_in_the_config(tmp_path: Path) -> None:
    found = config(tmp_path, "gemma2", fields={
        "attn_logit_softcapping": 20.0, "final_logit_softcapping": 12.0,
    })  # fmt: skip
    assert (found.attn_logit_softcapping, found.final_logit_softcapping) == (20.0, 12.0)
    assert config(tmp_path, "phi3", fields={"attention.sliding_window": 9}).sliding_window == 9
    found = config(tmp_path, "starcoder2", fields={"rope.freq_base": 1e5})
    assert found.rope_parameters["rope_theta"] == 1e5
    pattern = {"attention.sliding_window_pattern": [False, True]}
    found = config(tmp_path, "gemma3", fields=pattern)
    assert found.layer_types == ["full_attention", "sliding_attention"]


def test_a_head_of_its_own_is_used_where_transformers_ties_it(tmp_path: Path) -> None:
    head = torch.randn(300, 64)
    path = write_gguf(
        tmp_path / "tiny.gguf", "falcon", gguf_model("falcon"), extra={"output.weight": head}
    )
    with open_model(path, tmp_path) as source:
        made = load(source.folder)
        assert torch.equal(made.lm_head.weight.bfloat16(), head.bfloat16())


def test_the_largest_gemma_scales_by_its_width(tmp_path: Path) -> None:
    fields = {"block_count": 62, "attention.head_count": 2}
    path = write_gguf(tmp_path / "tiny.gguf", "gemma3", gguf_model("gemma3"), fields=fields)
    assert read_gguf(path).config.query_pre_attn_scalar == 32
    path = write_gguf(tmp_path / "tiny.gguf", "gemma3", gguf_model("gemma3"))
    assert read_gguf(path).config.query_pre_attn_scalar == 256


@pytest.mark.parametrize(
    ("architecture", "name", "value"),
    [
        ("llama", "attention.scale", 0.5),
        ("llama", "logit_scale", 0.25),
        ("llama", "attention.sliding_window", 8),
        ("qwen2", "attention.sliding_window", 8),
        ("llama", "final_logit_softcapping", 30.0),
        ("qwen3moe", "expert_weights_scale", 2.5),
        ("qwen3moe", "expert_gating_func", 2),
        ("llama", "expert_count", 8),
        ("llama", "attention.value_length", 32),
        ("llama", "attention.causal", False),
        ("llama", "something.new", 3),
        ("llama", "block_count", 1 << 31),
    ],
)
def test_what_a_config_cannot_hold_is_refused(
    tmp_path: Path, architecture: str, name: str, value: Any
) -> None:
    message = refused(tmp_path, architecture, fields={name: value})
    assert str(value) in message
    assert "original model's folder" in message


@pytest.mark.parametrize("kind", ["mmproj", "adapter"])
def test_a_file_beside_a_model_is_named(tmp_path: Path, kind: str) -> None:
    message = refused(tmp_path, fields={"general.type": kind})
    assert "expected a GGUF file of a language model" in message
    assert kind in message


@pytest.mark.parametrize("architecture", ALSO_READ)
def test_other_architectures_are_read_as_transformers_reads_them(
    tmp_path: Path, architecture: str
) -> None:
    path = write_gguf(tmp_path / "tiny.gguf", architecture, gguf_model(architecture))
    expected = AutoModelForCausalLM.from_pretrained(
        tmp_path, gguf_file=path.name, dtype=torch.bfloat16,
        quantization_config=GgufConfig(dequantize=True),
    )  # fmt: skip
    with open_model(path, tmp_path) as source:
        made = load(source.folder).state_dict()
    for name, tensor in expected.state_dict().items():
        assert torch.equal(made[name].bfloat16(), tensor.bfloat16()), name


def test_a_buffer_that_a_file_lacks(tmp_path: Path) -> None:
    model = gguf_model("minimax-m2")
    path = write_gguf(tmp_path / "tiny.gguf", "minimax-m2", model, without="exp_probs_b")
    with pytest.raises(InputError, match="every weight of the architecture"):  # noqa: SIM117
        with open_model(path, tmp_path):
            pass


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_packed_weights_of_every_architecture(tmp_path: Path, architecture: str) -> None:
    """Unpacked in float32 by the library and rounded once, bit for bit."""
    model = gguf_model(architecture)
    path = write_gguf(tmp_path / "tiny.gguf", architecture, model, kind=Kind.Q8_0)
    expected = AutoModelForCausalLM.from_pretrained(
        tmp_path, gguf_file=path.name, dtype=torch.float32,
        quantization_config=GgufConfig(dequantize=True),
    )  # fmt: skip
    with open_model(path, tmp_path) as source:
        made = load(source.folder).state_dict()
    for name, tensor in expected.state_dict().items():
        assert torch.equal(made[name].bfloat16(), tensor.bfloat16()), name


def test_large_weights_go_in_parts(
    tmp_path: Path, llama: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for architecture in ("llama", "qwen3moe", "gpt2", "gemma3", "lfm2"):
        path = write_gguf(
            tmp_path / "tiny.gguf", architecture, gguf_model(architecture), kind=Kind.Q8_0
        )
        with open_model(path, tmp_path) as source:
            whole = load(source.folder).state_dict()
        with monkeypatch.context() as patch:
            patch.setattr("mwanda.model.gguf.weights.PIECE", 1000)
            with open_model(path, tmp_path) as source:
                parts = load(source.folder).state_dict()
        assert all(torch.equal(parts[name], tensor) for name, tensor in whole.items())


def test_a_large_vocabulary_is_read_at_once(tmp_path: Path) -> None:
    path = tmp_path / "tiny.gguf"
    writer = gguf.GGUFWriter(None, "llama")
    writer.add_token_list([f"token {number}" for number in range(262_144)])
    writer.add_token_scores([float(number) for number in range(262_144)])
    writer.add_tensor("token_embd.weight", np.zeros((2, 2), np.float32))
    writer.write_header_to_file(path)
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    start = time.process_time()
    header = parse_header(path)
    assert time.process_time() - start < 2
    assert header.fields["tokenizer.ggml.tokens"][-1] == "token 262143"
    assert header.fields["tokenizer.ggml.scores"][-1] == 262_143


def test_a_folder_says_its_rotary_base_and_tokenizer_to_older_readers(tmp_path: Path) -> None:
    path = write_gguf(
        tmp_path / "m.gguf", "llama", gguf_model("llama"),
        fields={"rope.freq_base": 77000.0, "rope.scaling.type": "linear",
                "rope.scaling.factor": 4.0},
    )  # fmt: skip
    with open_model(path, tmp_path) as source:
        config = json.loads((source.folder / "config.json").read_text())
        told = json.loads((source.folder / "tokenizer_config.json").read_text())
        again = AutoConfig.from_pretrained(source.folder)
    assert config["rope_theta"] == 77000.0
    assert config["rope_scaling"] == {"rope_type": "linear", "factor": 4.0}
    assert config["rope_parameters"] == again.rope_parameters
    assert again.rope_parameters == {"rope_type": "linear", "factor": 4.0, "rope_theta": 77000.0}
    assert told["tokenizer_class"] == "PreTrainedTokenizerFast"


def test_older_names_of_rotary_positions() -> None:
    full = {"rope_type": "default", "rope_theta": 1e6}
    windowed = {"rope_type": "default", "rope_theta": 1e4}
    nested = {"full_attention": full, "sliding_attention": windowed}
    assert older_rotary({"rope_parameters": nested}) == {
        "rope_theta": 1e6, "rope_local_base_freq": 1e4,
    }  # fmt: skip
    partial = full | {"partial_rotary_factor": 0.25}
    assert older_rotary({"rope_parameters": partial}) == {
        "rope_theta": 1e6, "partial_rotary_factor": 0.25,
    }  # fmt: skip
    assert older_rotary({}) == older_rotary({"rope_parameters": None}) == {}
