"""A paired comparison of two models on the same sentences, with a bootstrap interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

__all__ = ["Difference", "Ratio", "clusters_of", "difference", "differences", "ratio", "verdict"]

RESAMPLES = 10_000
ARTICLE = 5
"""Sentences whose ids are at most this far apart are taken to be of one article."""


@dataclass(frozen=True)
class Difference:
    """First minus second, in relative rise over the baseline: 0.01 is one point.

    Attributes:
        mean: over languages.
        low, high: 95 % percentile interval over resampled articles.
        clusters: number of articles; 0 where every language has sentences of its own.
    """

    mean: float
    low: float
    high: float
    clusters: int

    @property
    def significant(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.low > 0 or self.high < 0

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Ratio:
    """The first's rise over the baseline as a share of the second's.

    Attributes:
        value: of all sentences.
        low, high: 95 % percentile interval over resampled articles.
    """

    value: float
    low: float
    high: float


def clusters_of(ids: Sequence[int], apart: int = ARTICLE) -> list[int]:
    """The article of every sentence, numbered from 0, from ids in any order.

    Args:
        apart: sentences whose ids differ by at most this are of one article; 0 takes each alone.
    """
    number, last = -1, None
    found = {}
    for one in sorted(ids):
        if last is None or one - last > apart:
            number += 1
        found[one], last = number, one
    return [found[one] for one in ids]


Rows = Sequence[ArrayLike] | ArrayLike
"""Nats, ``[languages, sentences]``; rows of different lengths where nothing is parallel."""


def difference(
    baseline: Rows, first: Rows, second: Rows, *, clusters: Sequence[int] | None
) -> Difference:
    """The mean over languages of (Σ first − Σ second) / Σ baseline, sums over sentences.

    An article is drawn whole and in all languages at once, since its sentences are translations of
    each other; baseline and both models are always resampled together.

    Args:
        baseline, first, second: nats, ``[languages, sentences]``.
        clusters: the article of every sentence; None where the languages' sentences are not
            translations of each other: then each language is resampled for itself, sentence by
            sentence, and rows may differ in length.
    """
    return differences(baseline, first, second, clusters=clusters)[0]


def differences(
    baseline: Rows, first: Rows, second: Rows, *, clusters: Sequence[int] | None
) -> tuple[Difference, list[Difference]]:
    """As :func:`difference`, and the same for every language alone."""
    if clusters is None:
        shares, samples = _apart(baseline, first, second)
    else:
        base, gap = np.asarray(baseline, float), np.asarray(first, float)
        gap = gap - np.asarray(second, float)
        member, draws = _resamples(clusters)
        shares = gap.sum(axis=1) / base.sum(axis=1)
        samples = (draws @ (gap @ member).T) / (draws @ (base @ member).T)
    count = 0 if clusters is None else max(clusters) + 1

    def of(share: Any, sample: Any) -> Difference:
        low, high = np.quantile(sample, [0.025, 0.975])
        return Difference(float(share), float(low), float(high), count)

    each = [of(share, samples[:, number]) for number, share in enumerate(shares)]
    return of(shares.mean(), samples.mean(axis=1)), each


def _apart(baseline: Any, first: Any, second: Any) -> tuple[Any, Any]:
    """Shares ``[languages]`` and their samples ``[resamples, languages]``, each language's own."""
    shares, samples = [], []
    for number, (row, one, other) in enumerate(zip(baseline, first, second, strict=True)):
        base, gap = np.asarray(row, float), np.asarray(one, float) - np.asarray(other, float)
        chances = np.full(len(base), 1 / len(base))
        draws = np.random.default_rng([0, number]).multinomial(len(base), chances, RESAMPLES)
        shares.append(gap.sum() / base.sum())
        samples.append((draws @ gap) / (draws @ base))
    return np.array(shares), np.stack(samples, axis=1)


def ratio(
    baseline: ArrayLike,
    first: ArrayLike,
    second: ArrayLike,
    *,
    clusters: Sequence[int],
    worst: bool = False,
) -> Ratio:
    """The first's rise in NLL over the second's, each a mean over languages, then over runs.

    Args:
        baseline: nats, ``[languages, sentences]``.
        first, second: nats, ``[runs, languages, sentences]``, the same runs.
        clusters: the article of every sentence; resampled as in :func:`difference`.
        worst: each run's largest rise of a language instead of their mean.
    """
    member, draws = _resamples(clusters)
    base = np.asarray(baseline, float) @ member
    draws = np.concatenate([np.ones((1, member.shape[1])), draws])
    dense = draws @ base.T

    def loss(model: ArrayLike) -> Any:
        sums = np.einsum("rlc,dc->drl", np.asarray(model, float) @ member, draws)
        rises = sums / dense[:, None] - 1
        return (rises.max(axis=2) if worst else rises.mean(axis=2)).mean(axis=1)

    ratios = loss(first) / loss(second)
    low, high = np.quantile(ratios[1:], [0.025, 0.975])
    return Ratio(float(ratios[0]), float(low), float(high))


def _resamples(clusters: Sequence[int]) -> tuple[Any, Any]:
    """Which article each sentence is of, ``[sentences, articles]`` of 0 and 1, and how often each
    article is drawn, ``[resamples, articles]``."""
    count = max(clusters) + 1
    member = np.zeros((len(clusters), count))
    member[np.arange(len(clusters)), clusters] = 1
    chances = np.full(count, 1 / count)
    return member, np.random.default_rng(0).multinomial(count, chances, RESAMPLES)


def verdict(found: Difference, first: str, second: str) -> str:
    """Which loses less, where the interval leaves out 0; else ``either``."""
    if found.high < 0:
        return first
    return second if found.low > 0 else "either"
