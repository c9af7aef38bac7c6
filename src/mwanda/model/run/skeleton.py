"""The model's modules without its weights: parameters on the meta device, buffers made for real.

Buffers that no checkpoint holds (rotary ``inv_freq``, Gemma's ``embed_scale``) are computed by the
modules' own constructors; on the meta device they would be silently empty and the forward wrong.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import cache
from pathlib import Path
from threading import local
from typing import Any

import torch
from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from mwanda.errors import InputError
from mwanda.model.run.experts import is_experts
from mwanda.model.stored.quantised import bitmask_error, quantised_error
from mwanda.system.device import NOWHERE
from mwanda.system.surroundings import building

CAUSAL = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")
"""How classes with a causal head are called, whether transformers lists them or not."""

_HERE = local()
"""``hollow`` is there and true in a thread that is making a skeleton."""


def load_config(folder: Path, *, trust_remote_code: bool = False, quantised: bool = False) -> Any:
    """The model's transformers config, refused unless it is a causal decoder.

    Args:
        quantised: take one whose weights are quantised too.
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
    if not quantised:
        _refuse_quantised(path, config)
    refuse_encoder(path, config)
    return config


def build_skeleton(
    config: Any,
    dtype: torch.dtype,
    *,
    kind: Any = None,
    trust_remote_code: bool = False,
    hollow: bool = False,
) -> Any:
    """The causal model a config describes, in evaluation mode: parameters on meta, buffers real on
    the CPU.

    Args:
        dtype: what the forward will run in; buffers follow it as in ``from_pretrained``.
        kind: the class to build; None for the one that the config names.
        hollow: buffers on meta too, which no size in a config can make large.
    """
    kind = auto_class(config) if kind is None else kind
    with building(), _parameters_on_meta(), NOWHERE if hollow else nullcontext():
        try:
            if hasattr(kind, "from_config"):
                model = kind.from_config(config, dtype=dtype, trust_remote_code=trust_remote_code)
            else:
                model = kind._from_config(config, dtype=dtype)
        except Exception as error:  # as above
            raise InputError(
                f"config of model type {getattr(config, 'model_type', '?')}",
                expected=f"one that {kind.__name__} can build",
                found=_one_line(error),
                fix="check config.json, or download it again",
            ) from error
        model.tie_weights()
    if not hollow:
        # Once more, outside the narrow dtype that the modules were made in, as ``from_pretrained``
        # does it: rotary frequencies that a constructor computes in bf16 are wrong.
        with building():
            for module in model.modules():
                module._is_hf_initialized = False
            model.initialize_weights()
    if dtype == torch.float64 and any(is_experts(module) for module in model.modules()):
        model.set_experts_implementation("eager")  # the grouped product refuses it
    model.eval()
    return model


def auto_class(config: Any) -> Any:
    """The class that builds and loads the model a config names: an automatic one where it can.

    A wrapper with a vision tower is opened as what its own config names, so that what is written
    loads with the same class as the source.
    """
    import transformers
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

    names = getattr(config, "architectures", None) or [None]
    wrapper = MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES.get(config.model_type)
    causal = type(config) in AutoModelForCausalLM._model_mapping
    own_code = "AutoModelForCausalLM" in (getattr(config, "auto_map", None) or {})
    if wrapper is not None and (names[0] == wrapper or not causal):
        return AutoModelForImageTextToText
    if causal or own_code:
        return AutoModelForCausalLM
    named = getattr(transformers, str(names[0]), None)
    if named is not None and getattr(named, "config_class", None) is type(config):
        return named
    raise InputError(
        f"config of model type {config.model_type}",
        expected="a type for which transformers has a causal language model",
        found=f"{type(config).__name__}, which none of its automatic classes takes",
        fix="load the model with its own class and prune it in memory from Python",
    )


