"""Several pruned models side by side: what each cost every language over the dense model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mwanda.evaluation.language import LanguageRise, mean
from mwanda.evaluation.loss_tables import label
from mwanda.evaluation.results import Comparison, Evaluation
from mwanda.study.report.data import Group, StudyResults
from mwanda.text.languages import script_of


def method_rows(
    dense: Evaluation, pruned: Mapping[str, Evaluation], seen: Sequence[str]
) -> tuple[list[str], list[list[str]]]:
    """Header and rows of one table for several models on the same texts.

    Args:
        dense: the baseline.
        pruned: name of a method -> its model's evaluation.
        seen: languages counted as seen for every method, so that the rows compare, even where one
            of them calibrated on fewer.

    Returns:
        The dense nats per sentence, then each method's rise per language in per cent of them;
        means over all, seen, background and unseen languages, and each method's worst language.
    """
    compared = {name: Comparison.of(dense, result) for name, result in pruned.items()}
    header = ["language", "script", "dense", *compared]
    pooled = {tag for result in pruned.values() for tag in result.background} - {*seen}
    groups = {
        "mean seen": [tag for tag in dense.languages if tag in seen],
        "mean background": [tag for tag in dense.languages if tag in pooled],
        "mean unseen": [tag for tag in dense.languages if tag not in pooled | {*seen}],
    }
    order = [tag for tags in groups.values() for tag in tags]
    by_tag = {name: {rise.language: rise for rise in c.rises} for name, c in compared.items()}
    rows = [
        [
            label(tag, tag in seen, tag in pooled),
            script_of(tag),
            f"{dense.languages[tag].nll_per_sentence:.2f}",
            *(f"{by_tag[name][tag].relative:+.1%}" for name in compared),
        ]
        for tag in order
    ]
    for name, tags in {"mean": order, **groups}.items():
        if tags:
            average = mean(dense.languages[tag].nll_per_sentence for tag in tags)
            cells = [_mean([by_tag[one][tag] for tag in tags]) for one in compared]
            rows.append([name, "", f"{average:.2f}", *cells])
    worst = [f"{c.worst.language} {c.worst.relative:+.1%}" for c in compared.values()]
    rows.append(["worst", "", "", *worst])
    return header, rows


def evaluation_of(results: StudyResults, group: Group | None) -> Evaluation:
    """What a study of one model measured of a method, or of the dense model for None."""
    (model,), plan = results.models, results.plan
    return Evaluation(
        model.name if group is None else group.method,
        model.baseline if group is None else group.results,
        () if group is None else group.seen,
        plan.evaluation.text,
        plan.text_sha256,
        {"seed": plan.evaluation.seed, "compute_dtype": plan.run.compute_dtype},
        background=() if group is None else group.background,
    )


def _mean(rises: Sequence[LanguageRise]) -> str:
    return f"{mean(rise.relative for rise in rises):+.1%}"
