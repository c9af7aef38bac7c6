"""What a training step keeps of a forward for its backward pass, counted without weights.

The model's blocks run on the meta device, where nothing is computed, and what they save is counted:
see :mod:`mwanda.pruning.forecast.forward_memory`.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map_only

from mwanda.errors import InputError
from mwanda.model.run.block_calls import BlockCall
from mwanda.model.run.decoder import Decoder
from mwanda.model.run.experts import chosen_per_token, is_experts
from mwanda.model.run.skeleton import build_skeleton
from mwanda.pruning.forecast.forward_memory import all_zero
from mwanda.system.device import NOWHERE


def saved_bytes(
    decoder: Decoder, shape: tuple[int, int], *, trust_remote_code: bool = False
) -> list[int] | None:
    """Bytes that every block saves for one batch ``[windows, length]`` in the decoder's dtype; None
    where the class's code needs values that are not there."""
    try:
        with all_zero(decoder):
            decoder.embed(torch.zeros(shape, dtype=torch.int64))
        hollow = build_skeleton(
            copy.deepcopy(decoder.config), decoder.dtype, trust_remote_code=trust_remote_code,
            hollow=True,
        )  # fmt: skip
        return _saved(decoder, hollow, shape)
    except (InputError, RuntimeError, TypeError, ValueError, AttributeError, LookupError):
        return None


def _saved(decoder: Decoder, hollow: Any, shape: tuple[int, int]) -> list[int]:
    for module in hollow.modules():
        if is_experts(module):
            module.forward = lambda hidden, *_, **__: hidden * 1
    width = int(decoder.model.get_input_embeddings().weight.shape[1])
    hidden = torch.empty((*shape, width), dtype=decoder.dtype, device=NOWHERE, requires_grad=True)
    own = {parameter.untyped_storage()._cdata for parameter in hollow.parameters()}
    found: dict[str, int] = {}
    each = []
    for block in decoder.structure.blocks:
        call = decoder.calls.call(block.index, shape)
        given = (call.args, dict(call.kwargs))
        module = hollow.get_submodule(block.name)
        kind = f"{module} {[getattr(value, 'shape', value) for value in tree_leaves(given)]}"
        if kind not in found:
            args, kwargs = tree_map_only(torch.Tensor, lambda t: t.to(NOWHERE), given)
            saved: dict[int, tuple[torch.Tensor, int]] = {}

            def keep(
                tensor: torch.Tensor, into: dict[int, tuple[torch.Tensor, int]] = saved
            ) -> torch.Tensor:
                storage = tensor.untyped_storage()
                if storage._cdata not in own:
                    into[storage._cdata] = (
                        tensor,
                        storage.nbytes(),
                    )  # held, or its number is reused
                return tensor

            with (
                torch.enable_grad(),
                torch.device(NOWHERE),
                _FusedAttention(),
                torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
            ):
                BlockCall(args, kwargs, call.hidden_by_name).run(module, hidden)
            found[kind] = sum(size for _, size in saved.values())
        experts = [linear for linear in block.linears if linear.expert]
        inner = max((linear.rows for linear in experts), default=0)
        routed = shape[0] * shape[1] * (chosen_per_token(decoder.model) if experts else 0)
        # Going in, gate and up, their product, and coming out.
        each.append(found[kind] + routed * (2 * width + 3 * inner) * decoder.dtype.itemsize)
    return each


class _Attention(torch.autograd.Function):
    """What a fused kernel saves: its inputs and its output."""

    @staticmethod
    def forward(
        ctx: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor
    ) -> torch.Tensor:
        made = query.new_empty((*query.shape[:-1], value.shape[-1]))
        ctx.save_for_backward(query, key, value, made)
        return made

    @staticmethod
    def backward(ctx: Any, *_: Any) -> Any:
        raise NotImplementedError


class _FusedAttention(TorchFunctionMode):
    """Attention whose scores are never there, as a CPU's and a GPU's kernels do it."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = kwargs or {}
        if func is nn.functional.scaled_dot_product_attention:
            named = dict(zip(("query", "key", "value"), args, strict=False)) | given
            return _Attention.apply(  # type: ignore[no-untyped-call]
                named["query"], named["key"], named["value"]
            )
        return func(*args, **given)
