"""The transformers config that a GGUF file describes: transformers' own reading of it, and what
that leaves out.

transformers reads some of an architecture's fields and takes its class's defaults for the rest.
Here every field counts: it is in the config, or it is put there, or the file is refused.
"""

from __future__ import annotations

import math
import struct
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mwanda.errors import InputError, shown
from mwanda.model.gguf.header import ALIGNMENT, GgufHeader
from mwanda.model.gguf.rope import SCALING, rotary_fields

ORIGINAL = "give the original model's folder (safetensors) instead"

LONG = 1000
"""Values of an array from which on it is a vocabulary, which no config is made of."""

SPARE_BLOCKS = 1000
"""Blocks without a tensor that may be looked for; a number can be anything."""

TOKENS = "tokenizer.ggml.tokens"
STAND_IN = ["a", "b"]
"""Instead of the vocabulary where only its length matters, which is then mended."""

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

SHAPES = ("vocab_size", "embedding_length", "block_count", "feed_forward_length", "context_length",
          "tensor_data_layout", "pooling_type", "decoder_start_token_id")  # fmt: skip
"""What the weights' shapes tell again, or what no forward depends on."""


def read_config(header: GgufHeader) -> tuple[Any, dict[str, Any], frozenset[str]]:
    """The config; what transformers makes of the file, by its names; tensors that are in both."""
    _refuse_no_model(header)
    told, taken = _as_transformers(header)
    made = _config(told)
    extra = _followed(header, told, taken, made)
    rotary, tensors = rotary_fields(header, made)
    if told.get("tie_word_embeddings") and "output.weight" in header.names:
        extra["tie_word_embeddings"] = False
    if (made.model_type, told.get("num_hidden_layers")) in SCALED_BY_WIDTH:
        extra["query_pre_attn_scalar"] = _head_dim(made)
    if not extra and not rotary:
        return made, told, tensors
    config = _config(told | extra | rotary)
    for name, value in extra.items():
        if name in FOLLOWED_BACK and not _same(getattr(config, name, None), value):
            raise _lost(header, FOLLOWED_BACK[name], value, f"{type(config).__name__}.{name}")
    return config, told, tensors


FOLLOWED_BACK = {name: key for key, names in FOLLOWED.items() for name in names}


@contextmanager
def _described(header: GgufHeader) -> Iterator[Path]:
    """A small GGUF file with what this one says, but for the vocabulary and the weights.

    transformers makes configs of files only, and reads all that is in them, some times over.
    """
    long = {n for n, held in header.fields.items() if isinstance(held, list) and len(held) > LONG}
    spans = {n: span for n, span in header.spans.items() if n not in long | {TOKENS}}
    with header.path.open("rb") as file:
        fields = []
        for start, end in spans.values():
            file.seek(start)
            fields.append(file.read(end - start))
    if TOKENS in header.fields:
        packed = b"".join(_text(token) for token in STAND_IN)
        fields.append(_text(TOKENS) + struct.pack("<IIQ", 9, 8, len(STAND_IN)) + packed)
    # One number for each tensor, all of them the same one: only names are looked at.
    tensors = [_text(name) + struct.pack("<IQIQ", 1, 1, 0, 0) for name in header.names]
    front = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(fields))
    raw = front + b"".join([*fields, *tensors])
    align = header.fields.get("general.alignment", ALIGNMENT)
    with tempfile.TemporaryDirectory(prefix="mwanda-gguf-") as folder:
        path = Path(folder) / "described.gguf"
        path.write_bytes(raw + bytes(-len(raw) % align + align))
        yield path


def _text(text: str) -> bytes:
    raw = text.encode()
    return struct.pack("<Q", len(raw)) + raw


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
    blocks = header.fields.get(f"{header.architecture}.block_count")
    if isinstance(blocks, int) and blocks > len(header.tensors) + SPARE_BLOCKS:
        raise InputError(
            str(header.path),
            expected="no more blocks than tensors",
            found=f"{blocks} blocks of {len(header.tensors)} tensors",
            fix=ORIGINAL,
        )


