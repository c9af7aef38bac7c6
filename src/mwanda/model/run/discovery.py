"""Finding a model's blocks and linears in its modules and its config, by no list of families."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import torch
from torch import nn

from mwanda.errors import InputError
from mwanda.model.run.experts import is_experts, is_router, matrices
from mwanda.model.run.structure import Block, Linear, Structure

LAYER_FIELDS = ("num_hidden_layers", "decoder_layers", "num_decoder_layers", "num_layers")
"""Where a config says how many blocks there are."""


def find_structure(model: nn.Module) -> Structure:
    """Find the list of decoder blocks: the outermost ``ModuleList`` as long as the config says."""
    name = type(model).__name__
    expected = _numbers_of_blocks(model)
    lists = [
        (path, module)
        for path, module in model.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) > 0 and all(map(_has_linear, module))
    ]
    outer = [
        (path, module)
        for path, module in lists
        if not any(path.startswith(f"{other}.") for other, _ in lists if other != path)
    ]
    fitting = [(p, m) for p, m in outer if not expected or len(m) in expected]
    if len(fitting) > 1:  # a wrapper's other towers: the text decoder is where the embedding is
        fitting = [(p, m) for p, m in fitting if _holds_token_embedding(model, p)] or [
            (p, m) for p, m in fitting if not in_tower(model, p)
        ]
    if len(fitting) != 1:
        seen = ", ".join(f"{p} ({len(m)})" for p, m in outer) or "none"
        numbers = " or ".join(str(number) for number in expected)
        wanted = f"the config's {numbers} layers" if expected else "layers"
        raise InputError(
            f"model class {name}",
            expected=f"one list of decoder blocks with linears inside, as long as {wanted}",
            found=f"{len(fitting)} such lists; lists of modules with linears: {seen}",
            fix="mwanda prunes one nn.ModuleList of blocks that hold nn.Linear or Conv1D; leave a "
            "model of another structure whole",
        )
    path, blocks = fitting[0]
    _refuse_shared(name, path, blocks)
    found = []
    for index, block in enumerate(blocks):
        _refuse_fused(f"{path}.{index}", block)
        found.append(Block(index, f"{path}.{index}", tuple(_linears(f"{path}.{index}", block))))
    backbone = _backbone(model, path)
    return Structure(backbone, tuple(found), _towers(model, backbone))


def _numbers_of_blocks(model: nn.Module) -> list[int]:
    """What the config says about layers; where encoder and decoder differ, both numbers."""
    config = getattr(model, "config", None)
    if config is None:
        return []
    text = config.get_text_config(decoder=True)
    numbers = (getattr(text, name, None) for name in LAYER_FIELDS)
    return list(dict.fromkeys(number for number in numbers if isinstance(number, int)))


def _backbone(model: nn.Module, path: str) -> str:
    """The innermost module around a list of blocks that takes tokens and not hidden states."""
    taking = (around for around, taken in _around(model, path) if "input_ids" in taken)
    return next(taking, path.rpartition(".")[0])


def in_tower(model: nn.Module, path: str) -> bool:
    """Whether a module is inside a pretrained model that takes no tokens."""
    return any(
        hasattr(model.get_submodule(around), "base_model_prefix")
        and taken.isdisjoint(("input_ids", "inputs_embeds"))
        for around, taken in _around(model, path)
    )


def _around(model: nn.Module, path: str) -> Iterator[tuple[str, set[str]]]:
    """The modules around one, from the inside, but for the model; and what each is called with."""
    while path := path.rpartition(".")[0]:
        module = model.get_submodule(path)
        yield path, {*inspect.signature(type(module).forward).parameters}


def _towers(model: nn.Module, backbone: str) -> tuple[str, ...]:
    """Pretrained models beside the backbone: they are for images or sound."""
    found: list[str] = []
    for path, module in model.named_modules():
        beside = not f"{backbone}.".startswith(f"{path}.") and not path.startswith(f"{backbone}.")
        if path and backbone and beside and hasattr(module, "base_model_prefix"):
            found.append(f"{path}.")
    return tuple(found)


def _is_linear(module: nn.Module) -> bool:
    # By name: importing Conv1D would import transformers into a module that needs only torch.
    return isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D"


def _has_linear(module: nn.Module) -> bool:
    return any(_is_linear(child) or is_experts(child) for child in module.modules())


def _linears(prefix: str, block: nn.Module) -> Iterator[Linear]:
    for path, module in block.named_modules():
        if is_experts(module):
            yield from matrices(module, f"{prefix}.{path}")
        elif _is_linear(module) and not is_router(block, path):
            weight = module.weight
            if not isinstance(weight, torch.Tensor):
                continue
            transposed = not isinstance(module, nn.Linear)
            rows, columns = weight.shape[::-1] if transposed else weight.shape
            yield Linear(f"{prefix}.{path}", int(rows), int(columns), transposed)


def _holds_token_embedding(model: nn.Module, path: str) -> bool:
    getter = getattr(model, "get_input_embeddings", None)
    embedding = getter() if getter is not None else None
    backbone = model.get_submodule(path.rpartition(".")[0])
    return embedding is not None and any(m is embedding for m in backbone.modules())


def _refuse_shared(name: str, path: str, blocks: nn.ModuleList) -> None:
    owner: dict[int, int] = {}
    for index, block in enumerate(blocks):
        for parameter_name, parameter in block.named_parameters():
            first = owner.setdefault(id(parameter), index)
            if first != index:
                raise InputError(
                    f"model class {name}: {path}.{index}.{parameter_name}",
                    expected="every block to own its weights",
                    found=f"the same weight as in block {first}",
                    fix="blocks that share weights cannot be pruned one by one; leave this model "
                    "whole",
                )


def _refuse_fused(prefix: str, block: nn.Module) -> None:
    for path, module in block.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            wide = min(parameter.shape, default=0) > 1
            stacked = parameter.dim() == 3 and wide and "conv" not in path
            # Experts one above the other in a matrix, which nobody would see go unpruned.
            flat = parameter.dim() == 2 and wide and "expert" in path and not _is_linear(module)
            if (stacked or flat) and not is_experts(module):
                raise InputError(
                    ".".join(part for part in (prefix, path, name) if part),
                    expected="linears as matrices, or experts whose class says how they are fused "
                    "(transformers' use_experts_implementation)",
                    found=f"a stack {list(parameter.shape)} in {type(module).__name__}",
                    fix="what goes into its matrices cannot be told; leave this model whole",
                )
