"""AlphaPruning: layerwise sparsity by the shape of the weights' spectra.

Lu et al.: "AlphaPruning: Using Heavy-Tailed Self Regularization Theory for Improved Layer-wise
Pruning of Large Language Models", NeurIPS 2024 (arXiv 2410.10912). The eigenvalues of a
well-trained matrix have a heavy tail; a block whose tail is light, its exponent high, loses more.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch

from mwanda.methods.allocation.budget import scale, spread
from mwanda.methods.input_statistics import InputStatistics
from mwanda.methods.wide import widened

Tail = Literal["peak", "half"]

BINS = 100
"""Of the histogram whose peak tells where the tail begins."""


def measure(
    weights: Sequence[torch.Tensor], statistics: Sequence[InputStatistics], *, tail: Tail = "peak"
) -> float:
    """Mean over the block's linears of the power-law exponent of their spectra, their tail as
    :func:`exponent` has it; no text is needed."""
    found = [exponent(spectrum(weight), tail=tail) for weight in weights]
    return sum(found) / len(found)


def allocate(
    signals: Sequence[float], sizes: Sequence[int], target: float, *, width: float = 0.3
) -> list[float]:
    """Sparsity grows with the exponent, from ``1 - width`` to ``1 + width`` (ε) times a common
    factor that meets the target."""
    return scale([1.0 + offset for offset in spread(signals, width)], sizes, target)


def spectrum(weight: torch.Tensor) -> torch.Tensor:
    """Eigenvalues of WᵀW above rounding, float64, ascending."""
    matrix = widened(weight)
    # Of WᵀW and WWᵀ, which share all eigenvalues but zeros, the smaller.
    product = matrix @ matrix.t() if matrix.shape[0] <= matrix.shape[1] else matrix.t() @ matrix
    values: torch.Tensor = torch.linalg.eigvalsh(product).cpu()
    floor = float(values[-1]) * len(values) * torch.finfo(torch.float64).eps
    return torch.masked_select(values, values > floor)


def exponent(values: torch.Tensor, *, tail: Tail = "peak") -> float:
    """Hill's estimate ``1 + k / Σ ln(λ_i / λ_min)`` over the k eigenvalues from λ_min on.

    Args:
        values: positive, ascending, float64 ``[n]``.
        tail: ``half`` takes the upper half of the values. ``peak`` looks for λ_min between 0.95
            and 1.5 times the most frequent value (by a histogram of logarithms), and takes the one
            whose power law is nearest to the tail by Kolmogorov and Smirnov's distance.

    Returns:
        The exponent; 1 where there is no tail to speak of (fewer than two values, or all alike).
    """
    count = len(values)
    starts = [count // 2]
    if count < 2 or not bool(values[-1] > values[0]):
        return 1.0
    if tail == "peak":
        logs = values.log10()
        low, high = float(logs[0]), float(logs[-1])
        histogram = torch.histc(logs, BINS, min=low, max=high)
        mode = 10 ** (low + (high - low) * int(histogram.argmax()) / BINS)
        near = (values[:-1] >= 0.95 * mode) & (values[:-1] <= 1.5 * mode)
        starts = torch.nonzero(near).flatten().tolist() or starts
    best = (float("inf"), 1.0)
    for start in starts:
        logs = (values[start:] / values[start]).log()
        total = float(logs.sum())
        if total > 0:
            alpha = 1 + len(logs) / total
            steps = torch.arange(len(logs), dtype=torch.float64) / len(logs)
            distance = float((1 - torch.exp(logs * (1 - alpha)) - steps).abs().max())
            best = min(best, (distance, alpha))
    return best[1]
