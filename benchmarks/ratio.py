"""One model's rise as a share of another's, paired on the same sentences, with a 95 % interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from mwanda.evaluation.paired import EVERYTHING, FEWEST, Left, article_sums, t_quantile, too_few


class Ratio(NamedTuple):
    """A share with its 95 % interval: ±inf where none can be given, and the reason."""

    value: float
    low: float
    high: float
    reason: str = ""


@np.errstate(all="ignore")
def ratio(
    baseline: ArrayLike,
    first: ArrayLike,
    second: ArrayLike,
    *,
    clusters: Sequence[int],
    worst: bool = False,
) -> Ratio:
    """The first's rise in NLL over the second's, each a mean over languages, then over runs.

    The interval is Fieller's: every ratio r at which first − r · second may be 0. It holds also
    where the second's rise is small, and there is none where that cannot be told from 0.

    Args:
        baseline: nats, ``[languages, sentences]``.
        first, second: nats, ``[runs, languages, sentences]``, the same runs.
        clusters: the article of every sentence, left out as in ``paired.difference``.
        worst: each run's largest rise of a language instead of their mean.
    """
    base = article_sums(baseline, clusters)
    weights = (base / base.sum(axis=1, keepdims=True)).mean(axis=0)

    def losses(model: ArrayLike) -> tuple[Any, Any]:
        whole, without = [], []
        for run in np.asarray(model, float):
            left = Left.of(base, article_sums(run, clusters) - base)
            # The worst language is that of all sentences: which it is, is not resampled.
            tags = [int(left.shares.argmax())] if worst else slice(None)
            whole.append(left.shares[tags].mean())
            without.append(left.without[tags].mean(axis=0))
        return np.mean(whole), np.mean(without, axis=0)

    (one, one_left), (two, two_left) = losses(first), losses(second)
    value, equal = float(one / two), float(1 / (weights**2).sum())
    if not math.isfinite(value) or not math.isfinite(equal):
        return Ratio(value, *EVERYTHING, "nothing scored, or values that are not finite")
    if equal < FEWEST:
        return Ratio(value, *EVERYTHING, too_few(equal))
    scale = t_quantile(equal) ** 2 * (1 - 1 / len(weights))
    a = two**2 - scale * ((two_left - two) ** 2).sum()
    b = one * two - scale * ((one_left - one) * (two_left - two)).sum()
    c = one**2 - scale * ((one_left - one) ** 2).sum()
    if not a > 0:
        return Ratio(value, *EVERYTHING, "the second's rise cannot be told from 0")
    half = math.sqrt(max(0.0, b * b - a * c))
    return Ratio(value, float((b - half) / a), float((b + half) / a))
