"""Zeros under adapters of peft: adapters train, and what they add where a zero is goes at a merge.

Libraries are told by what they leave in a model: a wrapped module has the one it wraps as its
``base_layer``, and merges by its ``merge`` and ``unmerge``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from types import MethodType
from typing import Any

import torch
from torch import nn

from mwanda.pruned.mask_bits import clear

BASE = "base_layer"
HELD = "mwanda_zeros"
"""Where a wrapper keeps the masks of what it wraps: name of a parameter -> its bits."""


def inside(model: nn.Module) -> nn.Module:
    """The transformers model in a wrapper of peft's, adapters in its layers or not; another model
    itself."""
    unwrap = getattr(model, "get_base_model", None)
    return unwrap() if callable(unwrap) else model


def wrappers(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Path and module of everything that adapters are put around."""
    for path, module in model.named_modules():
        if BASE in module._modules:
            yield path, module


def without_adapters(name: str, wrapped: Collection[str]) -> str | None:
    """A linear's name as it was before adapters; None for a matrix of an adapter itself.

    Args:
        name: of a linear in the model with adapters.
        wrapped: paths of the :func:`wrappers` of that model.
    """
    for path in wrapped:
        rest = name.removeprefix(f"{path}.")
        if rest != name and rest.partition(".")[0] != BASE:
            return None
    return ".".join(part for part in name.split(".") if part != BASE)


def guard_merges(model: nn.Module, bits_of: Callable[[nn.Parameter], torch.Tensor | None]) -> None:
    """After every merge of adapters into a weight, or out of it, its zeros are zero again.

    Args:
        bits_of: the mask of a parameter as :func:`mwanda.pruned.mask_bits.pack` gives it.
    """
    for _, module in wrappers(inside(model)):
        base = _innermost(module)
        held = {
            name: bits
            for name, parameter in base.named_parameters(recurse=False)
            if (bits := bits_of(parameter)) is not None
        }
        if held and hasattr(module, "merge"):
            # Methods, and not closures: a copy of the model gets methods of its own modules.
            wrapper: Any = module
            wrapper.mwanda_zeros = held
            wrapper.merge = MethodType(_merge, module)
            wrapper.unmerge = MethodType(_unmerge, module)


def unguard(model: nn.Module) -> None:
    """Let merges fill zeros again."""
    for _, module in wrappers(inside(model)):
        for name in (HELD, "merge", "unmerge"):
            module.__dict__.pop(name, None)


def _merge(self: Any, *args: Any, **named: Any) -> Any:
    done = type(self).merge(self, *args, **named)
    _clear_again(self)
    return done


def _unmerge(self: Any, *args: Any, **named: Any) -> Any:
    done = type(self).unmerge(self, *args, **named)
    _clear_again(self)
    return done


def _clear_again(wrapper: Any) -> None:
    base = _innermost(wrapper)
    for name, bits in wrapper.mwanda_zeros.items():
        parameter = base.get_parameter(name)
        with torch.no_grad():
            clear(parameter, bits.to(parameter.device))


def _innermost(module: nn.Module) -> nn.Module:
    while BASE in module._modules:
        module = module.get_submodule(BASE)
    return module