@contextmanager
def _parameters_on_meta() -> Iterator[None]:
    """Every parameter that this thread registers inside goes to the meta device at once; buffers
    stay real."""
    _watch_parameters()
    _HERE.hollow = True
    try:
        yield
    finally:
        _HERE.hollow = False


@cache
def _watch_parameters() -> None:
    """Once and for good: torch asks every such hook in turn, and one that comes or goes meanwhile
    would break the modules that other threads make. It leaves theirs as they are."""
    register_module_parameter_registration_hook(_hollowed)  # type: ignore[arg-type]


def _hollowed(_module: nn.Module, _name: str, parameter: nn.Parameter) -> nn.Parameter | None:
    if not getattr(_HERE, "hollow", False) or parameter.is_meta:
        return None
    return nn.Parameter(parameter.to(NOWHERE), requires_grad=False)


def quantisation_of(config: Any) -> str | None:
    """The method by which a config says that its weights are quantised; None where it does not."""
    quantisation = _quantisation(config)
    if not quantisation:
        return None
    if isinstance(quantisation, dict):
        of_mlx = {"bits", "group_size"} <= quantisation.keys()
        method = quantisation.get("quant_method", "MLX" if of_mlx else None)
    else:
        method = getattr(quantisation, "quant_method", None)
    return str(getattr(method, "value", method) or "unnamed method")


def _quantisation(config: Any) -> Any:
    text = config.get_text_config(decoder=True)
    said = (getattr(one, "quantization_config", None) for one in (config, text))
    return next(filter(None, said), None)


def _refuse_quantised(path: Path, config: Any) -> None:
    method, said = quantisation_of(config), _quantisation(config)
    if method is None:
        return
    sparse = said.get("sparsity_config") if isinstance(said, dict) else None
    packed = "bitmask" in str(sparse.get("format")) if isinstance(sparse, dict) else False
    if packed and not said.get("config_groups"):
        raise bitmask_error(str(path))
    raise quantised_error(str(path), f"({method})")


def refuse_encoder(path: Path, config: Any) -> None:
    """Refuse a config that is no decoder's, by what it says of itself."""
    from transformers.models.auto import modeling_auto as auto

    causal = auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values()
    masked = auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES
    names = getattr(config, "architectures", None) or []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        what = f"{path}: architectures"
        fix = "check the file, or download it again"
        raise InputError(what, expected="a list of class names", found=repr(names)[:60], fix=fix)
    kind = getattr(config, "model_type", "?")
    # A class of the model's own: its config says what it is for.
    own_causal = "AutoModelForCausalLM" in (getattr(config, "auto_map", None) or {})
    found = None
    if getattr(config, "is_encoder_decoder", False):
        found = f"the encoder-decoder {names[0] if names else kind}"
    elif names and not own_causal and not any(n.endswith(CAUSAL) or n in causal for n in names):
        base_only = all(n.endswith("Model") and "For" not in n for n in names)
        if not base_only or kind in masked:
            found = names[0]
    elif not names and kind in masked:
        found = f"model type {kind}, an encoder"
    if found is not None:
        raise _no_decoder(str(path), found)


def refuse_encoder_in_memory(model: Any) -> None:
    """Refuse a model that is no decoder by its config or class; an unknown class passes."""
    from transformers.models.auto import modeling_auto as auto

    name = type(model).__name__
    if getattr(getattr(model, "config", None), "is_encoder_decoder", False) is True:
        raise _no_decoder("the model given", f"the encoder-decoder {name}")
    masked = name in auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES.values()
    if masked and name not in auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values():
        raise _no_decoder("the model given", f"the encoder {name}")


def _no_decoder(what: str, found: str) -> InputError:
    expected = "a decoder with a causal language-model head"
    fix = "encoder and encoder-decoder models cannot be pruned here"
    return InputError(what, expected=expected, found=found, fix=fix)


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())[:200]
    plain = text and isinstance(error, OSError | ValueError | RuntimeError)
    return text if plain else f"{type(error).__name__} {text}".rstrip()
