"""Tiny models written as GGUF, as converters to that format do it: for tests of reading it.

Names come from the format's own table. What converters do to the values is done here as well:
rotary rows in another order (Llama), 1 added to norms (Gemma, Nemotron), matrices turned (GPT-2),
queries, keys and values apart (BLOOM), all experts of a layer in one tensor.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import gguf
import torch
from gguf import GGMLQuantizationType, GGUFWriter, TokenType
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, PreTrainedConfig

from tests.support.models import BOS, EOS, PAD, VOCABULARY, redraw, tiny_tokenizer

__all__ = ["ALSO_READ", "ARCHITECTURES", "gguf_model", "write_gguf"]

HIDDEN, WIDE, CONTEXT = 64, 96, 128

_PLAIN: dict[str, Any] = {
    "vocab_size": VOCABULARY, "hidden_size": HIDDEN, "intermediate_size": WIDE,
    "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "max_position_embeddings": CONTEXT, "bos_token_id": BOS, "eos_token_id": EOS,
    "pad_token_id": PAD,
}  # fmt: skip
_EXPERTS: dict[str, Any] = {"num_experts": 4, "num_experts_per_tok": 2}
# What a GGUF does not say stays at the class's own value.
ARCHITECTURES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", {"tie_word_embeddings": False}),
    "qwen2": ("qwen2", {}),
    "qwen3": ("qwen3", {"head_dim": 128}),
    "gemma2": ("gemma2", {"head_dim": 32, "sliding_window": 8}),
    "gemma3": ("gemma3_text", {"head_dim": 32, "sliding_window": 8}),
    "phi3": ("phi3", {}),
    "stablelm": ("stablelm", {}),
    "starcoder2": ("starcoder2", {}),
    "nemotron": ("nemotron", {"tie_word_embeddings": False, "head_dim": 16}),
    "gpt2": ("gpt2", {}),
    "bloom": ("bloom", {}),
    "falcon": ("falcon", {}),
    "qwen2moe": ("qwen2_moe", _EXPERTS | {"num_key_value_heads": 4}),
    "qwen3moe": ("qwen3_moe", _EXPERTS | {"head_dim": 32, "norm_topk_prob": True}),
    "lfm2": (
        "lfm2", {"layer_types": ["conv", "full_attention"], "block_auto_adjust_ff_dim": False},
    ),
}  # fmt: skip
"""``general.architecture`` -> model type and fields of a tiny model."""

ALSO_READ: dict[str, tuple[str, dict[str, Any]]] = {
    "mamba": ("mamba", {"state_size": 8, "intermediate_size": 128}),
    "minimax-m2": (
        "minimax_m2", {"num_local_experts": 4, "num_experts_per_tok": 2, "head_dim": 16},
    ),
    "qwen35": (
        "qwen3_5_text",
        {
            "linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 16,
            "linear_value_head_dim": 16, "head_dim": 32, "full_attention_interval": 2,
            "layer_types": ["linear_attention", "full_attention"],
        },
    ),
}  # fmt: skip
"""Others that transformers reads: their values are not put in a GGUF as converters do it, so only
what comes out is compared."""

ALSO_SAID: dict[str, dict[str, Any]] = {
    "mamba": {
        "ssm.conv_kernel": 4, "ssm.state_size": 8, "ssm.time_step_rank": 4, "ssm.inner_size": 128,
        "attention.head_count": 0, "attention.head_count_kv": 0, "attention.key_length": 0,
        "rope.dimension_count": 0,
    },
    "minimax-m2": {
        "expert_count": 4, "expert_used_count": 2, "expert_gating_func": 2,
        "expert_feed_forward_length": WIDE,
    },
    "qwen35": {
        "full_attention_interval": 2, "ssm.conv_kernel": 4, "ssm.state_size": 16,
        "ssm.group_count": 2, "ssm.time_step_rank": 4, "ssm.inner_size": 64,
        "rope.dimension_sections": [2, 1, 1, 0], "rope.dimension_count": 8,
    },
}  # fmt: skip


def gguf_model(architecture: str, **other: Any) -> Any:
    """A tiny random model that a GGUF of this architecture can hold.

    Args:
        other: fields of its config.
    """
    kind, own = (ARCHITECTURES | ALSO_READ)[architecture]
    fields = _PLAIN | own
    if kind == "gpt2":
        fields |= {"max_position_embeddings": 1024, "n_inner": 4 * HIDDEN}
    config = CONFIG_MAPPING[kind](**(fields | other))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model: Any = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    redraw(model, 0)
    return model.eval()


def write_gguf(
    path: Path,
    architecture: str,
    model: Any,
    *,
    kind: GGMLQuantizationType = GGMLQuantizationType.F32,
    without: str = "",
    extra: Mapping[str, torch.Tensor] = MappingProxyType({}),
    fields: Mapping[str, Any] = MappingProxyType({}),
    **shards: int,
) -> Path:
    """Write a model as GGUF.

    Args:
        kind: of the matrices; vectors stay float32.
        without: leaves out tensors in whose name this is found.
        extra: tensors to add, by their names in the file.
        fields: to add, by their names after the architecture's; or to write instead of others,
            None for none.
        shards: ``split_max_tensors``, for several files.
    """
    writer = GGUFWriter(None, architecture, **shards)
    _describe(writer, architecture, model.config)
    _tokenizer(writer)
    for name, value in (ALSO_SAID.get(architecture, {}) | dict(fields)).items():
        _add(
            writer,
            name if name.startswith(("general.", "tokenizer.")) else f"{architecture}.{name}",
            value,
        )
    names = gguf.get_tensor_name_map(_known(architecture), model.config.num_hidden_layers)
    for name, tensor in _tensors(model):
        name = name.replace(".dt_bias", ".dt_proj.bias")
        name = name.replace(".e_score_correction_bias", ".e_score_correction.bias")
        base, dot, suffix = name.rpartition(".")
        if suffix in ("A_log", "D"):
            base, dot, suffix = name, "", ""
        elif suffix not in ("weight", "bias"):
            base, dot, suffix = name, ".", "weight"
        stored = names.get_name(base) or names.get_name(base.removeprefix("transformer."))
        if stored is None:
            raise ValueError(f"{name} has no name in {architecture}")
        if without and without in stored:
            continue
        values = _converted(architecture, f"{stored}{dot}{suffix}", tensor, model.config)
        if values.dim() > 1 and values.shape[-1] % 32 == 0 and kind != GGMLQuantizationType.F32:
            writer.add_tensor(
                f"{stored}{dot}{suffix}", gguf.quantize(values.numpy(), kind), raw_dtype=kind
            )
        else:
            writer.add_tensor(f"{stored}{dot}{suffix}", values.contiguous().numpy())
    for name, values in extra.items():
        writer.add_tensor(name, values.numpy())
    writer.write_header_to_file(path)
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add(writer: GGUFWriter, name: str, value: Any) -> None:
    writer.kv_data[0].pop(name, None)
    match value:
        case None:
            pass
        case bool():
            writer.add_bool(name, value)
        case int():
            writer.add_uint32(name, value)
        case float():
            writer.add_float32(name, value)
        case str():
            writer.add_string(name, value)
        case _:
            writer.add_array(name, value)


def _known(architecture: str) -> Any:
    return next(key for key, name in gguf.MODEL_ARCH_NAMES.items() if name == architecture)


def _describe(writer: GGUFWriter, architecture: str, config: PreTrainedConfig) -> None:
    heads = getattr(config, "num_attention_heads", 4)
    grouped = getattr(config, "num_key_value_heads", None) or heads
    if architecture == "lfm2":
        grouped = [0 if kind == "conv" else grouped for kind in config.layer_types]
        writer.add_shortconv_l_cache(config.conv_L_cache)
    if architecture == "falcon" and config.multi_query:
        grouped = 1
    if architecture in ("gpt2", "bloom"):
        grouped = heads
    head = getattr(config, "head_dim", None) or config.hidden_size // heads
    writer.add_context_length(getattr(config, "max_position_embeddings", CONTEXT))
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    wide = getattr(config, "n_inner", None) or getattr(config, "intermediate_size", None)
    writer.add_feed_forward_length(wide or 4 * config.hidden_size)
    writer.add_head_count(heads)
    writer.add_head_count_kv(grouped)
    writer.add_key_length(head)
    rotary = getattr(config, "rope_parameters", None) or {}
    writer.add_rope_dimension_count(int(head * rotary.get("partial_rotary_factor", 1)))
    writer.add_vocab_size(config.vocab_size)
    rms = getattr(config, "rms_norm_eps", None) or getattr(config, "norm_eps", None)
    writer.add_layer_norm_rms_eps(rms or 1e-5)
    names = ("layer_norm_eps", "layer_norm_epsilon", "norm_epsilon")
    writer.add_layer_norm_eps(next((getattr(config, n) for n in names if hasattr(config, n)), 1e-5))
    base = rotary.get("rope_theta") or rotary.get("full_attention", {}).get("rope_theta")
    if base is not None:
        writer.add_rope_freq_base(base)
    if getattr(config, "sliding_window", None):
        writer.add_sliding_window(config.sliding_window)
    if getattr(config, "num_experts", None):
        writer.add_expert_count(config.num_experts)
        writer.add_expert_used_count(config.num_experts_per_tok)


def _tokenizer(writer: GGUFWriter) -> None:
    held = {number: token for token, number in tiny_tokenizer().get_vocab().items()}
    tokens = [held.get(number, f"spare{number}") for number in range(VOCABULARY)]
    types = [
        TokenType.CONTROL if number in (PAD, BOS, EOS)
        else TokenType.NORMAL if number in held else TokenType.UNUSED
        for number in range(VOCABULARY)
    ]  # fmt: skip
    tokens[-1], types[-1] = "ab", TokenType.NORMAL
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2" if writer.arch == "qwen2" else "default")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(BOS)
    writer.add_eos_token_id(EOS)
    writer.add_pad_token_id(PAD)
    writer.add_add_bos_token(True)


def _tensors(model: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """The weights under names the format's table knows: tied ones once, fused experts apart."""
    tied = model.config.tie_word_embeddings
    for name, values in model.state_dict().items():
        if name.startswith("lm_head") and tied:
            continue
        if name.endswith(".experts.gate_up_proj"):
            for leaf, half in zip(("gate_proj", "up_proj"), values.chunk(2, dim=1), strict=True):
                yield name.replace("gate_up_proj", leaf), half
        else:
            yield name, values


