"""A model loaded whole, for what cannot be done block by block: generation."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch

from mwanda.memory import available_memory
from mwanda.model.reader import Checkpoint
from mwanda.model.skeleton import auto_class, load_config
from mwanda.options import RunOptions

__all__ = ["fits_whole", "load_whole"]

log = logging.getLogger("mwanda")


def fits_whole(folder: Path, dtype: torch.dtype) -> bool:
    """Whether the model can be loaded whole for generation; says so when it cannot."""
    with Checkpoint.open(folder) as checkpoint:
        infos = checkpoint.tensors.values()
        needed = sum(info.nbytes // info.dtype.itemsize for info in infos) * dtype.itemsize
    free = available_memory()
    if free is None or needed * 1.2 < free:
        return True
    log.warning(
        "left out: the whole model takes %.1f GB, %.1f GB are free",
        needed / 1e9,
        free / 1e9,
    )
    return False


def load_whole(folder: Path, dtype: torch.dtype, device: torch.device, options: RunOptions) -> Any:
    config = load_config(folder, trust_remote_code=options.trust_remote_code)
    model = auto_class(config).from_pretrained(
        folder,
        dtype=dtype,
        trust_remote_code=options.trust_remote_code,
        local_files_only=True,
    )
    return model.to(device).eval()
