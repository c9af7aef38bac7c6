"""Typed results of an evaluation, and what a model lost against another on the same texts."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from mwanda.errors import InputError

if TYPE_CHECKING:
    from mwanda.evaluation.paired import Difference


_MOST = 700.0
"""Nats a token; exp of more than a little above is no number."""


@dataclass(frozen=True)
class LanguageResult:
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
class Evaluation:
    """One model on one set of texts.

    Attributes:
        model: as the user named it.
        languages: tag -> result.
        seen: languages whose text calibrated the pruning; empty for a dense model.
        text, text_sha256: what was scored.
        settings: seed, how texts begin, dtype: what the numbers depend on.
        continuations: tag -> a prompt and what the model goes on with.
        generated: tag -> several of them, checked; see :mod:`mwanda.evaluation.continued`.
        ids: tag -> ids of its texts, or their places in the source; a language that is not there
            has its texts in a row.
    """

    model: str
    languages: dict[str, LanguageResult]
    seen: tuple[str, ...]
    text: str
    text_sha256: str
    settings: dict[str, Any] = field(default_factory=dict)
    continuations: dict[str, Any] = field(default_factory=dict)
    generated: dict[str, Any] = field(default_factory=dict)
    ids: Mapping[str, Sequence[int | str]] = field(default_factory=dict)

    def as_dict(self, *, sentences: bool = False) -> dict[str, Any]:
        """For JSON; ``sentences`` adds every text's own number."""
        languages = {}
        for tag, result in self.languages.items():
            languages[tag] = result.as_dict() | {"seen": tag in self.seen}
            if sentences:
                languages[tag]["sentence_nll"] = list(result.sentence_nll)
        found = {
            "model": self.model,
            "text": self.text,
            "text_sha256": self.text_sha256,
            "settings": self.settings,
            "languages": languages,
            "continuations": {tag: c.as_dict() for tag, c in self.continuations.items()},
        }
        if self.generated:
            found["generated"] = {tag: c.as_dict() for tag, c in self.generated.items()}
        return found


@dataclass(frozen=True)
class LanguageRise:
    """What one language lost: the rise in nats per sentence over the baseline."""

    language: str
    seen: bool
    baseline: float
    pruned: float

    @property
    def rise(self) -> float:
        """Nats per sentence."""
        return self.pruned - self.baseline

    @property
    def relative(self) -> float:
        """Rise as a share of the baseline; what a gate looks at."""
        return self.rise / self.baseline if self.baseline else math.nan


@dataclass(frozen=True)
class Comparison:
    """An evaluation against its baseline on the same texts."""

    baseline: Evaluation
    pruned: Evaluation
    rises: tuple[LanguageRise, ...]

    @classmethod
    def of(cls, baseline: Evaluation, pruned: Evaluation) -> Comparison:
        """Compare two evaluations.

        Raises:
            InputError: they are not about the same texts, or tokens.
        """
        both = f"{pruned.model} against {baseline.model}"
        one_tokenizer = "compare models of one tokenizer"

        if baseline.text_sha256 != pruned.text_sha256:
            raise InputError(
                both,
                expected="the same texts for both",
                found="different ones",
                fix="evaluate both with the same --text, --sentences and --seed",
            )
        for tag, result in pruned.languages.items():
            if result.unscored != (left := baseline.languages[tag].unscored):
                raise InputError(
                    f"{both}, {tag}",
                    expected="the same texts scored by both",
                    found=f"{result.unscored} and {left} of which nothing could be scored",
                    fix="leave texts of one token out",
                )
            if result.tokens != (count := baseline.languages[tag].tokens):
                raise InputError(
                    f"{both}, {tag}",
                    expected="the same tokens scored by both",
                    found=f"{result.tokens} and {count} of them",
                    fix=one_tokenizer,
                )
        if (own := pruned.settings.get("bos")) != (other := baseline.settings.get("bos")):
            raise InputError(
                both,
                expected="texts that begin alike for both",
                found=f"{own} and {other}",
                fix=one_tokenizer,
            )
        rises = tuple(
            LanguageRise(
                tag,
                tag in pruned.seen,
                baseline.languages[tag].nll_per_sentence,
                result.nll_per_sentence,
            )
            for tag, result in pruned.languages.items()
        )
        return cls(baseline, pruned, rises)

    @property
    def seen(self) -> tuple[LanguageRise, ...]:
        return tuple(rise for rise in self.rises if rise.seen)

    @property
    def unseen(self) -> tuple[LanguageRise, ...]:
        return tuple(rise for rise in self.rises if not rise.seen)

    @property
    def worst(self) -> LanguageRise:
        """The language with the largest relative rise; NaN is more than anything."""
        return max(self.rises, key=_by_rise)

    @cached_property
    def intervals(self) -> dict[str, Difference]:
        """Language -> its relative rise with the 95 % interval, see
        :mod:`mwanda.evaluation.paired`; neighbouring ids are one article."""
        from mwanda.evaluation.articles import clusters_of
        from mwanda.evaluation.paired import difference

        found = {}
        for tag, result in self.pruned.languages.items():
            base, row = self.baseline.languages[tag].sentence_nll, result.sentence_nll
            clusters = clusters_of(self.pruned.ids.get(tag) or range(len(row)))
            found[tag] = difference([base], [row], [base], clusters=clusters)
        return found

    def as_dict(self) -> dict[str, Any]:
        def means(rises: Sequence[LanguageRise]) -> dict[str, Any] | None:
            if not rises:
                return None
            return {
                "languages": len(rises),
                "mean_rise": mean(r.rise for r in rises),
                "mean_relative": mean(r.relative for r in rises),
                "worst": max(rises, key=_by_rise).language,
            }

        return {
            "baseline": self.baseline.as_dict(),
            "pruned": self.pruned.as_dict(),
            "rise": {
                r.language: {
                    "nats_per_sentence": r.rise,
                    "relative": r.relative,
                    "low": self.intervals[r.language].as_dict()["low"],
                    "high": self.intervals[r.language].as_dict()["high"],
                    "seen": r.seen,
                }
                for r in self.rises
            },
            "summary": {
                "all": means(self.rises),
                "seen": means(self.seen),
                "unseen": means(self.unseen),
                "worst": self.worst.language,
            },
        }


def _by_rise(rise: LanguageRise) -> float:
    return math.inf if math.isnan(rise.relative) else rise.relative


def mean(values: Iterable[float]) -> float:
    """Arithmetic mean; nan of nothing."""
    numbers = list(values)
    return math.fsum(numbers) / len(numbers) if numbers else math.nan