def _converted(
    architecture: str, stored: str, values: torch.Tensor, config: PreTrainedConfig
) -> torch.Tensor:
    turned = ("attn_qkv.weight", "ffn_down.weight", "ffn_up.weight", "attn_output.weight")
    match architecture:
        case "llama" if ".attn_q." in stored:
            return _interleaved(values, config.num_attention_heads)
        case "llama" if ".attn_k." in stored:
            return _interleaved(values, config.num_key_value_heads)
        case "gemma2" | "gemma3" | "nemotron" if stored.endswith("norm.weight"):
            return values + 1
        case "gpt2" if stored.endswith(turned):
            return values.t()
        case "bloom" if "attn_qkv" in stored:
            apart = values.unflatten(0, (config.n_head, 3, -1))
            return apart.transpose(0, 1).reshape(values.shape)
        case "lfm2" if ".shortconv.conv." in stored:
            return values.squeeze(1)
        case "mamba" | "qwen35" if stored.endswith("ssm_a"):
            return -values.exp()
        case "mamba" | "qwen35" if stored.endswith("ssm_conv1d.weight"):
            return values.squeeze(1)
        case "qwen2moe" if "ffn_gate_inp_shexp" in stored:
            return values.squeeze(0)
    return values


def _interleaved(values: torch.Tensor, heads: int) -> torch.Tensor:
    """The two halves of each head's rows, which rotate together, row by row in turn."""
    return values.unflatten(0, (heads, 2, -1)).transpose(1, 2).reshape(values.shape)
