"""Fused experts: transformers keeps all experts of a layer in three-dimensional parameters.

``gate_up_proj [experts, 2·ffn, hidden]`` and ``down_proj [experts, hidden, ffn]`` (turned in some
families, ``up_proj`` without gates in others) are run as grouped products, without any
``nn.Linear``. Each expert's matrices are slices of them. What a class does differently it says in
its own attributes (``has_gate``, ``is_transposed``, ``is_concatenated``, ``has_bias``); no list of
families is kept here.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from mwanda.errors import InputError
from mwanda.model.run.config_fields import layer_values
from mwanda.model.run.structure import Fused, Linear

FLAGS = ("has_gate", "has_bias", "is_transposed", "is_concatenated")


def is_experts(module: nn.Module) -> bool:
    """Whether a module holds fused experts in a layout that it describes itself."""
    if not all(isinstance(getattr(module, flag, None), bool) for flag in FLAGS):
        return False
    names = (_first(module), "down_proj")
    held = [module._parameters.get(name) for name in names]
    return all(parameter is not None and parameter.dim() == 3 for parameter in held)


def matrices(module: nn.Module, where: str) -> Iterator[Linear]:
    """Every expert's matrices, in a module of this path: gate and up apart where they lie one above
    the other."""
    first, turned = _first(module), bool(module.is_transposed)
    count = int(module.get_parameter(first).shape[0])
    for expert in range(count):
        for leaf in (first, "down_proj"):
            rows, columns = module.get_parameter(leaf).shape[1:]
            if turned:
                rows, columns = columns, rows
            # Turned, the two lie side by side in every row: one matrix, pruned as one.
            apart = leaf == "gate_up_proj" and module.is_concatenated and not turned
            names = ("gate_proj", "up_proj") if apart else (leaf,)
            step = int(rows) // len(names)
            for number, name in enumerate(names):
                out, into = (number * step, (number + 1) * step), (0, int(columns))
                sides = (into, out) if turned else (out, into)
                fused = Fused(f"{where}.{leaf}", ((expert, expert + 1), *sides))
                yield Linear(f"{where}.{expert}.{name}", step, int(columns), turned, fused)


def is_router(block: nn.Module, path: str) -> bool:
    """Whether a linear of a block chooses or weighs experts: those are left alone."""
    parent = path.rpartition(".")[0]
    while True:
        around = block.get_submodule(parent)
        held = [child for child in around.children() if is_experts(child)]
        if held or not parent:
            break
        parent = parent.rpartition(".")[0]
    if not held:
        return False
    weight = block.get_submodule(path).weight
    rows = int(weight.shape[0]) if isinstance(weight, torch.Tensor) else 0
    # A gate_proj is no router, also where it has as many rows as there are experts (Qwen3-Next).
    named = re.search(r"(^|[._])(gate(?!_(up_)?proj)|router)($|[._])", path[len(parent) :])
    counts = {int(experts.get_parameter("down_proj").shape[0]) for experts in held}
    return named is not None and rows in counts | {1}


def routing(
    module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> tuple[torch.Tensor, torch.Tensor]:
    """What an experts module was called with: hidden states ``[tokens, hidden]`` and the experts of
    each token, ``int64 [tokens, k]``."""
    given = list(inspect.signature(module.forward).bind(*args, **kwargs).arguments.values())
    hidden, chosen = given[0], given[1]
    if chosen.is_floating_point():  # no token would seem to go anywhere
        raise InputError(
            f"experts of class {type(module).__name__}",
            expected="to be called with hidden states and then the numbers of each token's experts",
            found=f"{chosen.dtype} in their place",
            fix=r"leave experts out with --exclude '\.experts\.'",
        )
    return hidden.reshape(-1, hidden.shape[-1]), chosen.reshape(-1, chosen.shape[-1])


def tokens_by_expert(chosen: torch.Tensor, count: int) -> tuple[torch.Tensor, ...]:
    """Of each of ``count`` experts the numbers of its tokens, ascending, by the experts of each
    token ``int64 [tokens, k]``. A device is asked twice, however many experts there are."""
    numbers = torch.arange(count, device=chosen.device).unsqueeze(1)
    goes = torch.zeros((count, len(chosen)), dtype=torch.bool, device=chosen.device)
    for expert in chosen.unbind(1):
        goes |= expert == numbers
    tokens: torch.Tensor = goes.nonzero()[:, 1]
    return tuple(torch.split(tokens, goes.sum(dim=1).tolist()))


def product(module: nn.Module, expert: int, inputs: torch.Tensor) -> torch.Tensor:
    """What enters an expert's ``down_proj``: ``[tokens, ffn]`` of inputs ``[tokens, hidden]``.

    Computed as the module itself does, with its own gating and activation.
    """
    first = _first(module)
    weight = module.get_parameter(first)[expert]
    made = inputs @ weight if module.is_transposed else functional.linear(inputs, weight)
    if module.has_bias:
        made = made + module.get_parameter(f"{first}_bias")[expert]
    gated: torch.Tensor = module._apply_gate(made) if module.has_gate else module.act_fn(made)  # type: ignore[operator]
    return gated


def chosen_per_token(model: Any) -> int:
    """How many experts a token goes to, 1 where the model does not say."""
    config = model.config.get_text_config(decoder=True)
    for name in ("num_experts_per_tok", "moe_topk", "moe_k", "top_k_experts"):
        values = layer_values(config, name, int(getattr(config, "num_hidden_layers", 1)))
        found = [value for value in values if isinstance(value, int) and value > 0]
        if found:
            return max(found)
    return 1


@contextmanager
def runnable_experts(model: Any, dtype: torch.dtype) -> Iterator[None]:
    """Inside, experts run in ``dtype``: grouped products refuse float64, the loop takes it."""
    fused = any(is_experts(module) for module in model.modules())
    if dtype != torch.float64 or not fused:
        yield
        return
    before = model.get_experts_implementation()
    model.set_experts_implementation("eager")
    try:
        yield
    finally:
        model.set_experts_implementation(before)


def _first(module: nn.Module) -> str:
    return "gate_up_proj" if module.has_gate else "up_proj"
