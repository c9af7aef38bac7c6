"""A recipe that leaves no field as it is by default."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

EVERY_FIELD: Mapping[str, Any] = MappingProxyType({
    "sparsity": 0.4, "pattern": "unstructured-matrix",
    "criterion": {"name": "m-wanda", "norms": "normalised"},
    "allocation": {"name": "cwl", "options": {"width": 0.1}}, "allocation_level": "linear",
    "reconstruction": {"name": "admm", "iterations": 3}, "recover": {"steps": 5},
    "mode": "sequential",
    "languages": ["de", "sw"], "language_weights": {"de": 2.0, "sw": 0.5}, "windows": 4,
    "window_length": 32, "background": "udhr", "background_weight": 0.2,
    "background_windows": 7, "seed": 3, "keep_english": True, "keep_repeated": True,
    "skip_first_tokens": 1, "include": ["q_proj", "mlp"], "exclude": ["x|y"],
    "skip_blocks": [0, 1], "dtype": "bfloat16", "expert_tokens": 3,
})  # fmt: skip
"""A new field of :class:`mwanda.Recipe` has its value here."""
