"""Masks of a folder with experts in it, and a prune of one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, GraniteMoeConfig

import mwanda
from mwanda import RunOptions
from tests.pruning.pipeline.helpers import WEIGHTS, masks_of, windows_file
from tests.support.experts import expert_matrices
from tests.support.models import HIDDEN, VOCABULARY, redraw, tiny_tokenizer


def all_masks(folder: Path) -> dict[str, torch.Tensor]:
    """Linear -> nonzero positions, experts' matrices included, as plain transformers sees them."""
    return masks_of(folder) | model_masks(AutoModelForCausalLM.from_pretrained(folder))


def granite(folder: Path) -> Path:
    """A model whose experts are one tensor a layer on disk too."""
    config = GraniteMoeConfig(
        vocab_size=VOCABULARY, hidden_size=HIDDEN, intermediate_size=40, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, num_local_experts=4, num_experts_per_tok=2,
        max_position_embeddings=128, pad_token_id=0, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    model = AutoModelForCausalLM.from_config(config)
    redraw(model, 0)
    model.save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


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