def _config(told: Mapping[str, Any]) -> Any:
    from transformers import CONFIG_MAPPING

    return CONFIG_MAPPING[told["model_type"]].from_dict(dict(told))


class _Read(dict[str, Any]):
    """Metadata that knows what was asked of it."""

    def __init__(self, fields: Mapping[str, Any]) -> None:
        super().__init__(fields)
        self.taken: set[str] = set()

    def __getitem__(self, key: str) -> Any:
        self.taken.add(key)
        return super().__getitem__(key)

    def get(self, key: str, default: Any = None) -> Any:
        self.taken.add(key)
        return super().get(key, default)


def _as_transformers(header: GgufHeader) -> tuple[dict[str, Any], set[str]]:
    """What transformers reads, by the names of its config, and the fields it read that from."""
    from transformers.integrations.ggml import GGUF_CONFIG_MAPPING
    from transformers.integrations.gguf import GGUF_CONFIG_ARCHS, get_gguf_config
    from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

    kind = header.architecture
    if kind in GGUF_CONFIG_ARCHS:
        texts = {
            name: len(value)
            for name, value in header.fields.items()
            if isinstance(value, list) and value and isinstance(value[0], str)
        }
        metadata = _Read({**header.fields, **texts})
        return get_gguf_config(metadata, header.names), metadata.taken
    with _described(header) as path:
        told: dict[str, Any] = load_gguf_checkpoint(str(path), return_tensors=False)["config"]
    if told.get("vocab_size") == len(STAND_IN):
        told["vocab_size"] = len(header.fields[TOKENS])
    plain = kind.replace("-", "").replace("_", "")
    tables: dict[str, dict[str, Any]] = GGUF_CONFIG_MAPPING
    names = next((table for k, table in tables.items() if k.replace("_", "") == plain), {})
    return told, {f"{kind}.{name}" for name, there in names.items() if there is not None}


def _followed(
    header: GgufHeader, told: Mapping[str, Any], taken: set[str], made: Any
) -> dict[str, Any]:
    """Fields to put into a config that transformers leaves at the class's defaults."""
    extra: dict[str, Any] = {}
    front = f"{header.architecture}."
    same = made.attribute_map
    read = {same.get(name, name): value for name, value in told.items()}
    for key, value in header.fields.items():
        name = key.removeprefix(front)
        if name == key or key in taken or name in SHAPES or name.startswith(("rope.", *SCALING)):
            continue
        if name == "attention.sliding_window_pattern":
            extra |= _pattern(header, value, made)
            continue
        if "norm" in name and name.endswith("epsilon") and _other_epsilon(front, taken, header):
            continue  # an architecture has one kind of norm, and its own field was read
        field = next((one for one in FOLLOWED.get(name, ()) if hasattr(made, one)), None)
        there = getattr(made, field) if field is not None else None
        if there is None and name.endswith(("key_length", "value_length")):
            there = _head_dim(made)
        if there is not None and _same(there, value):
            continue
        if _neutral(name, value) and not there:
            continue
        if field is None and name.startswith("expert_") and name.endswith("feed_forward_length"):
            continue  # as the weights' shapes say
        if field is None:
            raise _lost(header, key, value, f"{type(made).__name__} has no place for it")
        windowless = name == "attention.sliding_window" and _windowless(made)
        if same.get(field, field) in read or windowless:
            raise _lost(header, key, value, f"{field} {there!r} in {type(made).__name__}")
        extra[field] = value
    return extra


def _other_epsilon(front: str, taken: set[str], header: GgufHeader) -> bool:
    pair = (f"{front}attention.layer_norm_epsilon", f"{front}attention.layer_norm_rms_epsilon")
    return any(key in taken and key in header.fields for key in pair)


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


def _windowless(made: Any) -> bool:
    return getattr(made, "use_sliding_window", True) is False


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
    return InputError(
        f"{header.path}: {shown(key)} = {said}",
        expected="fields of which transformers' config for this architecture has each",
        found=found,
        fix=ORIGINAL,
    )
