"""The only file that knows device names: where to compute, and in which floating-point type."""

from __future__ import annotations

import torch

from mwanda.errors import InputError

__all__ = ["DTYPES", "choose_compute_dtype", "choose_device", "dtype_name", "parse_dtype"]

DTYPES: dict[str, torch.dtype] = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "float64": torch.float64,
}


def dtype_name(dtype: torch.dtype) -> str:
    """``torch.bfloat16`` -> ``bfloat16``."""
    return str(dtype).removeprefix("torch.")


def parse_dtype(name: str, option: str) -> torch.dtype | None:
    """A dtype by name; None for ``auto``.

    Raises:
        InputError: an unknown name.
    """
    if name == "auto":
        return None
    if name not in DTYPES:
        raise InputError(option, expected=f"auto or one of {', '.join(DTYPES)}", found=name)
    return DTYPES[name]


def choose_device(name: str) -> torch.device:
    """The device to compute on; ``auto`` takes CUDA when there is one.

    Raises:
        InputError: an unknown device, or one this machine lacks.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InputError("--device", expected="auto, cpu, cuda or cuda:N", found=name) from error
    if device.type not in ("cpu", "cuda"):
        raise InputError("--device", expected="auto, cpu, cuda or cuda:N", found=name)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise InputError("--device", expected="a device of this machine", found=f"{name}: no CUDA")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        found = f"{name}, of {torch.cuda.device_count()} devices"
        raise InputError("--device", expected="a device of this machine", found=found)
    return device


def choose_compute_dtype(
    wanted: torch.dtype | None, source: torch.dtype, device: torch.device
) -> torch.dtype:
    """What the forward runs in: the source's dtype where the hardware multiplies it fast.

    On a CPU without bf16 units a bf16 matmul is two orders of magnitude slower than float32, and
    fp16 is slow on every CPU: float32 is used there. The written dtype is not touched by this.
    """
    if wanted is not None:
        return wanted
    if device.type == "cpu" and source in (torch.bfloat16, torch.float16):
        if source == torch.bfloat16 and _cpu_has_bf16_units():
            return torch.bfloat16
        return torch.float32
    return source


def _cpu_has_bf16_units() -> bool:
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
