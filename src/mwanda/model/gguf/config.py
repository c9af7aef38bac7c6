"""The transformers config that a GGUF file describes: transformers' own reading of it, and what
that leaves out.

transformers reads some of an architecture's fields and takes its class's defaults for the rest.
Here every field counts: it is in the config, or it is put there, or the file is refused.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from mwanda.errors import InputError, shown
from mwanda.model.gguf.header import ORIGINAL, GgufHeader
from mwanda.model.gguf.rope import SCALING, rotary_fields
from mwanda.model.gguf.told import as_transformers

SPARE_BLOCKS = 1000
"""Blocks without a tensor that may be looked for; a number can be anything."""

NORMS = {"attention.layer_norm_epsilon", "attention.layer_norm_rms_epsilon"}
EPSILONS = ("rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon", "norm_eps", "norm_epsilon")
FOLLOWED: Mapping[str, tuple[str, ...]] = {
    "attention.head_count": ("num_attention_heads",),
    "attention.head_count_kv": ("num_key_value_heads", "num_kv_heads", "num_attention_heads"),
    "attention.key_length": ("head_dim",),
    "attention.value_length": ("head_dim",),
    "attention.key_length_swa": ("head_dim",),
    "attention.value_length_swa": ("head_dim",),
    "attention.layer_norm_epsilon": EPSILONS,
    "attention.layer_norm_rms_epsilon": EPSILONS,
    "attention.sliding_window": ("sliding_window",),
    "attention.shared_kv_layers": ("num_kv_shared_layers",),
    "attention.scale": (),
    "attn_logit_softcapping": ("attn_logit_softcapping",),
    "final_logit_softcapping": ("final_logit_softcapping",),
    "embedding_length_per_layer_input": ("hidden_size_per_layer_input",),
    "expert_count": ("num_experts", "num_local_experts"),
    "expert_used_count": ("num_experts_per_tok",),
    "expert_feed_forward_length": ("moe_intermediate_size",),
    "expert_shared_feed_forward_length": ("shared_expert_intermediate_size",),
    "expert_weights_scale": ("routed_scaling_factor",),
    "expert_weights_norm": ("norm_topk_prob",),
    "logit_scale": ("logit_scale",),
    "use_parallel_residual": ("use_parallel_residual",),
    "context_length": ("max_position_embeddings",),
    "feed_forward_length": ("n_inner",),
}
"""What else a file says, and the config's field for it, the first that there is."""

NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "attention.causal": (True,),
    "expert_weights_scale": (0.0, 1.0),
    "attention.scale": (0.0,),
    "logit_scale": (0.0, 1.0),
    "embedding_scale": (0.0, 1.0),
    "residual_scale": (0.0, 1.0),
    "expert_gating_func": (1,),  # a softmax, as in every class that has no field for it
    "expert_count": (0,),
    "expert_used_count": (0,),
    "attention.head_count": (0,),
    "attention.head_count_kv": (0,),
}
"""Values that change nothing in a class without a field; of any other number it is 0."""

SCALED_BY_WIDTH = (("gemma2", 46), ("gemma3_text", 62))
"""Model types and blocks (27 billion weights) whose queries are scaled by the width of the model a
head, and not by the head's own: no field says so, and programs that run GGUF go by the blocks."""

SHAPES = ("vocab_size", "embedding_length", "block_count", "tensor_data_layout", "pooling_type",
          "decoder_start_token_id")  # fmt: skip
"""What the weights' shapes tell again, or what no forward depends on."""


def read_config(header: GgufHeader) -> tuple[Any, dict[str, Any], frozenset[str]]:
    """The config; what transformers makes of the file, by its names; tensors that are in both."""
    _refuse_no_model(header)
    _refuse_senseless(header)
    told, taken = as_transformers(header)
    made = _config(told)
    extra = _followed(header, told, taken, made)
    if told.get("tie_word_embeddings") and "output.weight" in header.names:
        extra["tie_word_embeddings"] = False
    if (made.model_type, told.get("num_hidden_layers")) in SCALED_BY_WIDTH:
        extra["query_pre_attn_scalar"] = _head_dim(made)
    rotary, tensors = rotary_fields(header, _config(told | extra))
    config = _config(told | extra | rotary)
    for name, value in extra.items():
        if name in FOLLOWED_BACK and not _same(getattr(config, name, None), value):
            raise _lost(header, FOLLOWED_BACK[name], value, f"{type(config).__name__}.{name}")
    return config, told, tensors


FOLLOWED_BACK = {name: key for key, names in FOLLOWED.items() for name in names}


