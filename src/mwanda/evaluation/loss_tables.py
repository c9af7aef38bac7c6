"""Header and rows of an evaluation and of a comparison, for a terminal, Markdown and a notebook."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from mwanda.evaluation.language import LanguageResult, LanguageRise, mean, worst_of
from mwanda.evaluation.paired import Difference
from mwanda.text.languages import display_name

Rows = list[list[str]]


def evaluation_rows(
    languages: Mapping[str, LanguageResult],
    seen: Collection[str],
    background: Collection[str],
    known: bool,
) -> tuple[list[str], Rows]:
    """One model: nats per sentence and token, perplexity and bits per byte of every language, and
    the mean in the last row.

    Args:
        known: as of :func:`comparison_rows`.
    """
    header = ["language", "sentences", "nll/sentence", "nll/token", "perplexity", "bits/byte"]
    rows = [
        [
            label(tag, tag in seen or not known, tag in background),
            str(len(r.sentence_nll) - r.unscored),
            f"{r.nll_per_sentence:.2f}",
            f"{r.nll_per_token:.4f}",
            r.perplexity_shown,
            f"{r.bits_per_byte:.4f}",
        ]
        for tag, r in languages.items()
    ]
    average = mean(r.nll_per_sentence for r in languages.values())
    rows.append(["mean", "", f"{average:.2f}", "", "", ""])
    return header, rows


def comparison_rows(
    rises: Sequence[LanguageRise], intervals: Mapping[str, Difference], known: bool
) -> tuple[list[str], Rows]:
    """A model beside its baseline, nats per sentence: each language, then means and the worst.
    Means of seen and unseen languages are told where there are both.

    Args:
        known: whether it is known what text calibrated the model; else no language is unseen.
    """
    header = ["language", "baseline", "model", "rise", "rise %", "95 % interval"]
    rows: Rows = []
    for rise in rises:
        named = label(rise.language, rise.seen or not known, rise.background)
        rows.append([named, *_lost(rise), intervals[rise.language].bounds()])
    groups = {
        "mean seen": [rise for rise in rises if rise.seen],
        "mean background": [rise for rise in rises if rise.background],
        "mean unseen": [rise for rise in rises if not rise.seen and not rise.background],
    }
    rows.append(_mean_row("mean", rises))
    parts = {name: several for name, several in groups.items() if several}
    if len(parts) > 1:
        rows += [_mean_row(name, several) for name, several in parts.items()]
    worst = worst_of(rises)
    rows.append([f"worst: {worst.language}", *_lost(worst), ""])
    return header, rows


def label(tag: str, seen: bool, background: bool = False) -> str:
    """``sw Swahili (unseen)``."""
    other = " (background)" if background else " (unseen)"
    return f"{tag} {display_name(tag)}" + ("" if seen else other)


def _lost(rise: LanguageRise) -> list[str]:
    return [f"{rise.baseline:.2f}", f"{rise.pruned:.2f}", f"{rise.rise:+.2f}",
            f"{rise.relative:+.1%}"]  # fmt: skip


def _mean_row(name: str, rises: Sequence[LanguageRise]) -> list[str]:
    return [
        name,
        f"{mean(r.baseline for r in rises):.2f}",
        f"{mean(r.pruned for r in rises):.2f}",
        f"{mean(r.rise for r in rises):+.2f}",
        f"{mean(r.relative for r in rises):+.1%}",
        "",
    ]
