"""The only file that knows device names: where to compute, and in which floating-point type."""

from __future__ import annotations

import platform

import torch

from mwanda.errors import InputError
from mwanda.system.run_options import FLOATS

HOST = torch.device("cpu")
"""The machine's ordinary memory."""

NOWHERE = torch.device("meta")
"""For parameters that have a shape and hold nothing."""

DTYPES: dict[str, torch.dtype] = {name: getattr(torch, name) for name in FLOATS}


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
    """The device to compute on; ``auto`` takes CUDA when there is one. Plain ``auto`` and ``cuda``
    mean the device of this process's number on its machine, where several share its devices."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and local_rank is not None:
        name = f"cuda:{local_rank}"
    unknown = InputError("--device", expected="auto, cpu, cuda or cuda:N", found=name)
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise unknown from error
    if device.type not in ("cpu", "cuda"):
        raise unknown
    if device.type == "cuda" and not torch.cuda.is_available():
        raise InputError("--device", expected="a device of this machine", found=f"{name}: no CUDA")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        found = f"{name}, of {torch.cuda.device_count()} devices"
        raise InputError("--device", expected="a device of this machine", found=found)
    return device


def computes_on_host(device: torch.device) -> bool:
    """Whether the forward runs on the CPU."""
    return device.type == HOST.type


def device_kind(device: torch.device) -> str:
    """Which processor computes: two of a kind round alike."""
    if computes_on_host(device):
        return f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"
    return str(torch.cuda.get_device_name(device))


def backend_of(device: torch.device) -> str:
    """How processes that compute on such devices exchange tensors."""
    return "gloo" if computes_on_host(device) else "nccl"


def to_host(tensor: torch.Tensor) -> torch.Tensor:
    """A contiguous copy in ordinary memory, or the tensor itself where that is what it is.

    What comes from another device goes into pinned memory, from where it goes back without a copy
    in between and while that device computes.
    """
    here = tensor.detach()
    if here.is_cpu:
        return here.contiguous()
    pinned = torch.empty(here.shape, dtype=here.dtype, pin_memory=True)
    return pinned.copy_(here)


def choose_compute_dtype(
    wanted: torch.dtype | None, source: torch.dtype, device: torch.device
) -> torch.dtype:
    """What the forward runs in: the source's dtype where the hardware multiplies it fast.

    On a CPU without bf16 units a bf16 matmul is two orders of magnitude slower than float32, and
    fp16 is slow on every CPU: float32 is used there. The written dtype is not touched by this.
    """
    if wanted is not None:
        return wanted
    if computes_on_host(device) and source in (torch.bfloat16, torch.float16):
        if source == torch.bfloat16 and _cpu_has_bf16_units():
            return torch.bfloat16
        return torch.float32
    return source


def _cpu_has_bf16_units() -> bool:
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
