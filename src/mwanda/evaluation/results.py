"""Typed results of an evaluation, and what a model lost against another on the same texts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from mwanda.evaluation.alike import beside, check_alike, check_baselines, check_order
from mwanda.evaluation.figures import plot_languages, short_names
from mwanda.evaluation.language import LanguageResult, LanguageRise, mean, means, worst_of
from mwanda.evaluation.loss_tables import comparison_rows, evaluation_rows
from mwanda.system.extras import need
from mwanda.system.shown import Sheet, Shown
from mwanda.text.languages import display_name

if TYPE_CHECKING:
    from pandas import DataFrame

    from mwanda.evaluation.paired import Difference


@dataclass(frozen=True, repr=False)
class Evaluation(Shown):
    """One model on one set of texts.

    Attributes:
        model: as the user named it.
        languages: tag -> result.
        seen: languages whose text calibrated the pruning; empty for a dense model.
        text, text_sha256: what was scored.
        settings: seed, how texts begin, dtype: what the numbers depend on.
        continuations: tag -> a prompt and what the model goes on with.
        generated: tag -> several of them, checked; see :mod:`mwanda.evaluation.generation`.
        ids: tag -> ids of its texts, or their places in the source; a language that is not there
            has its texts in a row.
        background: languages that nobody named, of which a little calibrated the pruning.
        calibrated: whether it is known what text did, of whatever languages; then a language that
            is in neither was not seen.
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
    background: tuple[str, ...] = ()
    calibrated: bool = False

    def __post_init__(self) -> None:
        known = bool(self.calibrated or self.seen or self.background)
        object.__setattr__(self, "calibrated", known)

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Header and rows as ``mwanda eval`` prints them."""
        return evaluation_rows(self.languages, self.seen, self.background, self.calibrated)

    def _summary(self) -> str:
        average = mean(result.nll_per_sentence for result in self.languages.values())
        return (
            f"{self.model} on {self.text}, {len(self.languages)} languages, mean "
            f"{average:.2f} nats per sentence"
        )

    def _records(self) -> list[dict[str, Any]]:
        return [result.record() | self._standing(tag) for tag, result in self.languages.items()]

    def _standing(self, tag: str) -> dict[str, bool]:
        return {"seen": tag in self.seen, "background": tag in self.background}

    def _sheet(self) -> Sheet:
        header, rows = self.table()
        bars = [result.nll_per_sentence for result in self.languages.values()]
        return Sheet(header, rows, bars, header.index("nll/sentence"), totals=1)

    def plot(self, *others: Evaluation, axes: Any = None) -> Any:
        """A figure of every language's nats per sentence, other models' beside them.

        Args:
            axes: matplotlib's, to draw on; None makes a figure.

        Returns:
            The axes; ``.figure.savefig(…)`` keeps it.

        Raises:
            InputError: matplotlib is not installed, or the texts are not the same.
        """
        several = beside(self, others)
        for other in others:
            check_alike(self, other)
        names = short_names([one.model for one in several])
        series = {
            name: {tag: result.nll_per_sentence for tag, result in one.languages.items()}
            for name, one in zip(names, several, strict=True)
        }
        last = several[-1]
        return plot_languages(
            series, last.seen, "nats per sentence", background=last.background, axes=axes
        )

    def as_dict(self, *, sentences: bool = False) -> dict[str, Any]:
        """For JSON; ``sentences`` adds every text's own number."""
        languages = {}
        for tag, result in self.languages.items():
            languages[tag] = result.as_dict() | self._standing(tag)
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


