"""Magnitude pruning.

Han, Pool, Tran, Dally: "Learning both Weights and Connections for Efficient Neural Networks",
NeurIPS 2015 (arXiv 1506.02626).
"""

from __future__ import annotations

import torch

from mwanda.methods.input_statistics import InputStatistics


def score(weight: torch.Tensor, statistics: InputStatistics | None = None) -> torch.Tensor:
    """``|W_ij|``: needs no text."""
    return weight.abs().float()