def _refuse_no_model(header: GgufHeader) -> None:
    """Refuse, by what it is, a file that is a part of a model or something beside one."""
    kind = header.fields.get("general.type", "model")
    vision = header.architecture == "clip" or kind == "mmproj"
    if vision or kind != "model" or any(".vision." in name for name in header.fields):
        found = "the vision or sound tower of one (mmproj)" if vision else shown(str(kind))
        raise InputError(
            str(header.path),
            expected="a GGUF file of a language model",
            found=found if vision or kind != "model" else "a vision tower in it",
            fix="give the file of the language model itself",
        )
    blocks = header.own.get("block_count")
    if isinstance(blocks, int) and blocks > len(header.tensors) + SPARE_BLOCKS:
        raise InputError(
            str(header.path),
            expected="no more blocks than tensors",
            found=f"{blocks} blocks of {len(header.tensors)} tensors",
            fix=ORIGINAL,
        )


def _refuse_senseless(header: GgufHeader) -> None:
    """Refuse numbers that no model works with, by what they are."""
    for name, value in header.own.items():
        base = name.startswith("rope.freq_base")
        signed = not name.startswith("rope.") and not name.endswith(("epsilon", "softcapping"))
        for one in value if isinstance(value, list) else [value]:
            if not isinstance(one, int | float) or (
                math.isfinite(one) and (signed or one > 0 or (one == 0 and not base))
            ):
                continue
            raise InputError(
                f"{header.path}: {shown(f'{header.architecture}.{name}')}",
                expected="a number above 0"
                if base
                else "a finite number" + ("" if signed else " of 0 or more"),
                found=str(one),
                fix=ORIGINAL,
            )


def _config(told: Mapping[str, Any]) -> Any:
    from transformers import CONFIG_MAPPING

    return CONFIG_MAPPING[told["model_type"]].from_dict(dict(told))


def _followed(
    header: GgufHeader, told: Mapping[str, Any], taken: Mapping[str, str | None], made: Any
) -> dict[str, Any]:
    """Fields to put into a config that transformers leaves at the class's defaults."""
    extra: dict[str, Any] = {}
    own = header.own
    normed = NORMS & taken.keys() & own.keys()  # an architecture has one kind
    same, plain = made.attribute_map, type(made)()
    read = {same.get(name, name) for name in told}
    for name, value in own.items():
        if name in SHAPES or name.startswith(("rope.", *SCALING)):
            continue
        there = taken.get(name)
        if name in taken and (name not in FOLLOWED or there is None or hasattr(plain, there)):
            continue
        if name == "attention.sliding_window_pattern":
            extra |= _pattern(header, value, made)
            continue
        if normed and "norm" in name and name.endswith("epsilon"):
            continue
        field = next((one for one in FOLLOWED.get(name, ()) if hasattr(made, one)), None)
        held = getattr(made, field) if field is not None else None
        if held is None and name.endswith(("key_length", "value_length")):
            held = _head_dim(made)
        if held is not None and _same(held, value):
            continue
        if _neutral(name, value) and not held:
            continue
        key = f"{header.architecture}.{name}"
        if field is None:
            experts = name.startswith("expert_") and name.endswith("feed_forward_length")
            if experts or name in ("context_length", "feed_forward_length"):
                continue  # as the weights' shapes say, or no forward of the class asks
            raise _lost(header, key, value, f"{type(made).__name__} has no place for it")
        windowless = getattr(made, "use_sliding_window", True) is False
        if same.get(field, field) in read or (windowless and name == "attention.sliding_window"):
            raise _lost(header, key, value, f"{field} {held!r} in {type(made).__name__}")
        extra[field] = value
    return extra


def _pattern(header: GgufHeader, value: Any, made: Any) -> dict[str, Any]:
    """The kinds of the layers, where a file says which of them see a window only."""
    count = made.num_hidden_layers
    if isinstance(value, list):
        windowed = [bool(one) for one in value]
    else:
        windowed = [bool(value and (number + 1) % value) for number in range(count)]
    kinds = ["sliding_attention" if one else "full_attention" for one in windowed]
    if getattr(made, "layer_types", None) is None and any(windowed):
        key = f"{header.architecture}.attention.sliding_window_pattern"
        raise _lost(header, key, value, f"{type(made).__name__} has no kinds of layers")
    return {"layer_types": kinds} if getattr(made, "layer_types", kinds) != kinds else {}


def _head_dim(made: Any) -> int | None:
    heads = getattr(made, "num_attention_heads", None)
    return int(made.hidden_size) // int(heads) if heads else None


def _neutral(name: str, value: Any) -> bool:
    if name in NEUTRAL:
        return value in NEUTRAL[name]
    return isinstance(value, bool | int | float) and not value


def _same(there: Any, value: Any) -> bool:
    if isinstance(there, float) or isinstance(value, float):
        numbers = isinstance(there, int | float) and isinstance(value, int | float)
        return numbers and math.isclose(there, value, rel_tol=1e-6)
    return bool(there == value)


def _lost(header: GgufHeader, key: str, value: Any, found: str) -> InputError:
    said = shown(str(value))[:40]
    what = f"{header.path}: {shown(key)} = {said}"
    expected = "fields of which transformers' config for this architecture has each"
    return InputError(what, expected=expected, found=found, fix=ORIGINAL)
