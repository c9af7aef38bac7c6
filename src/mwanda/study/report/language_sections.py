"""The sections of a report that are about languages and methods, each made model by model."""

from __future__ import annotations

from collections.abc import Callable

from mwanda.evaluation.gate import percent
from mwanda.study.report.cells import (
    MARK,
    headline,
    label_of,
    mean_of,
    rise_of,
    rises_by_language,
    worst_of,
)
from mwanda.study.report.data import ModelResults, StudyResults
from mwanda.study.report.elements import Part, Section, Table
from mwanda.study.report.language_families import SOURCE, families, family_of, script_name
from mwanda.text.languages import display_name

NO_DENSE = "The dense model has no result yet, so nothing can be compared with it."


def by_model(
    name: str, title: str, make: Callable[[ModelResults], list[Part]]
) -> Callable[[StudyResults], Section]:
    """A section with a part for every model; one without results says so."""

    def parts(model: ModelResults) -> list[Part]:
        if model.dense is None:
            return [NO_DENSE]
        return make(model) if model.groups else ["No pruned model has a result yet."]

    return lambda results: Section(name, title, [(m.name, parts(m)) for m in results.models])


def losses(model: ModelResults) -> list[Part]:
    """Each language at every sparsity."""
    return [_language_table(model, sparsity) for sparsity in model.sparsities]


def _language_table(model: ModelResults, sparsity: float) -> Table:
    groups, dense, table = model.at(sparsity), model.baseline, families()
    header = ["language", "script", "family", "dense: NLL", "dense: perplexity"]
    sums: list[str] = [
        "mean", "", "", mean_of([dense[tag].nll_per_sentence for tag in model.order]), ""
    ]  # fmt: skip
    for group in groups:
        header += [f"{group.method}: rise", f"{group.method}: perplexity"]
        sums += [rise_of(model.loss(group).mean), ""]
    rows: list[list[str]] = []
    for tag in model.order:
        row: list[str] = [
            label_of(model, tag), script_name(tag), family_of(tag, table),
            f"{dense[tag].nll_per_sentence:.2f}", dense[tag].perplexity_shown,
        ]  # fmt: skip
        for group in groups:
            rise = rise_of(model.loss(group).languages[tag])
            row += [rise, f"{group.results[tag].perplexity:.4g}"]
        rows.append(row)
    return Table(
        f"{model.name} at sparsity {percent(sparsity)}: NLL in nats per sentence, its rise, and "
        "perplexity per token",
        header,
        [*rows, sums],
        folded=sparsity != headline(model),
        note=MARK,
        totals=1,
        words=("script", "family"),
    )


def overall(model: ModelResults) -> list[Part]:
    """Every method at every sparsity in a row."""
    rows: list[list[str]] = []
    for group in model.in_order:
        loss, seeds = model.loss(group), model.seeds_apart(group)
        rows.append([
            group.method, percent(group.sparsity), f"{group.reached:.2%}", rise_of(loss.mean),
            loss.mean.bounds(), worst_of(loss),
            f"{loss.certain} of {len(model.languages)}",
            "one" if seeds is None else f"{seeds[0]:+.2%} to {seeds[1]:+.2%}",
        ])  # fmt: skip
    return [
        Table(
            f"{model.name}: every method at every sparsity, rise in NLL per sentence over the "
            "dense model",
            ["method", "sparsity", "reached", "mean rise", "95 % interval", "worst language",
             "languages worse", "seeds"],
            rows,
            words=("worst language",),
            note="Languages worse: those whose interval lies above 0. Seeds: the mean rises of "
            f"the best and the worst draw of calibration text. {MARK}",
        )
    ]  # fmt: skip


def side_by_side(model: ModelResults) -> list[Part]:
    """Methods against each other on the same sentences."""
    tables: list[Part] = []
    found = []
    for sparsity in model.sparsities:
        compared = [(*pair, model.against(*pair)) for pair in model.pairs(sparsity)]
        found += [(sparsity, a.method, b.method, loss.mean) for a, b, loss in compared]
        if compared:
            tables.append(
                Table(
                    f"{model.name} at sparsity {percent(sparsity)}: first method minus second, "
                    "language by language",
                    ["language", *(f"{a.method} − {b.method}" for a, b, _ in compared)],
                    rises_by_language(model, [loss for *_, loss in compared], digits=2),
                    folded=True,
                    note=MARK,
                )
            )
    if not found:
        return ["One method only: there is nothing to compare."]
    rows: list[list[str]] = []
    for sparsity, first, second, difference in found:
        verdict = "cannot tell" if difference.reason else "not significant"
        if difference.significant:
            verdict = f"{first if difference.mean < 0 else second} loses less"
        rows.append([
            f"{first} − {second}", percent(sparsity), rise_of(difference, 2),
            difference.bounds(), verdict,
        ])  # fmt: skip
    whole = Table(
        f"{model.name}: what the first method loses more than the second, as a share of the "
        "dense model's NLL, mean over languages",
        ["methods", "sparsity", "difference", "95 % interval", "verdict"],
        rows,
        note=MARK,
        words=("verdict",),
    )
    return [whole, *tables]


def seen_unseen(model: ModelResults) -> list[Part]:
    """Languages that calibrated against those that did not."""
    rows: list[list[str]] = []
    apart = model.unseen_by_all
    for group in model.in_order:
        known = {*group.seen, *group.background}
        others = [tag for tag in model.languages if tag not in known]
        cells = []
        for tags in (group.seen, group.background, others, apart):
            share = model.loss(group).over(tags)
            cells.append("none" if share is None else f"{share:+.1%} ({len(tags)})")
        rows.append([group.method, percent(group.sparsity), *cells])
    return [
        Table(
            f"{model.name}: mean rise over the languages that calibrated a method, over its "
            "background, over its others, and over those that calibrated none",
            ["method", "sparsity", "seen by it", "its background", "unseen by it", "unseen by all"],
            rows,
            note="In brackets: how many languages. The last column has the same languages in every "
            "row, so its rows compare. Languages that calibrated none: "
            + (", ".join(display_name(tag) for tag in apart) or "none")
            + ".",
        )
    ]


def by_kind(model: ModelResults) -> list[Part]:
    """Languages put together by script and by family."""
    table = families()
    parts: list[Part] = [SOURCE]
    kinds: tuple[tuple[str, Callable[[str], str]], ...] = (
        ("script", script_name),
        ("family", lambda tag: family_of(tag, table)),
    )
    for kind, name_of in kinds:
        members: dict[str, list[str]] = {}
        for tag in model.languages:
            members.setdefault(name_of(tag), []).append(tag)
        order = sorted(members.items(), key=lambda one: (-len(one[1]), one[0]))
        for sparsity in model.sparsities:
            found = {group.method: model.loss(group) for group in model.at(sparsity)}
            parts.append(
                Table(
                    f"{model.name} at sparsity {percent(sparsity)}: mean rise by {kind}",
                    [kind, "languages", *found],
                    [
                        [name, ", ".join(tags),
                         *(f"{loss.over(tags) or 0.0:+.1%}" for loss in found.values())]
                        for name, tags in order
                    ],
                    folded=sparsity != headline(model),
                    words=("languages",),
                )
            )  # fmt: skip
    return parts