@dataclass(frozen=True, repr=False)
class Comparison(Shown):
    """An evaluation against its baseline on the same texts."""

    baseline: Evaluation
    pruned: Evaluation
    rises: tuple[LanguageRise, ...]

    @classmethod
    def of(cls, baseline: Evaluation, pruned: Evaluation) -> Comparison:
        """Compare two evaluations.

        Raises:
            InputError: they are not about the same texts, or tokens. A baseline that was made
                of the other is warned of.
        """
        check_order(baseline.model, pruned.model)
        check_alike(baseline, pruned)
        rises = tuple(
            LanguageRise(
                tag,
                tag in pruned.seen,
                baseline.languages[tag].nll_per_sentence,
                result.nll_per_sentence,
                tag in pruned.background,
            )
            for tag, result in pruned.languages.items()
        )
        return cls(baseline, pruned, rises)

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Header and rows as ``mwanda eval --baseline`` prints them."""
        return comparison_rows(self.rises, self.intervals, self.pruned.calibrated)

    def _summary(self) -> str:
        average, worst = mean(rise.relative for rise in self.rises), self.worst
        return (
            f"{self.pruned.model} against {self.baseline.model}, {len(self.rises)} languages, NLL "
            f"per sentence {average:+.1%} in the mean, worst {display_name(worst.language)} "
            f"{worst.relative:+.1%}"
        )

    def _records(self) -> list[dict[str, Any]]:
        found = []
        for rise in self.rises:
            result, interval = self.pruned.languages[rise.language], self.intervals[rise.language]
            ends = (math.nan, math.nan) if interval.reason else (interval.low, interval.high)
            found.append(rise.record() | dict(zip(("low", "high"), ends, strict=True)) | {
                "perplexity": result.perplexity, "bits_per_byte": result.bits_per_byte,
            })  # fmt: skip
        return found

    def _sheet(self) -> Sheet:
        header, rows = self.table()
        bars = [rise.relative for rise in self.rises]
        totals = len(rows) - len(bars)
        return Sheet(header, rows, bars, header.index("rise %"), totals=totals, change=True)

    def to_frame(self, *others: Comparison) -> DataFrame:
        """A pandas data frame with a row for every language. ``low`` and ``high`` are NaN where
        there is no interval. Of several comparisons, ``frame["relative"]`` has a column for each.

        Raises:
            InputError: pandas is not installed, or the baselines differ.
        """
        if not others:
            return super().to_frame()
        frames = [Shown.to_frame(one).set_index("language") for one in self._with(others)]
        names = short_names([one.pruned.model for one in (self, *others)])
        need("pandas", "to_frame", "notebook")
        import pandas

        columns = [(field, name) for field in frames[0].columns for name in names]
        return pandas.concat(frames, axis=1, keys=names).swaplevel(axis=1)[columns]

    def _with(self, others: Sequence[Comparison]) -> Sequence[Comparison]:
        several = beside(self, others)
        for other in others:
            check_alike(self.baseline, other.pruned)
            check_baselines(self.baseline, other.baseline)
        return several

    def plot(self, *others: Comparison, axes: Any = None) -> Any:
        """A figure of what every language lost, other models' losses beside it; one model alone
        has its 95 % intervals.

        Args:
            axes: matplotlib's, to draw on; None makes a figure.

        Returns:
            The axes; ``.figure.savefig(…)`` keeps it.

        Raises:
            InputError: matplotlib is not installed, or the baselines differ.
        """
        several = self._with(others)
        names = short_names([one.pruned.model for one in several])
        series = {
            name: {rise.language: 100 * rise.relative for rise in one.rises}
            for name, one in zip(names, several, strict=True)
        }
        ends = {} if others else {
            tag: (100 * one.low, 100 * one.high)
            for tag, one in self.intervals.items()
            if not one.reason
        }  # fmt: skip
        label = "rise in negative log-likelihood per sentence, %"
        if without := [display_name(tag) for tag, one in self.intervals.items() if one.reason]:
            told = "any language" if len(without) == len(self.rises) else ", ".join(without)
            label += "" if others else f"\nno 95 % interval for {told}: too little text"
        last = several[-1].pruned
        return plot_languages(
            series, last.seen, label, background=last.background, axes=axes, intervals=ends
        )

    @property
    def seen(self) -> tuple[LanguageRise, ...]:
        return tuple(rise for rise in self.rises if rise.seen)

    @property
    def background(self) -> tuple[LanguageRise, ...]:
        return tuple(rise for rise in self.rises if rise.background)

    @property
    def unseen(self) -> tuple[LanguageRise, ...]:
        return tuple(rise for rise in self.rises if not rise.seen and not rise.background)

    @property
    def worst(self) -> LanguageRise:
        """The language with the largest relative rise; NaN is more than anything."""
        return worst_of(self.rises)

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
                    "background": r.background,
                }
                for r in self.rises
            },
            "summary": {
                "all": means(self.rises),
                "seen": means(self.seen),
                "background": means(self.background),
                "unseen": means(self.unseen),
                "worst": self.worst.language,
            },
        }
