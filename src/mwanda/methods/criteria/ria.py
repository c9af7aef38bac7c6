"""RIA: relative importance and activations.

Zhang, Bai, Lin, Zhao, Hou, Cannistraci: "Plug-and-Play: An Efficient Post-training Pruning Method
for Large Language Models", ICLR 2024. A weight counts by its share of its row and of its column, so
that no row or column is emptied. With several languages the squared feature norms are averaged with
the language weights; with one language this is the original but for a factor common to all scores.
"""

from __future__ import annotations

import torch

from mwanda.methods.input_statistics import InputStatistics, Norms
from mwanda.methods.wide import wide_sum


def score(
    weight: torch.Tensor, statistics: InputStatistics, *, power: float = 0.5, norms: Norms = "raw"
) -> torch.Tensor:
    """``(|W_ij|/Σ_i|W_ij| + |W_ij|/Σ_j|W_ij|) · n̄_j^a``, where the power a ≥ 0 is how much the
    activations count, and norms are those of :func:`mwanda.methods.criteria.wanda.score`."""
    feature = statistics.with_norms(norms).pooled_rms.pow(power)
    return relative_importance(weight) * feature.to(device=weight.device, dtype=torch.float32)


def relative_importance(weight: torch.Tensor) -> torch.Tensor:
    """Each weight's share of its column plus its share of its row, by size: float32 ``[out, in]``
    from 0 to 2, and 0 in a row or column of zeros. Takes the whole matrix."""
    size = weight.abs().float()
    tiny = torch.finfo(torch.float32).tiny
    column, row = (
        wide_sum(size, dim, keep=True).clamp_min(tiny).float().to(size.device) for dim in (0, 1)
    )
    return size / column + size / row
