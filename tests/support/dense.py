"""Tiny dense decoders beside those of the main path: what each family does differently is on."""

from __future__ import annotations

from typing import Any

from transformers import (
    Cohere2Config,
    FalconConfig,
    Gemma2Config,
    GPTJConfig,
    GPTNeoXConfig,
    GraniteConfig,
    MistralConfig,
    Olmo2Config,
    Olmo3Config,
    OPTConfig,
    Phi3Config,
    PhiConfig,
    PreTrainedConfig,
    Qwen2Config,
    SmolLM3Config,
    StableLmConfig,
    Starcoder2Config,
    XGLMConfig,
)

DENSE_FAMILIES: tuple[str, ...] = (
    "mistral", "qwen2", "gemma2", "cohere2", "olmo2", "olmo3", "opt", "opt-post", "gpt_neox",
    "gpt_neox-serial", "falcon-alibi", "falcon-rotary", "falcon-new", "phi", "phi3", "xglm",
    "starcoder2", "gptj", "stablelm", "stablelm-parallel", "smollm3", "granite",
)  # fmt: skip

WINDOW = 8

_TOKENS = ("bos_token_id", "eos_token_id", "pad_token_id", "tie_word_embeddings")


def dense_config(family: str, common: dict[str, Any]) -> PreTrainedConfig:
    """The configuration of a tiny model; ``common`` is what a tiny decoder has anyway.

    Raises:
        ValueError: a family that is not here.
    """
    hidden, heads = common["hidden_size"], common["num_attention_heads"]
    layers, wide = common["num_hidden_layers"], common["intermediate_size"]
    context = common["max_position_embeddings"]
    single = {key: value for key, value in common.items() if key != "num_key_value_heads"}
    short = {key: common[key] for key in ("vocab_size", *_TOKENS) if key in common}
    mixed = ["sliding_attention", "full_attention"] * layers
    sliding = {**common, "sliding_window": WINDOW, "layer_types": mixed[:layers]}
    falcon = {
        **short, "hidden_size": hidden, "ffn_hidden_size": wide, "num_hidden_layers": layers,
        "num_attention_heads": heads, "max_position_embeddings": context, "bias": True,
    }  # fmt: skip
    opt = {
        **short, "hidden_size": hidden, "ffn_dim": wide, "num_hidden_layers": layers,
        "num_attention_heads": heads, "max_position_embeddings": context,
    }  # fmt: skip
    match family:
        case "mistral":
            return MistralConfig(**common, sliding_window=WINDOW)
        case "qwen2":
            return Qwen2Config(**common)
        case "gemma2":
            return Gemma2Config(
                **sliding, head_dim=16, query_pre_attn_scalar=16,
                attn_logit_softcapping=5.0, final_logit_softcapping=8.0,
            )  # fmt: skip
        case "cohere2":
            return Cohere2Config(**sliding)
        case "olmo2":
            return Olmo2Config(**common)
        case "olmo3":
            return Olmo3Config(**sliding)
        case "opt":
            return OPTConfig(**opt)
        case "opt-post":  # as the 350M model: norms after, an embedding narrower than the blocks
            return OPTConfig(**opt, do_layer_norm_before=False, word_embed_proj_dim=32)
        case "gpt_neox":
            return GPTNeoXConfig(**single)
        case "gpt_neox-serial":
            return GPTNeoXConfig(**single, use_parallel_residual=False)
        case "falcon-alibi":
            return FalconConfig(**falcon, alibi=True, multi_query=False, parallel_attn=False)
        case "falcon-rotary":
            return FalconConfig(**falcon, multi_query=True, parallel_attn=True)
        case "falcon-new":
            return FalconConfig(**falcon, new_decoder_architecture=True, num_kv_heads=2)
        case "phi":
            return PhiConfig(**common, qk_layernorm=True)
        case "phi3":
            return Phi3Config(**common, sliding_window=WINDOW)
        case "xglm":
            return XGLMConfig(
                **short, d_model=hidden, ffn_dim=wide, num_layers=layers, attention_heads=heads,
                max_position_embeddings=context,
            )  # fmt: skip
        case "starcoder2":
            return Starcoder2Config(**common, sliding_window=WINDOW)
        case "gptj":
            return GPTJConfig(
                **short, n_embd=hidden, n_layer=layers, n_head=heads, n_inner=wide,
                n_positions=context, rotary_dim=8,
            )  # fmt: skip
        case "stablelm":
            return StableLmConfig(**common, partial_rotary_factor=0.5)
        case "stablelm-parallel":
            parallel = {
                "partial_rotary_factor": 0.5,
                "use_parallel_residual": True,
                "qk_layernorm": True,
                "use_qkv_bias": True,
            }
            return StableLmConfig(**common, **parallel)
        case "smollm3":
            return SmolLM3Config(**common, no_rope_layer_interval=2)
        case "granite":
            return GraniteConfig(
                **common, embedding_multiplier=3.0, attention_multiplier=0.2,
                residual_multiplier=0.7, logits_scaling=1.7,
            )  # fmt: skip
    raise ValueError(f"unknown family {family!r}")
