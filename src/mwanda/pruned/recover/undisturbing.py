"""What the Trainer and accelerate set for the whole process, and what they look at there."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from transformers.utils import logging as logs

from mwanda.system.device import computes_on_host, unseeded

PLACE = "ACCELERATE_TORCH_DEVICE"
"""Where both look for a device."""


@contextmanager
def undisturbing(device: torch.device, processes: int) -> Iterator[None]:
    """Inside, one process trains on this device, also on one of a kind that the Trainer does not
    know; several have theirs from accelerate. Seeds, and how much is logged, are put back."""
    drawn, numbers, level = random.getstate(), np.random.get_state(), logs.get_verbosity()
    place = os.environ.get(PLACE)
    if processes == 1 and not computes_on_host(device):
        os.environ[PLACE] = str(device)
    try:
        with unseeded(device):
            yield
    finally:
        random.setstate(drawn)
        np.random.set_state(numbers)
        logs.set_verbosity(level)
        os.environ.pop(PLACE, None)
        if place is not None:
            os.environ[PLACE] = place
