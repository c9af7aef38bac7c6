"""The parameter budget: sparsities shifted and clipped until their weighted mean is the target."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

CEILING = 0.95
"""No block is pruned beyond this, unless the target itself is higher."""


def fit(offsets: Sequence[float], sizes: Sequence[int], target: float) -> list[float]:
    """``clip(target + offset_b + c, 0, max(0.95, target))`` with the c that meets the budget.

    Args:
        offsets: wished deviation of each block from the target.
        sizes: number of prunable weights of each block.

    Returns:
        One sparsity a block; ``Σ size·s / Σ size`` equals ``target`` to rounding.
    """
    if math.fsum(sizes) == 0 or max(offsets) == min(offsets):
        return [target for _ in offsets]
    ceiling = max(CEILING, target)

    def clipped(shift: float) -> list[float]:
        return [min(max(target + offset + shift, 0.0), ceiling) for offset in offsets]

    # From all-zero to all-ceiling.
    low = -1.0 - max(offsets) - target
    high = ceiling - target - min(offsets) + 1.0
    return _meet(clipped, low, high, sizes, target)


def scale(factors: Sequence[float], sizes: Sequence[int], target: float) -> list[float]:
    """``clip(c · factor_b, 0, max(0.95, target))`` with the c that meets the budget.

    Args:
        factors: wished sparsities but for a common factor; what is below a millionth of the largest
            counts as that, so that any budget can be met.
        sizes, returned value: as of :func:`fit`.
    """
    if math.fsum(sizes) == 0 or target == 0 or max(factors) == min(factors):
        return [target for _ in factors]
    ceiling = max(CEILING, target)
    largest = max(factors)
    shares = [max(factor / largest, 1e-6) if largest > 0 else 1.0 for factor in factors]

    def clipped(factor: float) -> list[float]:
        return [min(factor * share, ceiling) for share in shares]

    return _meet(clipped, 0.0, 2 * ceiling / min(shares), sizes, target)


def _meet(
    sparsities: Callable[[float], list[float]],
    low: float,
    high: float,
    sizes: Sequence[int],
    target: float,
) -> list[float]:
    """The sparsities at the point between ``low`` and ``high`` where their mean is the target.

    The mean grows with the point, from below the target to above: bisection cannot miss it.
    """
    total = math.fsum(sizes)

    def excess(point: float) -> float:
        pairs = zip(sizes, sparsities(point), strict=True)
        return math.fsum(size * value for size, value in pairs) / total - target

    for _ in range(200):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        if excess(middle) < 0:
            low = middle
        else:
            high = middle
    return sparsities(high)


def spread(signals: Sequence[float], width: float) -> list[float]:
    """Signals scaled so that the lowest gives ``-width`` and the highest ``+width``.

    Equal signals (one block, one language) give no deviation at all.
    """
    low, high = min(signals), max(signals)
    if not high - low > 1e-12 * max(abs(low), abs(high), 1e-300):
        return [0.0 for _ in signals]
    return [width * (2 * (value - low) / (high - low) - 1) for value in signals]
