"""The only file that knows devices: where to compute, in which type, and what a kind lacks.

Accelerators are torch's, whatever their kind (:mod:`torch.accelerator`): a build of torch knows one
beside the CPU. What a kind cannot do is tried once and worked around by a rule here.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch

from mwanda.errors import InputError
from mwanda.system.run_options import FLOATS

HOST = torch.device("cpu")
"""The machine's ordinary memory."""

NOWHERE = torch.device("meta")
"""For parameters that have a shape and hold nothing."""

DTYPES: dict[str, torch.dtype] = {name: getattr(torch, name) for name in FLOATS}

CANNOT = (RuntimeError, TypeError, NotImplementedError, AttributeError)
"""What torch raises where a kind of device lacks something."""


def dtype_name(dtype: torch.dtype) -> str:
    """``torch.bfloat16`` -> ``bfloat16``."""
    return str(dtype).removeprefix("torch.")


def parse_dtype(name: str, option: str) -> torch.dtype | None:
    """A dtype by name; None for ``auto``."""
    if name == "auto":
        return None
    if name not in DTYPES:
        raise InputError(option, expected=f"auto or one of {', '.join(DTYPES)}", found=name)
    return DTYPES[name]


def choose_device(name: str, local_rank: int | None = None) -> torch.device:
    """The device to compute on; ``auto`` takes the accelerator where there is one. ``auto`` and a
    kind without a number mean the device of this process's number on its machine, where several
    share its devices."""
    here = _accelerator()
    if name == "auto":
        name = here or HOST.type
    try:
        device = torch.device(name)
    except RuntimeError:
        device = NOWHERE
    if device.type == NOWHERE.type:
        expected = "auto, cpu or a kind of accelerator, as cuda, mps or xpu, alone or as cuda:N"
        raise InputError("--device", expected=expected, found=name)
    if computes_on_host(device):
        return device
    there = "a device of this machine: cpu" if here is None else f"cpu or {here}"
    if device.type != here:
        raise InputError("--device", expected=there, found=f"{name}, which is not there")
    count = torch.accelerator.device_count()
    if ":" in name:
        number = device.index
    else:
        number = torch.accelerator.current_device_index() if local_rank is None else local_rank
    if number >= count:
        found = f"{here}:{number}, of {count} device{'s' * (count != 1)}"
        raise InputError("--device", expected="a device of this machine", found=found)
    return torch.device(device.type, number)


def _accelerator() -> str | None:
    """The kind of accelerator that is there and can be used."""
    if not torch.accelerator.is_available():
        return None
    found = torch.accelerator.current_accelerator()
    return None if found is None else found.type


def computes_on_host(device: torch.device) -> bool:
    """Whether the forward runs on the CPU."""
    return device.type == HOST.type


def device_kind(device: torch.device) -> str:
    """Which processor computes: two of a kind round alike."""
    if computes_on_host(device):
        return f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"
    name = getattr(torch.get_device_module(device), "get_device_name", None)
    return f"{platform.machine()} {device.type}" if name is None else str(name(device))


def exchange_of(device: torch.device) -> tuple[str, torch.device]:
    """How processes that compute on such devices exchange tensors, and where these must lie."""
    if computes_on_host(device) or not has_float64(device):  # sums are exchanged in float64
        return "gloo", HOST
    try:
        backend = torch.distributed.get_default_backend_for_device(device)
    except ValueError:  # a kind that brings no backend of its own
        backend = "gloo"
    return backend, HOST if backend == "gloo" else device


def to_host(tensor: torch.Tensor) -> torch.Tensor:
    """A contiguous copy in ordinary memory, or the tensor itself where that is what it is.

    What comes from another device goes into pinned memory where its kind pins any, from where it
    goes back without a copy in between and while that device computes.
    """
    here = tensor.detach()
    if here.is_cpu:
        return here.contiguous()
    return torch.empty(here.shape, dtype=here.dtype, pin_memory=pins(here.device)).copy_(here)


def pins(device: torch.device) -> bool:
    """Whether the host has memory that such a device copies from and to while it computes."""
    return not computes_on_host(device) and _pins(device)


def wait_for(device: torch.device) -> None:
    """Go on when the device has done all it was told to do, copies to the host among it."""
    if not computes_on_host(device):
        torch.accelerator.synchronize(device)


@contextmanager
def unseeded(device: torch.device) -> Iterator[None]:
    """Seeds set inside, and numbers drawn, do not count outside: on the host, nor on any device of
    this kind, all of which a seed is set on."""
    if computes_on_host(device):
        with torch.random.fork_rng([]):
            yield
        return
    with torch.random.fork_rng(range(torch.accelerator.device_count()), device_type=device.type):
        yield


def holds(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether tensors of a dtype are of use there."""
    return not dtype.is_floating_point or _takes(device, dtype)


def has_float64(device: torch.device) -> bool:
    """Whether tensors of float64 can lie there; they cannot on mps."""
    return _takes(device, torch.float64)


def widened(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor in float64: where it lies, or on the host where its device has none."""
    return tensor.double() if has_float64(tensor.device) else tensor.to(HOST).double()


def choose_compute_dtype(
    wanted: torch.dtype | None, source: torch.dtype, device: torch.device
) -> torch.dtype:
    """What the forward runs in: the source's dtype where the hardware multiplies it fast.

    On a CPU without bf16 units a bf16 matmul is two orders of magnitude slower than float32, and
    fp16 is slow on every CPU: float32 is used there, as on an accelerator that lacks the dtype. The
    written dtype is not touched by this.
    """
    if not computes_on_host(device):
        if wanted is not None and not _multiplies(device, wanted):
            expected = f"a dtype that {device.type} computes in"
            raise InputError("--compute-dtype", expected=expected, found=dtype_name(wanted))
        return wanted or (source if _multiplies(device, source) else torch.float32)
    if wanted is not None:
        return wanted
    if source == torch.bfloat16 and _cpu_has_bf16_units():
        return torch.bfloat16
    return torch.float32 if source in (torch.bfloat16, torch.float16) else source


def _cpu_has_bf16_units() -> bool:
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def _multiplies(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether a device computes in a dtype itself, not by way of another."""
    supported: Any = getattr(torch.get_device_module(device), "is_bf16_supported", None)
    if dtype == torch.bfloat16 and supported is not None:
        try:
            return bool(supported(including_emulation=False))
        except TypeError:
            return bool(supported())
    return _takes(device, dtype)


@cache
def _takes(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether a product of two small matrices can be had there: tried once, and on no other device,
    where it would take memory."""
    if device.type in (HOST.type, NOWHERE.type):
        return True
    try:
        tried = torch.ones(2, 2, dtype=dtype, device=device)
        return float((tried @ tried).sum()) == 8
    except CANNOT:
        return False


@cache
def _pins(device: torch.device) -> bool:
    """Whether the host has memory that such a device copies from while it computes: tried once."""
    try:
        return bool(torch.empty(1, pin_memory=True).to(device, non_blocking=True).numel())
    except CANNOT:
        return False
