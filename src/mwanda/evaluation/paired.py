"""A paired comparison of two models on the same sentences, with a 95 % interval.

Sentences of one article are alike, so it is articles that are counted, not sentences. The interval
is a cluster t: the standard error is the jackknife's, which leaves out one article after the other,
and the degrees of freedom are those of as many equal articles as the real ones weigh.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

FEWEST = 5
"""Fewer articles than so many equal ones say nothing of how articles differ: no interval."""

EVERYTHING = (-math.inf, math.inf)


@dataclass(frozen=True)
class Difference:
    """First minus second, in relative rise over the baseline: 0.01 is one point.

    Attributes:
        mean: over languages.
        low, high: 95 % interval; ±inf where none can be given.
        clusters: number of articles; 0 where every language has sentences of its own.
        reason: why there is no interval; empty where there is one.
    """

    mean: float
    low: float
    high: float
    clusters: int
    reason: str = ""

    @property
    def significant(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.low > 0 or self.high < 0

    def bounds(self) -> str:
        """``+1.20% to +3.40%``, or ``none``."""
        return "none" if self.reason else f"{self.low:+.2%} to {self.high:+.2%}"

    def as_dict(self) -> dict[str, Any]:
        """For JSON: None for what is not there."""
        return {k: None if v in EVERYTHING or v != v else v for k, v in asdict(self).items()}


Rows = Sequence[ArrayLike] | ArrayLike
"""Nats, ``[languages, sentences]``; rows of different lengths where nothing is parallel."""


def difference(
    baseline: Rows, first: Rows, second: Rows, *, clusters: Sequence[int] | None
) -> Difference:
    """The mean over languages of (Σ first − Σ second) / Σ baseline, sums over sentences.

    An article is left out whole and in all languages at once, since its sentences are translations
    of each other; baseline and both models always lose it together.

    Args:
        baseline, first, second: nats, ``[languages, sentences]``.
        clusters: the article of every sentence; None where the languages' sentences are not
            translations of each other: then every sentence of each language stands for itself, and
            rows may differ in length.
    """
    return differences(baseline, first, second, clusters=clusters)[0]


@np.errstate(all="ignore")  # what comes of zeros is told as no interval
def differences(
    baseline: Rows, first: Rows, second: Rows, *, clusters: Sequence[int] | None
) -> tuple[Difference, list[Difference]]:
    """As :func:`difference`, and the same for every language alone."""
    if clusters is None:
        return _apart(baseline, first, second)
    base = article_sums(baseline, clusters)
    left = Left.of(base, article_sums(first, clusters) - article_sums(second, clusters))
    count = base.shape[1]
    weights = base / base.sum(axis=1, keepdims=True)
    each = [
        _difference(share, *_spread(share, one, weight), count)
        for share, one, weight in zip(left.shares, left.without, weights, strict=True)
    ]
    mean = left.shares.mean()
    return _difference(
        mean, *_spread(mean, left.without.mean(axis=0), weights.mean(axis=0)), count
    ), each


def _apart(baseline: Any, first: Any, second: Any) -> tuple[Difference, list[Difference]]:
    """Languages that have nothing in common: their variances add up."""
    each, shares, variances, freedom = [], [], [], []
    for row, one, other in zip(baseline, first, second, strict=True):
        base = np.asarray(row, float)[None]
        left = Left.of(base, (np.asarray(one, float) - np.asarray(other, float))[None])
        share = left.shares[0]
        variance, equal = _spread(share, left.without[0], base[0] / base.sum())
        each.append(_difference(share, variance, equal, 0))
        shares.append(share)
        variances.append(variance)
        freedom.append(equal - 1)
    total, mean = sum(variances), np.mean(shares)
    short = [one for one in each if one.reason]
    if short:
        return Difference(float(mean), *EVERYTHING, 0, f"a language: {short[0].reason}"), each
    below = sum(v * v / f for v, f in zip(variances, freedom, strict=True))
    # Welch and Satterthwaite; without any spread there is nothing to share out.
    equal = 1 + (total * total / below if below else min(freedom))
    return _difference(mean, total / len(each) ** 2, equal, 0), each


@dataclass(frozen=True)
class Left:
    """Shares ``[languages]``, and the same without each article, ``[languages, articles]``."""

    shares: Any
    without: Any

    @classmethod
    def of(cls, base: Any, gap: Any) -> Left:
        all_base, all_gap = base.sum(axis=1, keepdims=True), gap.sum(axis=1, keepdims=True)
        return cls((all_gap / all_base)[:, 0], (all_gap - gap) / (all_base - base))


def article_sums(rows: Any, clusters: Sequence[int]) -> Any:
    """Sums over the sentences of each article, ``[languages, articles]``."""
    given = np.asarray(rows, float)
    found = np.zeros((max(clusters) + 1, len(given)))
    np.add.at(found, np.asarray(clusters), given.T)
    return found.T


def _spread(value: Any, without: Any, weights: Any) -> tuple[float, float]:
    """Jackknife variance, and how many equal articles weigh what these do."""
    count = len(without)
    variance = (1 - 1 / count) * float(((without - value) ** 2).sum())
    return variance, float(1 / (weights**2).sum())


def _difference(share: Any, variance: float, equal: float, count: int) -> Difference:
    mean = float(share)
    if not math.isfinite(mean) or not math.isfinite(equal):
        return Difference(mean, *EVERYTHING, count, "nothing scored, or values that are not finite")
    if equal < FEWEST * (1 - 1e-9):  # rounding: five equal articles can weigh a little less
        return Difference(mean, *EVERYTHING, count, too_few(equal))
    half = t_quantile(equal) * math.sqrt(variance)
    return Difference(mean, mean - half, mean + half, count)


def too_few(equal: float) -> str:
    """Why so few articles have no interval."""
    return f"too little text: as good as {equal:.1f} articles, at least {FEWEST} are needed"


def t_quantile(equal: float) -> float:
    """Half-width of a 95 % interval in standard errors, for as many equal articles."""
    from scipy.special import stdtrit

    return float(stdtrit(equal - 1, 0.975))
