"""What the Trainer and accelerate set for the whole process, and what they look at there."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from transformers.utils import logging as logs

from mwanda.system.device import computes_on_host, unseeded

PLACE = "ACCELERATE_TORCH_DEVICE"
"""Where both look for a device."""

RUNS = "TENSORBOARD_LOGGING_DIR"
"""Where the Trainer looks for a place for TensorBoard's files; else they would go with its own."""


@contextmanager
def undisturbing(device: torch.device, processes: int, runs: Path) -> Iterator[None]:
    """Inside, one process trains on this device, also on one of a kind that the Trainer does not
    know; several have theirs from accelerate. Seeds, how much is logged and the environment are put
    back.

    Args:
        runs: folder for TensorBoard's files, unless the environment names one.
    """
    drawn, numbers, level = random.getstate(), np.random.get_state(), logs.get_verbosity()
    environment = {name: os.environ.get(name) for name in (PLACE, RUNS)}
    if processes == 1 and not computes_on_host(device):
        os.environ[PLACE] = str(device)
    os.environ.setdefault(RUNS, str(runs))
    try:
        with unseeded(device):
            yield
    finally:
        random.setstate(drawn)
        np.random.set_state(numbers)
        logs.set_verbosity(level)
        for name, value in environment.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
