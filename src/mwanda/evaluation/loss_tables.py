"""Per-language results as plain text for a terminal and as Markdown for a model card."""

from __future__ import annotations

from collections.abc import Sequence

from mwanda.evaluation.results import Comparison, Evaluation, LanguageRise, mean
from mwanda.system.text_tables import plain
from mwanda.text.languages import display_name

Rows = list[list[str]]


def evaluation_table(result: Evaluation) -> str:
    """One model: nats per sentence and token, perplexity and bits per byte of every language."""
    header = ["language", "sentences", "nll/sentence", "nll/token", "perplexity", "bits/byte"]
    rows = [
        [
            _label(tag, tag in result.seen, bool(result.seen)),
            str(len(r.sentence_nll) - r.unscored),
            f"{r.nll_per_sentence:.2f}",
            f"{r.nll_per_token:.4f}",
            r.perplexity_shown,
            f"{r.bits_per_byte:.4f}",
        ]
        for tag, r in result.languages.items()
    ]
    average = mean(r.nll_per_sentence for r in result.languages.values())
    rows.append(["mean", "", f"{average:.2f}", "", "", ""])
    return plain(header, rows)


def comparison_rows(comparison: Comparison) -> tuple[list[str], Rows]:
    """Header and rows: each language's numbers and rise, then means and the worst."""
    header = ["language", "baseline", "pruned", "rise", "rise %", "perplexity", "bits/byte"]
    rows: Rows = []
    for rise in comparison.rises:
        result = comparison.pruned.languages[rise.language]
        rows.append(
            [
                _label(rise.language, rise.seen, True),
                f"{rise.baseline:.2f}",
                f"{rise.pruned:.2f}",
                f"{rise.rise:+.2f}",
                f"{rise.relative:+.1%}",
                result.perplexity_shown,
                f"{result.bits_per_byte:.4f}",
            ]
        )
    groups = [("mean", comparison.rises), ("mean seen", comparison.seen)]
    groups.append(("mean unseen", comparison.unseen))
    rows += [_mean_row(name, rises) for name, rises in groups if rises]
    worst = comparison.worst
    rows.append(
        [f"worst: {worst.language}", f"{worst.baseline:.2f}", f"{worst.pruned:.2f}",
         f"{worst.rise:+.2f}", f"{worst.relative:+.1%}", "", ""]
    )  # fmt: skip
    return header, rows


def comparison_table(comparison: Comparison) -> str:
    """A pruned model beside its baseline, nats per sentence."""
    return plain(*comparison_rows(comparison))


def _mean_row(name: str, rises: Sequence[LanguageRise]) -> list[str]:
    return [
        name,
        f"{mean(r.baseline for r in rises):.2f}",
        f"{mean(r.pruned for r in rises):.2f}",
        f"{mean(r.rise for r in rises):+.2f}",
        f"{mean(r.relative for r in rises):+.1%}",
        "",
        "",
    ]


def _label(tag: str, seen: bool, mark: bool) -> str:
    note = ("" if seen else " (unseen)") if mark else ""
    return f"{tag} {display_name(tag)}{note}"
