"""A model loaded whole, for what cannot be done block by block: generation, other libraries."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch

from mwanda.device import choose_compute_dtype, computes_on_host, parse_dtype
from mwanda.jobs.loading import source_dtype
from mwanda.memory import available_memory
from mwanda.model.quantised import refuse_quantised
from mwanda.model.reader import Checkpoint
from mwanda.model.skeleton import auto_class, load_config
from mwanda.options import RunOptions

__all__ = ["fits_whole", "load_whole", "whole_dtype"]

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


def whole_dtype(folder: Path, device: torch.device, options: RunOptions) -> torch.dtype:
    """float32 on a CPU unless asked otherwise, as an evaluation computes."""
    wanted = parse_dtype(options.compute_dtype, "--compute-dtype")
    with Checkpoint.open(folder) as checkpoint:
        refuse_quantised(checkpoint)
        stored = source_dtype(checkpoint)
    if wanted is None and computes_on_host(device) and stored != torch.float64:
        wanted = torch.float32
    return choose_compute_dtype(wanted, stored, device)
