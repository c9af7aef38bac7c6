"""Masks of a folder with experts in it, and a prune of one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

import mwanda
from mwanda import RunOptions
from tests.pipeline.helpers import WEIGHTS, masks_of, windows_file
from tests.support.experts import expert_matrices


def all_masks(folder: Path) -> dict[str, torch.Tensor]:
    """Linear -> nonzero positions, experts' matrices included, as plain transformers sees them."""
    return masks_of(folder) | model_masks(AutoModelForCausalLM.from_pretrained(folder))


def model_masks(model: Any) -> dict[str, torch.Tensor]:
    return {name: weight != 0 for name, weight in expert_matrices(model).items()}


def pruned(source: Path, out: Path, **fields: Any) -> Any:
    """Prune with random windows of two languages, beside ``out``."""
    compute = fields.pop("compute", "float32")
    given: dict[str, Any] = {"criterion": "wanda", "allocation": "uniform", "mode": "sequential"}
    given |= {"language_weights": WEIGHTS} | fields
    return mwanda.prune(
        source,
        out=out,
        calibration=given.pop("calibration", None) or windows_file(out.parent),
        options=RunOptions(compute_dtype=compute, batch_tokens=48),
        **given,
    )
