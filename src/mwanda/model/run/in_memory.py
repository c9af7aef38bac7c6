"""What a caller gives as a model in memory: a transformers model, its weights its own to change.

Libraries are told by what they leave in a model, so that none of them has to be installed.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterable
from copy import deepcopy
from typing import Any

import torch
from torch import nn

from mwanda.errors import InputError
from mwanda.model.run.experts import is_experts
from mwanda.model.run.skeleton import build_skeleton
from mwanda.model.run.structure import Linear
from mwanda.system.device import DTYPES

log = logging.getLogger("mwanda")

PACKED = (torch.int8, torch.uint8, torch.int32, torch.float8_e4m3fn, torch.float8_e5m2)
"""What only a quantised matrix of weights is kept in."""

SHOWN = 3
"""Names that a message shows."""

IN_A_LIST = re.compile(r"\.\d+\.")
"""In the path of every module of a block."""


def model_given(model: Any) -> Any:
    """The transformers model itself; out of what ``torch.compile`` puts around one."""
    inner = getattr(model, "_orig_mod", None)
    model = inner if isinstance(inner, nn.Module) else model
    inside = getattr(model, "module", None)
    wrapper = type(model).__module__.partition(".")[0] in ("torch", "deepspeed")
    around = wrapper and isinstance(inside, nn.Module)
    if around or not isinstance(model, nn.Module) or not hasattr(model, "config"):
        raise no_model(model, around=around)
    return model


def no_model(given: Any, *, around: bool = False) -> InputError:
    """The error for a caller's model that is none."""
    kind = type(given)
    return InputError(
        "the model given",
        expected="a folder, GGUF file or hub id, or a transformers model in memory",
        found=f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins."),
        fix="give the model inside of it (.module), before it is wrapped" if around else None,
    )


def refuse_adapters(model: nn.Module) -> None:
    """Refuse a model with adapters of peft in it: what they add is no part of the weights."""
    if not isinstance(model, nn.Module):
        raise no_model(model)
    for path, module in model.named_modules():
        packages = {kind.__module__.partition(".")[0] for kind in type(module).__mro__}
        if "peft" in packages or "base_layer" in module._modules:
            merges = hasattr(model, "merge_and_unload")
            raise InputError(
                "the model given",
                expected="plain weights",
                found=f"adapters: {path or 'the model'} is a {type(module).__name__}",
                fix="merge them first: model = model.merge_and_unload()" if merges else
                "merge them first, by peft's PeftModel.from_pretrained(base, adapter)"
                ".merge_and_unload(); what cannot be merged is trained after the pruning",
            )  # fmt: skip


def check_changeable(model: nn.Module) -> None:
    """Refuse a model whose linears are not plain matrices, all there on one device."""
    refuse_adapters(model)
    places = Counter(parameter.device for parameter in model.parameters())
    if len(places) != 1 or torch.device("meta") in places:
        told = ", ".join(f"{count} on {place}" for place, count in places.items())
        raise InputError(
            "the model given",
            expected="all weights in memory, on one device",
            found=f"parameters: {told or 'none'}"
            + (" (offloaded by accelerate)" if hasattr(model, "hf_device_map") else ""),
            fix="load it without device_map, or prune its folder, which is read block by block",
        )
    for path, module in model.named_modules():
        found = _oddness(module) if IN_A_LIST.search(f".{path}.") else None
        if found is not None:
            expected = "a weight of its own, in floating point"
            fix = "prune the plain model, before it is quantised or wrapped"
            raise InputError(f"the model given: {path}", expected=expected, found=found, fix=fix)


def warn_of_wrappers(model: Any, linears: Iterable[Linear]) -> None:
    """Say which linears the class itself does not make; of a class not transformers', nothing.

    A wrapper that somebody put in by hand splits one into several: a layer and its low ranks.
    """
    kind = type(model)
    if not kind.__module__.startswith("transformers."):
        return
    try:
        made = build_skeleton(deepcopy(model.config), torch.float32, kind=kind, hollow=True)
    except InputError:
        return  # its config was changed since
    own = {name for name, _ in made.named_parameters(remove_duplicate=False)}
    names = [linear.name for linear in linears if linear.parameter not in own]
    if names:
        log.warning(
            "the model given: %d of its linears are none of %s's own: %s; each is pruned by "
            "itself: merge low ranks into their layer first, or leave them out with exclude",
            len(names),
            kind.__name__,
            ", ".join(names[:SHOWN]) + (", …" if len(names) > SHOWN else ""),
        )


def _oddness(module: nn.Module) -> str | None:
    """Why a module's weights cannot be masked where they are; None where they can, or for one that
    has none to mask."""
    linear = isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D"
    if linear:
        if module._parameters.get("weight") is None:
            return "one that is computed from others (a parametrisation, or torch's own pruning)"
        if module.get_parameter("weight").ndim != 2:
            return f"one of shape {[*module.get_parameter('weight').shape]}, shared out or packed"
        more = [name for name, _ in module.named_parameters() if name not in ("weight", "bias")]
        if more:
            return f"{', '.join(more)} beside it, in a {type(module).__name__}"
    if linear or is_experts(module):
        for weight in module.parameters(recurse=False):
            if type(weight.data) is not torch.Tensor:
                return f"a {type(weight.data).__name__}"
            if weight.dtype not in DTYPES.values():
                return f"one in {weight.dtype}"
    held = [*module.parameters(recurse=False), *module.buffers(recurse=False)]
    packed = any(one.dtype in PACKED and one.ndim == 2 for one in held)
    if packed or type(module).__module__.startswith("torch.ao."):
        return f"a quantised {type(module).__name__}"
    return None
