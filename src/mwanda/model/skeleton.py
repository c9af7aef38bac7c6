"""The model's modules without its weights: parameters on the meta device, buffers made for real.

Buffers that no checkpoint holds (rotary ``inv_freq``, Gemma's ``embed_scale``) are computed by the
modules' own constructors; on the meta device they would be silently empty and the forward wrong.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mwanda.device import NOWHERE
from mwanda.errors import InputError
from mwanda.model.experts import is_experts

__all__ = ["build_skeleton", "load_config"]


def load_config(folder: Path, *, trust_remote_code: bool = False) -> Any:
    """The model's transformers config, refused unless it is an unquantised causal decoder.

    Raises:
        InputError: config.json unreadable, unknown architecture, encoder, or quantised weights.
    """
    from transformers import AutoConfig

    path = folder / "config.json"
    try:
        config = AutoConfig.from_pretrained(
            folder, trust_remote_code=trust_remote_code, local_files_only=True
        )
    except Exception as error:  # a class may meet a value it did not foresee in any way
        raise InputError(
            str(path),
            expected="the config of a model that this transformers knows",
            found=_one_line(error),
            fix="check the file, upgrade transformers, or pass --trust-remote-code "
            "if the model brings its own code and you trust it",
        ) from error
    _refuse_quantised(path, config)
    _refuse_encoder(path, config)
    return config


def build_skeleton(config: Any, dtype: torch.dtype, *, trust_remote_code: bool = False) -> Any:
    """The causal model the config describes: parameters on meta, buffers real on the CPU.

    Args:
        config: a transformers config.
        dtype: what the forward will run in; buffers follow it as in ``from_pretrained``.

    Returns:
        A ``PreTrainedModel`` in evaluation mode whose parameters hold no memory.
    """
    from transformers import AutoModelForCausalLM

    with _parameters_on_meta():
        try:
            model = AutoModelForCausalLM.from_config(
                config, dtype=dtype, trust_remote_code=trust_remote_code
            )
        except Exception as error:  # as above
            raise InputError(
                f"config of model type {getattr(config, 'model_type', '?')}",
                expected="one that AutoModelForCausalLM can build",
                found=_one_line(error),
                fix="check config.json, or download it again",
            ) from error
        model.tie_weights()
    if dtype == torch.float64 and any(is_experts(module) for module in model.modules()):
        model.set_experts_implementation("eager")  # the grouped product refuses it
    model.eval()
    return model


@contextmanager
def _parameters_on_meta() -> Iterator[None]:
    """Every parameter registered inside goes to the meta device at once; buffers stay real."""
    original = nn.Module.register_parameter

    def register(module: nn.Module, name: str, param: nn.Parameter | None) -> None:
        if param is not None and not param.is_meta:
            param = nn.Parameter(param.to(NOWHERE), requires_grad=False)
        original(module, name, param)

    nn.Module.register_parameter = register  # type: ignore[method-assign,assignment]
    try:
        yield
    finally:
        nn.Module.register_parameter = original  # type: ignore[method-assign]


def _refuse_quantised(path: Path, config: Any) -> None:
    quantisation = getattr(config, "quantization_config", None)
    if quantisation:
        method = (
            quantisation.get("quant_method")
            if isinstance(quantisation, dict)
            else getattr(quantisation, "quant_method", None)
        )
        raise InputError(
            str(path),
            expected="weights in bf16, fp16 or fp32",
            found=f"quantised weights ({method or 'unnamed method'})",
            fix="prune the original model, then quantise the result",
        )


def _refuse_encoder(path: Path, config: Any) -> None:
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    )

    names = getattr(config, "architectures", None) or []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InputError(
            f"{path}: architectures",
            expected="a list of class names",
            found=repr(names)[:60],
            fix="check the file, or download it again",
        )
    kind = getattr(config, "model_type", "?")
    found = None
    if getattr(config, "is_encoder_decoder", False):
        found = f"the encoder-decoder {names[0] if names else kind}"
    elif names and not any(_is_causal(n, MODEL_FOR_CAUSAL_LM_MAPPING_NAMES) for n in names):
        base_only = all(n.endswith("Model") and "For" not in n for n in names)
        if not base_only or kind in MODEL_FOR_MASKED_LM_MAPPING_NAMES:
            found = names[0]
    elif not names and kind in MODEL_FOR_MASKED_LM_MAPPING_NAMES:
        found = f"model type {kind}, an encoder"
    if found is not None:
        raise InputError(
            str(path),
            expected="a decoder with a causal language-model head",
            found=found,
            fix="encoder and encoder-decoder models cannot be pruned here",
        )


def _is_causal(name: str, mapping: dict[str, str]) -> bool:
    return name.endswith(("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")) or (
        name in mapping.values()
    )


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())[:200]
    plain = text and isinstance(error, OSError | ValueError | RuntimeError)
    return text if plain else f"{type(error).__name__} {text}".rstrip()
