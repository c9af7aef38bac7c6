"""One language's numbers: its texts under one model, and what it lost against another."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mwanda.system.shown import Shown
from mwanda.text.languages import display_name

_MOST = 700.0
"""Nats a token; exp of more than a little above is no number."""


@dataclass(frozen=True, repr=False)
class LanguageResult(Shown):
    """One language's texts under one model.

    Attributes:
        sentence_nll: −ln p of each text, nats, in the source's order.
        tokens: scored tokens.
        size: bytes in UTF-8 of the texts that could be scored.
        unscored: texts of which nothing could be scored; their nats are 0 and count nowhere.
    """

    language: str
    sentence_nll: tuple[float, ...]
    tokens: int
    size: int
    unscored: int = 0

    @classmethod
    def of_row(cls, tag: str, row: Mapping[str, Any]) -> LanguageResult:
        """As a study's cell says it; older ones do not say what could not be scored."""
        nats, unscored = tuple(row["sentence_nll"]), row.get("unscored", 0)
        return cls(tag, nats, row["tokens"], row["size"], unscored)

    def record(self) -> dict[str, Any]:
        """A row for pandas."""
        return {"language": self.language, "name": display_name(self.language)} | self.as_dict()

    def _records(self) -> list[dict[str, Any]]:
        return [self.record()]

    def _summary(self) -> str:
        return (
            f"{display_name(self.language)}, {len(self.sentence_nll)} texts, "
            f"{self.nll_per_sentence:.2f} nats per sentence, {self.bits_per_byte:.4f} bits per byte"
        )

    @property
    def nll(self) -> float:
        """Nats over all texts."""
        return math.fsum(self.sentence_nll)

    @property
    def nll_per_sentence(self) -> float:
        """Nats; NaN where nothing could be scored."""
        scored = len(self.sentence_nll) - self.unscored
        return self.nll / scored if scored and self.tokens else math.nan

    @property
    def nll_per_token(self) -> float:
        """Nats; compares only within one tokeniser and language."""
        return self.nll / self.tokens if self.tokens else math.nan

    @property
    def perplexity(self) -> float:
        """exp of the nats per token; compares only within one tokeniser and language."""
        return math.exp(min(self.nll_per_token, _MOST))

    @property
    def perplexity_shown(self) -> str:
        """For a table: a useless model's has hundreds of digits."""
        if self.nll_per_token > _MOST:
            return ">1e304"
        return f"{self.perplexity:.2f}" if self.perplexity < 1e6 else f"{self.perplexity:.2e}"

    @property
    def bits_per_byte(self) -> float:
        return self.nll / math.log(2) / self.size if self.size else math.nan

    def as_dict(self) -> dict[str, Any]:
        return {
            "sentences": len(self.sentence_nll),
            "unscored": self.unscored,
            "tokens": self.tokens,
            "bytes": self.size,
            "nll_per_sentence": self.nll_per_sentence,
            "nll_per_token": self.nll_per_token,
            "perplexity": self.perplexity,
            "bits_per_byte": self.bits_per_byte,
        }


@dataclass(frozen=True)
class LanguageRise:
    """What one language lost: the rise in nats per sentence over the baseline."""

    language: str
    seen: bool
    baseline: float
    pruned: float
    background: bool = False

    @property
    def rise(self) -> float:
        """Nats per sentence."""
        return self.pruned - self.baseline

    @property
    def relative(self) -> float:
        """Rise as a share of the baseline; what a gate looks at."""
        return self.rise / self.baseline if self.baseline else math.nan

    def record(self) -> dict[str, Any]:
        """A row for pandas."""
        return {
            "language": self.language, "name": display_name(self.language), "seen": self.seen,
            "background": self.background, "baseline": self.baseline, "pruned": self.pruned,
            "rise": self.rise, "relative": self.relative,
        }  # fmt: skip


def worst_of(rises: Sequence[LanguageRise]) -> LanguageRise:
    """The largest relative rise; NaN is more than anything."""
    return max(rises, key=lambda one: math.inf if math.isnan(one.relative) else one.relative)


def mean(values: Iterable[float]) -> float:
    """Arithmetic mean; nan of nothing."""
    numbers = list(values)
    return math.fsum(numbers) / len(numbers) if numbers else math.nan


def means(rises: Sequence[LanguageRise]) -> dict[str, Any] | None:
    """For JSON: what several languages lost in the mean, and the worst; None of none."""
    if not rises:
        return None
    return {
        "languages": len(rises),
        "mean_rise": mean(r.rise for r in rises),
        "mean_relative": mean(r.relative for r in rises),
        "worst": worst_of(rises).language,
    }
