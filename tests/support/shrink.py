"""The configuration of any causal class of transformers made tiny, by the names its fields have.

What the fields mean is much the same wherever they have the same name, so one table of sizes does
for nearly every class; the few that need more have a line of their own in ``_OWN``.
"""

from __future__ import annotations

from typing import Any

from transformers import CONFIG_MAPPING, PreTrainedConfig

from tests.support.models import BOS, EOS, PAD, VOCABULARY

_SIZES: tuple[tuple[int, str], ...] = (
    (VOCABULARY, "vocab_size decoder_vocab_size vocab_size_per_layer_input unpadded_vocab_size"),
    (
        64,
        "intermediate_size ffn_dim n_inner dff dim_ff ffn_hidden_size decoder_ffn_dim d_inner"
        " encoder_ffn_dim intermediate_size_mlp dense_intermediate_size feed_forward_size"
        " max_position_embeddings n_positions max_seq_len n_ctx max_target_positions"
        " context_length model_max_length max_source_positions mamba_d_ssm",
    ),
    (
        32,
        "hidden_size n_embd d_model emb_dim embedding_size word_embed_proj_dim embedding_dim"
        " input_embedding_size output_embedding_size lru_width"
        " pronunciation_embed_dim shape_embed_dim",
    ),
    (
        16,
        "moe_intermediate_size shared_expert_intermediate_size expert_ffn_hidden_size"
        " shared_intermediate_size moe_shared_expert_intermediate_size image_size"
        " shared_experts_intermediate_size q_lora_rank kv_lora_rank o_lora_rank adapter_rank"
        " hidden_size_per_layer_input backbone_hidden_size ple_embed_dim hc_lowrank"
        " router_hidden_size mamba_d_head mamba_head_dim mamba_headdim",
    ),
    (
        8,
        "head_dim v_head_dim qk_rope_head_dim qk_nope_head_dim dim_head d_head"
        " attention_head_size swa_head_dim sliding_window sliding_window_size"
        " attention_window_size local_attention window_size linear_key_head_dim"
        " linear_value_head_dim linear_head_dim mamba_d_state state_size ssm_state_size rotary_dim"
        " global_head_dim index_head_dim kv_channels attention_chunk_size laurel_rank chunk_size"
        " mamba_chunk_size patch_size index_topk pronunciation_vocab_size shape_vocab_size",
    ),
    (
        4,
        "num_attention_heads n_head n_heads num_heads attention_heads decoder_attention_heads"
        " encoder_attention_heads num_decoder_attention_heads num_encoder_attention_heads"
        " swa_num_attention_heads num_experts n_routed_experts num_local_experts moe_num_experts"
        " linear_num_value_heads linear_num_heads mamba_n_heads mamba_num_heads index_n_heads"
        " time_step_rank mamba_dt_rank n_mamba_heads",
    ),
    (
        2,
        "num_hidden_layers n_layer n_layers num_layers decoder_layers encoder_layers depth"
        " num_decoder_layers num_encoder_layers num_blocks num_key_value_heads num_kv_heads"
        " swa_num_key_value_heads num_experts_per_tok num_experts_per_token moe_topk moe_k"
        " linear_num_key_heads num_layers_per_stack",
    ),
    (1, "n_group topk_group num_expert_group n_groups mamba_n_groups mamba_ngroups"),
    (PAD, "pad_token_id"),
    (BOS, "bos_token_id sep_token_id cls_token_id"),
    (EOS, "eos_token_id"),
)
SIZES: dict[str, int] = {name: size for size, names in _SIZES for name in names.split()}

_OWN: dict[str, dict[str, Any]] = {
    "cohere_compass_text": {"layer_types": ["full_attention", "full_attention"]},
    "deepseek_v2": {"num_experts_per_tok": 2, "first_k_dense_replace": 1},
    "blt": {"encoder_hash_byte_group_vocab": 100},
    "dots1": {"n_routed_experts": 4, "n_shared_experts": 1, "num_experts_per_tok": 2},
    "gemma3n_text": {"num_kv_shared_layers": 0},
    "gemma4_text": {"hidden_size_per_layer_input": 16},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "hunyuan_v1_dense": {"head_dim": 8},
    "hunyuan_v1_moe": {"head_dim": 8, "num_experts": 4, "moe_topk": 2},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"], "num_dense_layers": 1},
    "mamba2": {"num_heads": 8, "head_dim": 8},
    "ministral": {"head_dim": 8},
    "nemotron": {"head_dim": 8, "num_key_value_heads": 2},
    "recurrent_gemma": {"block_types": ["recurrent", "attention"]},
    "reformer": {"axial_pos_embds_dim": [16, 16], "axial_pos_shape": [8, 8]},
    "xmod": {"default_language": "en_XX"},
    "zamba": {"layers_block_type": ["hybrid", "hybrid"], "attention_head_dim": 16},
    "zamba2": {"layers_block_type": ["mamba", "hybrid"], "mamba_headdim": 16},
    "zaya": {"num_experts_per_tok": 1},
}
"""Model type -> fields that this class wants otherwise."""


def tiny_fields(config: PreTrainedConfig) -> dict[str, Any]:
    """The fields, of a configuration as by default, that must be smaller."""
    fields: dict[str, Any] = {}
    for name, value in vars(config).items():
        if isinstance(value, PreTrainedConfig):
            fields[name] = tiny_fields(value)
        elif name in SIZES and isinstance(value, int):
            fields[name] = SIZES[name]
    if "kv_lora_rank" in fields and "num_key_value_heads" in fields:
        fields["num_key_value_heads"] = fields["num_attention_heads"]  # latents, not groups
    if hasattr(config, "is_decoder"):
        fields["is_decoder"] = True
    return fields | _OWN.get(config.model_type, {})


def tiny_config(model_type: str) -> PreTrainedConfig:
    """A configuration of that model type, with every size small."""
    kind = CONFIG_MAPPING[model_type]
    return kind(**tiny_fields(kind()))
