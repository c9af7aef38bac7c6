"""The sections of a report that are about languages and methods."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from mwanda.evaluation.paired import Difference
from mwanda.study.report.cells import (
    MARK,
    bounds_of,
    ends_of,
    headline,
    interval_of,
    label_of,
    mean_of,
    rise_of,
    worst_of,
)
from mwanda.study.report.charts import panel, scale_of, up_to
from mwanda.study.report.data import ModelResults, StudyResults
from mwanda.study.report.elements import Cell, Figure, Part, Section, Table
from mwanda.study.report.language_families import SOURCE, families, family_of, script_name
from mwanda.text.languages import display_name

NO_DENSE = "The dense model has no result yet, so nothing can be compared with it."


def losses(results: StudyResults) -> Section:
    """Each language against sparsity: the pictures, and their numbers."""
    return _by_model(results, "languages", "What each language lost", _losses_of)


def overall(results: StudyResults) -> Section:
    """Every method at every sparsity in a row."""
    return _by_model(results, "methods", "What each method cost", _overall_of)


def side_by_side(results: StudyResults) -> Section:
    """Methods against each other on the same sentences."""
    return _by_model(results, "side-by-side", "Methods side by side", _pairs_of)


def seen_unseen(results: StudyResults) -> Section:
    """Languages that calibrated against those that did not."""
    return _by_model(results, "seen", "Seen against unseen languages", _seen_of)


def by_kind(results: StudyResults) -> Section:
    """Languages put together by script and by family."""
    return _by_model(results, "kinds", "By script and family", _kinds_of)


def _by_model(
    results: StudyResults, name: str, title: str, make: Callable[[ModelResults], list[Part]]
) -> Section:
    groups = []
    for model in results.models:
        if model.dense is None:
            parts: list[Part] = [NO_DENSE]
        elif not model.groups:
            parts = ["No pruned model has a result yet."]
        else:
            parts = make(model)
        groups.append((model.name, parts))
    return Section(name, title, groups)


def _losses_of(model: ModelResults) -> list[Part]:
    styles = {method: number for number, method in enumerate(model.methods)}
    shown = [method for method in model.methods if model.of(method)]
    legend = [(method, styles[method]) for method in shown]
    x = up_to(max(model.sparsities) or 1.0)
    rises = {
        tag: {
            method: [(0.0, 0.0)]
            + [(g.sparsity, 100 * model.loss(g).languages[tag].mean) for g in model.of(method)]
            for method in shown
        }
        for tag in model.languages
    }
    dense = model.dense or {}
    perplexities = {
        tag: {
            method: [(0.0, dense[tag].perplexity)]
            + [(g.sparsity, g.results[tag].perplexity) for g in model.of(method)]
            for method in shown
        }
        for tag in model.languages
    }
    figures = []
    for name, caption, values, logarithmic, names, unit in (
        (
            "rise",
            f"{model.name}: rise in negative log-likelihood per sentence over the dense model, by "
            "language. All pictures have the same axes.",
            rises, False, "{:.3g}%", "rise, %",
        ),
        (
            "perplexity",
            f"{model.name}: perplexity per token by language, on a logarithmic axis. All pictures "
            "have the same axes. Perplexities of two languages do not compare.",
            perplexities, True, "{:,.5g}", "perplexity",
        ),
    ):  # fmt: skip
        every = [y for lines in values.values() for points in lines.values() for _, y in points]
        y = scale_of(every, logarithmic=logarithmic)
        panels = [
            panel(
                display_name(tag),
                f"{display_name(tag)}, {unit}: " + _spoken(lines, names),
                {method: (styles[method], points) for method, points in lines.items()},
                x, y, x_names="{:.0%}", y_names=names,
            )
            for tag, lines in values.items()
        ]  # fmt: skip
        figures.append(Figure(name, caption, panels, legend, "sparsity", unit))
    tables = [_language_table(model, sparsity) for sparsity in model.sparsities]
    return [figures[0], *tables, figures[1]]


def _spoken(lines: Mapping[str, Sequence[tuple[float, float]]], names: str) -> str:
    return "; ".join(
        f"{method} " + ", ".join(f"{names.format(y)} at {x:.0%}" for x, y in points if x > 0)
        for method, points in lines.items()
    )


def _language_table(model: ModelResults, sparsity: float) -> Table:
    groups, dense, table = model.at(sparsity), model.dense or {}, families()
    order = [*model.seen_by_any, *model.unseen_by_all]
    rows: list[list[Cell]] = []
    for tag in order:
        row: list[Cell] = [
            label_of(model, tag), script_name(tag), family_of(tag, table),
            f"{dense[tag].nll_per_sentence:.2f}", dense[tag].perplexity_shown,
        ]  # fmt: skip
        for group in groups:
            row.append(rise_of(model.loss(group).languages[tag]))
            row.append(f"{group.results[tag].perplexity:.4g}")
        rows.append(row)
    sums: list[Cell] = ["mean", "", "", mean_of([dense[t].nll_per_sentence for t in order]), ""]
    for group in groups:
        sums += [rise_of(model.loss(group).mean), ""]
    header = ["language", "script", "family", "dense: NLL", "dense: perplexity"]
    for group in groups:
        header += [f"{group.method}: rise", f"{group.method}: perplexity"]
    return Table(
        f"{model.name} at sparsity {sparsity:.0%}: NLL in nats per sentence, its rise, and "
        "perplexity per token",
        header,
        [*rows, sums],
        folded=sparsity != headline(model),
        note=MARK,
        totals=1,
        texts=3,
    )


def _overall_of(model: ModelResults) -> list[Part]:
    rows: list[list[Cell]] = []
    low, high = ends_of(model.loss(group).mean for group in model.groups.values())
    for sparsity in model.sparsities:
        for group in model.at(sparsity):
            loss = model.loss(group)
            seeds = model.seeds_apart(group)
            rows.append(
                [
                    group.method, f"{sparsity:.0%}", f"{group.reached:.2%}", rise_of(loss.mean),
                    bounds_of(loss.mean), interval_of(loss.mean, low, high),
                    worst_of(loss),
                    f"{loss.certain} of {len(model.languages)}",
                    "one" if seeds is None else f"{seeds[0]:+.2%} to {seeds[1]:+.2%}",
                ]
            )  # fmt: skip
    header = ["method", "sparsity", "reached", "mean rise", "95 % interval", "picture",
              "worst language", "languages worse", "seeds"]  # fmt: skip
    return [
        Table(
            f"{model.name}: every method at every sparsity, rise in NLL per sentence over the "
            "dense model",
            header,
            rows,
            words=(5, 6),
            note="Languages worse: those whose interval lies above 0. Seeds: the mean rises of "
            f"the best and the worst draw of calibration text. {MARK}",
        )
    ]


def _pairs_of(model: ModelResults) -> list[Part]:
    parts: list[Part] = []
    rows: list[list[Cell]] = []
    found: list[tuple[float, str, str, Difference]] = []
    tables: list[Part] = []
    for sparsity in model.sparsities:
        pairs = model.pairs(sparsity)
        compared = [(first, second, model.against(first, second)) for first, second in pairs]
        found += [(sparsity, a.method, b.method, loss.mean) for a, b, loss in compared]
        if compared:
            header = ["language", *(f"{a.method} − {b.method}" for a, b, _ in compared)]
            tables.append(
                Table(
                    f"{model.name} at sparsity {sparsity:.0%}: first method minus second, "
                    "language by language",
                    header,
                    [
                        [label_of(model, tag), *(rise_of(loss.languages[tag], 2)
                                               for _, _, loss in compared)]
                        for tag in [*model.seen_by_any, *model.unseen_by_all]
                    ],
                    folded=True,
                    note=MARK,
                )
            )  # fmt: skip
    if not found:
        return ["One method only: there is nothing to compare."]
    low, high = ends_of(difference for *_, difference in found)
    for sparsity, first, second, difference in found:
        verdict = "cannot tell" if difference.reason else "not significant"
        if difference.significant:
            verdict = f"{first if difference.mean < 0 else second} loses less"
        rows.append(
            [f"{first} − {second}", f"{sparsity:.0%}", rise_of(difference, 2),
             bounds_of(difference), interval_of(difference, low, high), verdict]
        )  # fmt: skip
    parts.append(
        Table(
            f"{model.name}: what the first method loses more than the second, as a share of the "
            "dense model's NLL, mean over languages",
            ["methods", "sparsity", "difference", "95 % interval", "picture", "verdict"],
            rows,
            note=MARK,
            words=(4, 5),
        )
    )
    return parts + tables


def _seen_of(model: ModelResults) -> list[Part]:
    rows: list[list[Cell]] = []
    apart = model.unseen_by_all
    for sparsity in model.sparsities:
        for group in model.at(sparsity):
            loss = model.loss(group)
            others = [tag for tag in model.languages if tag not in group.seen]
            cells = []
            for tags in (group.seen, others, apart):
                share = loss.over(tags)
                cells.append("none" if share is None else f"{share:+.1%} ({len(tags)})")
            rows.append([group.method, f"{sparsity:.0%}", *cells])
    return [
        Table(
            f"{model.name}: mean rise over the languages that calibrated a method, over its "
            "others, and over those that calibrated none",
            ["method", "sparsity", "seen by it", "unseen by it", "unseen by all"],
            rows,
            note="In brackets: how many languages. The last column has the same languages in every "
            "row, so its rows compare. Languages that calibrated none: "
            + (", ".join(display_name(tag) for tag in apart) or "none")
            + ".",
        )
    ]


def _kinds_of(model: ModelResults) -> list[Part]:
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
        order = sorted(members, key=lambda name: (-len(members[name]), name))
        for sparsity in model.sparsities:
            groups = model.at(sparsity)
            parts.append(
                Table(
                    f"{model.name} at sparsity {sparsity:.0%}: mean rise by {kind}",
                    [kind, "languages", *(group.method for group in groups)],
                    [
                        [
                            name,
                            ", ".join(members[name]),
                            *(f"{model.loss(g).over(members[name]) or 0.0:+.1%}" for g in groups),
                        ]
                        for name in order
                    ],
                    folded=sparsity != headline(model),
                    texts=2,
                )
            )
    return parts
