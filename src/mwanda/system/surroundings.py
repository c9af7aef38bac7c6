"""What a caller has switched on around a call is off inside it, and on again after."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from threading import Lock, RLock
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn

from mwanda.system.default_dtype import own_default_dtype
from mwanda.system.device import HOST, choose_device

_BUILDING = RLock()
_IN_USE: WeakKeyDictionary[nn.Module, RLock] = WeakKeyDictionary()
_IN_USE_LOCK = Lock()


@contextmanager
def undisturbed() -> Iterator[None]:
    """No gradients, no inference mode, no autocast and no other default device: a result does not
    depend on where it is asked for. Also a decorator of a function.

    Tensors made under ``torch.inference_mode()`` could not be changed later, by a thread of ours or
    by an optimizer. All of this is the calling thread's own: no other thread sees it.
    """
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.no_grad())  # the line above turns gradients on
        for kind in {HOST.type, choose_device("auto").type}:
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        if torch.empty(0).device != HOST:
            stack.enter_context(HOST)
        yield


@contextmanager
def building() -> Iterator[None]:
    """One thread at a time makes a model of transformers, and no random number is used up.

    Its constructors set torch's default dtype, and here only for this thread: neither does another
    thread's change ours. Some draw first weights, which nobody will see.
    """
    with _BUILDING, torch.random.fork_rng(devices=[]), own_default_dtype(torch.float32):
        yield


@contextmanager
def alone_with(model: nn.Module) -> Iterator[None]:
    """One thread at a time uses a model in memory: the forwards of its blocks are replaced."""
    with _IN_USE_LOCK:
        lock = _IN_USE.setdefault(model, RLock())
    with lock:
        yield


def free_from_inference(model: nn.Module) -> None:
    """Replace what was made under ``torch.inference_mode()`` by copies: nothing outside it may
    change these tensors, no thread of ours and no optimizer."""
    copies: dict[int, torch.Tensor] = {}
    for module in model.modules():
        every: list[dict[str, Any]] = [module._parameters, module._buffers]
        for held in every:
            for name, tensor in held.items():
                if tensor is None or not tensor.is_inference():
                    continue
                if id(tensor) not in copies:  # tied weights stay tied
                    copy = tensor.detach().clone()
                    if isinstance(tensor, nn.Parameter):
                        copy = nn.Parameter(copy, requires_grad=tensor.requires_grad)
                    copies[id(tensor)] = copy
                held[name] = copies[id(tensor)]
