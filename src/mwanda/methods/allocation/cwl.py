"""CWL: cross-lingual layerwise sparsity, the layer part of M-Wanda.

Choenni, Titov: "M-Wanda: Improving One-Shot Pruning for Multilingual LLMs", EMNLP 2025
(arXiv 2505.21171). A block whose languages agree on what is active is shared by them; one whose
languages differ is language-specific. Both directions are here; the default is the one our own
measurement prefers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch

from mwanda.methods.allocation.budget import fit, spread
from mwanda.methods.input_statistics import InputStatistics

Direction = Literal["shared-denser", "shared-sparser"]


def measure(weights: Sequence[torch.Tensor], statistics: Sequence[InputStatistics]) -> float:
    """C_b: mean over the block's linears of the mean pairwise Pearson correlation between the
    languages' n_ℓ· vectors, of those whose weight is not 0; 1 for a single language. A linear that
    one language alone reached (an expert's) says nothing about agreement and is left out, unless
    all are like that. The weights themselves are not looked at.
    """
    counted = [inputs.rms[inputs.weights > 0] for inputs in statistics]
    shared = [rms for rms in counted if len(rms) > 1]
    means = [_agreement(rms) for rms in shared or counted]
    return sum(means) / len(means)


def allocate(
    signals: Sequence[float],
    sizes: Sequence[int],
    target: float,
    *,
    width: float = 0.04,
    direction: Direction = "shared-sparser",
) -> list[float]:
    """Sparsity follows the agreement C_b over ``±width`` (λ) around the target.

    Args:
        direction: ``shared-sparser`` takes more weights from blocks the languages share, and
            leaves more to language-specific ones.
    """
    sign = -1.0 if direction == "shared-denser" else 1.0
    return fit([sign * value for value in spread(signals, width)], sizes, target)


def correlations(rms: torch.Tensor) -> torch.Tensor:
    """Pearson correlation of every pair of rows of ``[languages, in]``: ``[languages, languages]``;
    0 with a row that is all alike."""
    centred = rms - rms.mean(dim=1, keepdim=True)
    norms = centred.norm(dim=1, keepdim=True)
    unit = torch.where(norms > 0, centred / norms.clamp_min(torch.finfo(rms.dtype).tiny), 0.0)
    return unit @ unit.t()


def _agreement(rms: torch.Tensor) -> float:
    """Their mean over pairs of different languages; 1 for a single one."""
    pairs = len(rms) * (len(rms) - 1)
    if not pairs:
        return 1.0
    correlation = correlations(rms)
    return float((correlation.sum() - correlation.diagonal().sum()) / pairs)
