"""A default dtype that is this thread's own, whatever other threads set for the whole process.

torch has one default dtype for all threads, and transformers sets it while it makes a model: so
does any other thread's ``from_pretrained``, and two at once put back each other's.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import local
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map_only

_HERE = local()
"""``dtype`` is there in a thread that has a default of its own."""

_FACTORIES = {
    torch.empty, torch.empty_strided, torch.eye, torch.linspace, torch.logspace, torch.ones,
    torch.rand, torch.randn, torch.zeros,
}  # fmt: skip
"""They give the default dtype whatever they are asked for; others only for real numbers."""

_CASTS = {"float", "double", "half", "bfloat16", "type", "from_numpy", "dequantize"}
"""Named after the dtype that they give."""

_FROM_DATA = {torch.tensor, torch.as_tensor, torch.asarray}


@contextmanager
def own_default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """This thread's tensors without a dtype get this one, and what is set inside is set for it
    alone. For one thread at a time, see :func:`mwanda.system.surroundings.building`."""
    before: torch.dtype | None = getattr(_HERE, "dtype", None)
    get, put = torch.get_default_dtype, torch.set_default_dtype

    def set_default_dtype(d: torch.dtype) -> None:
        if getattr(_HERE, "dtype", None) is None:
            put(d)
        else:
            _HERE.dtype = d

    _HERE.dtype = dtype
    if before is None:
        torch.get_default_dtype = lambda: getattr(_HERE, "dtype", None) or get()
        torch.set_default_dtype = set_default_dtype
    try:
        with _OwnDefault():
            yield
    finally:
        torch.get_default_dtype, torch.set_default_dtype = get, put
        _HERE.dtype = before


class _OwnDefault(TorchFunctionMode):
    """torch asks it, in this thread only, before everything it does."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        dtype: torch.dtype = _HERE.dtype
        named = kwargs.get("dtype") is not None or kwargs.get("out") is not None
        if func in _FACTORIES and not named:
            return func(*args, **{**kwargs, "dtype": dtype})
        result = func(*args, **kwargs)
        if (
            named
            or not isinstance(result, torch.Tensor)
            or not result.is_floating_point()
            or result.dtype == dtype
            or getattr(func, "__name__", "") in _CASTS
        ):
            return result
        given = tree_leaves((args, kwargs))
        if any(_decides(one, func in _FROM_DATA) for one in given):
            return result
        # Whole numbers became real ones, in the default dtype of the process.
        if func is torch.where:  # its condition stays one
            chosen = (torch.as_tensor(one, dtype=dtype) for one in args[1:])
            return func(args[0], *chosen, **_real(kwargs, dtype))
        if any(isinstance(one, torch.Tensor) for one in given):
            return func(*_real(args, dtype), **_real(kwargs, dtype))
        return func(*args, **{**kwargs, "dtype": dtype})


def _decides(value: Any, from_data: bool) -> bool:
    """Whether a result's dtype follows from this argument, and not from the default."""
    if isinstance(value, torch.Tensor):
        return value.is_floating_point() or value.is_complex()
    return isinstance(value, torch.dtype) or (from_data and hasattr(value, "dtype"))


def _real(values: Any, dtype: torch.dtype) -> Any:
    return tree_map_only(torch.Tensor, lambda one: one.to(dtype), values)
