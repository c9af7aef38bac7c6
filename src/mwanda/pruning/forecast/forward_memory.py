"""What a forward holds beside its weights, counted without weights.

The model's own code runs with the shapes of a real batch: its embedding and its masks on weights
that are all one zero, its blocks on the meta device, where nothing is computed. Every tensor that
is made is counted while it lives. So attention that writes out its scores, masks of every kind and
copies in float32 count as what they are, whatever class they come from.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from weakref import finalize

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from mwanda.errors import InputError
from mwanda.model.run.block_calls import BlockCall
from mwanda.model.run.decoder import Decoder
from mwanda.model.run.experts import is_experts
from mwanda.model.run.skeleton import build_skeleton
from mwanda.system.device import NOWHERE

MOST = 4000
"""Operations of a block that are counted: a scan token by token takes longer than it is worth."""


@dataclass(frozen=True)
class ForwardMemory:
    """Bytes of tensors.

    Attributes:
        entering: at most, while the model embeds a batch and makes its masks.
        kept: of what blocks are called with beside hidden states, which stays.
        block: at most, while one block runs on a batch; experts and the input are not counted.
    """

    entering: int = 0
    kept: int = 0
    block: int = 0


def count_forward(
    decoder: Decoder, shape: tuple[int, int], *, trust_remote_code: bool = False
) -> ForwardMemory | None:
    """Count the forward of one batch ``[windows, length]``, of a decoder without weights; None
    where the class's code needs values that are not there."""
    try:
        with all_zero(decoder), _Counted() as entered:
            decoder.embed(torch.zeros(shape, dtype=torch.int64))
        config = copy.deepcopy(decoder.config)
        hollow = build_skeleton(
            config, decoder.dtype, trust_remote_code=trust_remote_code, hollow=True
        )
        return _count(decoder, hollow, shape, entered.most)
    except (InputError, RuntimeError, TypeError, ValueError, AttributeError, LookupError):
        return None


def _count(decoder: Decoder, hollow: Any, shape: tuple[int, int], entering: int) -> ForwardMemory:
    for module in hollow.modules():
        if is_experts(module):
            module.forward = lambda hidden, *_, **__: torch.empty_like(hidden)
    width = int(decoder.model.get_input_embeddings().weight.shape[1])
    hidden = torch.empty((*shape, width), dtype=decoder.dtype, device=NOWHERE)
    kept: dict[int, int] = {}
    found: dict[str, int] = {}
    for block in decoder.structure.blocks:
        call = decoder.calls.call(block.index, shape)
        given = (call.args, dict(call.kwargs))
        kept |= {s._cdata: s.nbytes() for s in (t.untyped_storage() for t in tensors_in(given))}
        module = hollow.get_submodule(block.name)
        kind = f"{module} {[getattr(value, 'shape', value) for value in tree_leaves(given)]}"
        if kind not in found:
            args, kwargs = tree_map_only(torch.Tensor, lambda t: t.to(NOWHERE), given)
            with torch.device(NOWHERE), _Counted() as counted, _FusedAttention():
                BlockCall(args, kwargs, call.hidden_by_name).run(module, hidden)
            found[kind] = counted.most
    return ForwardMemory(entering, sum(kept.values()), max(found.values()))


@contextmanager
def all_zero(decoder: Decoder) -> Iterator[None]:
    """Parameters are zeros on the CPU inside, of any size and without memory."""
    held = [
        (module, name, parameter)
        for module in decoder.model.modules()
        for name, parameter in module._parameters.items()
        if parameter is not None
    ]
    try:
        for module, name, parameter in held:
            zero = torch.zeros((), dtype=parameter.dtype).expand(parameter.shape)
            module._parameters[name] = nn.Parameter(zero, requires_grad=False)
        yield
    finally:
        for module, name, parameter in held:
            module._parameters[name] = parameter


class _Counted(TorchDispatchMode):
    """Bytes of the tensors made inside that live at once: ``most`` of them."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.most = self._now = self._operations = 0
        self._live: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self._operations += 1
        if self._operations > MOST:
            raise RuntimeError("too many operations")
        given = {t.untyped_storage()._cdata for t in tensors_in((args, kwargs))}
        made = func(*args, **(kwargs or {}))
        for tensor in tensors_in(made):
            storage = tensor.untyped_storage()
            if storage._cdata not in given | self._live:
                self._live.add(storage._cdata)
                self._now += storage.nbytes()
                finalize(storage, self._gone, storage._cdata, storage.nbytes())
        self.most = max(self.most, self._now)
        return made

    def _gone(self, key: int, size: int) -> None:
        self._live.discard(key)
        self._now -= size


def tensors_in(value: Any) -> list[torch.Tensor]:
    return [leaf for leaf in tree_leaves(value) if isinstance(leaf, torch.Tensor)]


class _FusedAttention(TorchFunctionMode):
    """Attention in one product, as a CPU's kernel does it where heads are of one size: its scores
    are never there, its mask is, in the queries' dtype."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = kwargs or {}
        if func is nn.functional.scaled_dot_product_attention:
            names = ("query", "key", "value", "attn_mask")
            named: dict[str, Any] = dict(zip(names, args, strict=False)) | given
            query, key, value = (named[name] for name in names[:3])
            mask = named.get("attn_mask")
            if query.shape[-1] == key.shape[-1] == value.shape[-1]:
                mask = None if mask is None else mask.to(query.dtype)
                return torch.empty_like(query)
        return func(*args, **given)
