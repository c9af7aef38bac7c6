"""The page of a study: its charts, what a reader can set, and what stands around them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mwanda.evaluation.gate import percent
from mwanda.study.report import block_charts
from mwanda.study.report import chart_specs as specs
from mwanda.study.report.cells import headline
from mwanda.study.report.chart_data import Row, data_of
from mwanda.study.report.chart_parts import STANDINGS
from mwanda.study.report.data import StudyResults
from mwanda.study.report.elements import Chart, Choice, Page, Section
from mwanda.study.report.generation_sections import generated, tasks, translation
from mwanda.study.report.headline import (
    cite,
    first_model,
    lede_of,
    notices_of,
    numbers_of_study,
    rivals,
    terms_of,
    title_of,
)
from mwanda.study.report.language_families import script_name
from mwanda.study.report.language_sections import (
    by_kind,
    by_model,
    losses,
    overall,
    seen_unseen,
    side_by_side,
)
from mwanda.study.report.other_sections import blocks, failed, in_short, provenance, quantised
from mwanda.text.languages import display_name

SECTIONS: tuple[Callable[[StudyResults], Section | None], ...] = (
    in_short,
    by_model("languages", "What each language lost", losses),
    by_model("methods", "What each method cost", overall),
    quantised,
    by_model("side-by-side", "Methods side by side", side_by_side),
    by_model("seen", "Seen against unseen languages", seen_unseen),
    by_model("kinds", "By script and family", by_kind),
    translation,
    generated,
    tasks,
    blocks,
    failed,
    provenance,
)


def page_of(results: StudyResults) -> Page:
    """All there is to show of a study."""
    data = data_of(results)
    versions = sorted({str(c["versions"]["mwanda"]) for c in results.cells.values()})
    return Page(
        title=title_of(results),
        sections=[section for make in SECTIONS if (section := make(results)) is not None],
        lede=lede_of(results),
        numbers=numbers_of_study(results),
        notices=notices_of(results),
        terms=terms_of(results),
        charts=_charts(data) if "rises" in data else (),
        data=data,
        choices=_choices(results, data) if "rises" in data else {},
        several=len(results.models) > 1,
        document=results.plan.document,
        cite=cite(results, ", ".join(versions)),
    )


def names_and_kinds(rows: Sequence[Row]) -> tuple[dict[str, str], dict[str, str]]:
    """Tag -> what its row is called, and what stands at the other end: script, and standing where
    it is the same to every method."""
    stands: dict[str, set[str]] = {}
    for row in rows:
        if row["tag"]:
            stands.setdefault(row["tag"], set()).add(row["standing"])
    names, kinds = {}, {}
    for tag, found in stands.items():
        always = next(iter(found)) if len(found) == 1 else "seen"
        names[tag] = display_name(tag) + STANDINGS[always][0]
        kinds[tag] = script_name(tag) + ("" if always == "seen" else f", {always}")
    return names, kinds


def _charts(data: dict[str, list[Row]]) -> list[Chart]:
    rows = data["rises"]
    methods = list(dict.fromkeys(row["method"] for row in rows))
    names, kinds = names_and_kinds(rows)
    shown = [
        Chart(
            "losses", "Languages", "What each language lost",
            "A row for every language, first the one with the largest loss under any method; the "
            "means stand above. A mark is a method, the line through it its 95% interval. A hollow "
            "mark is a language whose text the method did not read.",
            specs.losses(methods, names, kinds), chosen=("model", "sparsity"),
        ),
        Chart(
            "heatmap", "Losses as colours", "Who loses when",
            "The same losses as colours, darker is worse: methods at the sparsity above, or every "
            "sparsity of one method.",
            specs.heatmap(names), ("across",), ("model", "sparsity", "across"),
        ),
    ]  # fmt: skip
    if sizes := data.get("sizes"):
        others = list(dict.fromkeys(row["name"] for row in sizes if not row["pruned"]))
        cut = any(row["trimmed"] for row in sizes)
        shown.append(Chart(
            "bytes", "Size against loss", "What the same bytes buy",
            "Left is smaller, low is better; the scale of losses is nearly logarithmic. A line is "
            "a pruned model from the lowest sparsity to the highest, its zeros counted as a bit "
            "each." + " Dashed is the same with its vocabulary trimmed." * cut
            + " A name is the dense model, or a form of it that was not pruned.",
            specs.against_bytes(methods, others), chosen=("model",),
        ))  # fmt: skip
    if "against" in data:
        shown.append(Chart(
            "differences", "Method against method", "Method against method, language by language",
            "Points of loss more (above 0) or less (below 0) than the method compared with, at "
            "every sparsity. The language that gains least at the sparsity above comes first.",
            specs.differences(methods), ("first", "base"), ("model", "first", "base"),
        ))  # fmt: skip
    if "blocks" in data:
        sparsities = sorted({row["sparsity"] for row in data["blocks"]})
        shown.append(Chart(
            "block-sparsity", "Sparsity of each block", "Where the zeros are",
            "The sparsity that each block of the model got, mean over seeds, for methods that "
            "treat blocks unequally.",
            block_charts.blocks(sparsities), chosen=("model",),
        ))  # fmt: skip
    if "agreement" in data:
        shown.append(Chart(
            "agreement", "Which languages are alike", "Where languages agree",
            "How alike two languages use the features that enter a block: mean correlation over "
            "pairs, 1 is the same use. Of the first seed's text.",
            block_charts.agreement(), chosen=("model",),
        ))  # fmt: skip
    return shown


def _choices(results: StudyResults, data: dict[str, list[Row]]) -> dict[str, Choice]:
    rows, model = data["rises"], first_model(results)
    models = list(dict.fromkeys(row["model"] for row in rows))
    methods = list(dict.fromkeys(row["method"] for row in rows))
    sparsities = sorted({row["sparsity"] for row in rows})
    start = sparsities[0] if model is None else headline(model)
    bases = list(dict.fromkeys(row["second"] for row in data.get("against", ())))
    made = {
        "model": Choice("Model", [(name, name) for name in models], models[0]),
        "sparsity": Choice("Sparsity", [(s, percent(s)) for s in sparsities], start, each=True),
        "across": Choice("Across", [("", "methods"), *((m, f"sparsities of {m}") for m in methods)],
                         ""),
    }  # fmt: skip
    if bases and model is not None:
        best, rival = (group.method for group in rivals(model))
        every = [("", "every method"), *((name, name) for name in methods)]
        made["first"] = Choice("Of", every, best if rival in bases and best != rival else "")
        made["base"] = Choice("Compared with", [(name, name) for name in bases],
                              rival if rival in bases else bases[0])  # fmt: skip
    return made
