"""The sections of a report around its results: in short, block by block, failures, provenance, and
what one could do instead: quantise the dense model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mwanda.evaluation.gate import percent
from mwanda.pruning.recipe.recovery import steps_in_words
from mwanda.study.report.cells import MARK, headline, rise_of, rises_by_language, worst_of
from mwanda.study.report.chart_data import uneven
from mwanda.study.report.data import Group, ModelResults, StudyResults
from mwanda.study.report.elements import Part, Section, Table
from mwanda.study.report.language_sections import NO_DENSE
from mwanda.study.report.sizes import sizes_of


def in_short(results: StudyResults) -> Section:
    """What was measured, and the findings in a sentence for each method."""
    plan = results.plan
    pruned = [e for e in plan.entries if e.method not in plan.unpruned]
    sparsities = sorted({e.sparsity for e in pruned})
    methods = dict.fromkeys(e.method for e in pruned)
    counts = f"{len(results.cells)} of {len(plan.cells)} cells are done"
    if results.failures:
        counts += f", points of the grid that failed: {len(results.failures)}"
    if results.missing:
        counts += f", still to be computed: {results.missing}, so this report is not whole"
    start = (
        f"Models: {'; '.join(plan.models)}. Methods: {'; '.join(methods)}. Sparsities: "
        f"{', '.join(map(percent, sparsities))}. Languages: {len(plan.languages)}. {counts}."
    )
    lines = [
        _finding(model, method)
        for model in results.models
        if model.dense is not None
        for method in model.methods
        if model.of(method)
    ]
    return Section("short", "In short", [("", [start, *([tuple(lines)] if lines else [])])])


def _finding(model: ModelResults, method: str) -> str:
    groups = model.of(method)
    told = []
    for group in dict.fromkeys(
        (groups[0], next((g for g in groups if g.sparsity == headline(model)), groups[-1]))
    ):
        loss = model.loss(group)
        sure = f"{loss.certain} of {len(model.languages)} languages significantly worse"
        if all(one.reason for one in loss.languages.values()):
            sure = "too little text to be sure of a language"
        told.append(
            f"at {percent(group.sparsity)} {loss.mean.mean:+.1%} on average, {sure}, worst "
            f"{worst_of(loss)}"
        )
    name = f"{model.name}, {method}" if len(model.methods) > 1 else model.name
    return f"{name}: rise in NLL {'; '.join(told)}."


def blocks(results: StudyResults) -> Section:
    """Sparsity of every block, and how much the languages agree in it."""
    groups: list[tuple[str, list[Part]]] = []
    for model in results.models:
        views = results.views.get(model.name, {})
        methods = uneven(model)
        parts: list[Part] = []
        if not methods:
            parts.append("Every method gave all blocks the same sparsity.")
        if methods or views:
            parts.append(_block_table(model, methods, views))
        groups.append((model.name, parts))
    return Section("blocks", "Block by block", groups)


def _block_table(model: ModelResults, methods: list[str], views: Mapping[str, Any]) -> Table:
    agreements = [{b["block"]: b["agreement"] for b in v["blocks"]} for v in views.values()]
    groups = [group for method in methods for group in model.of(method)]
    numbers = sorted({b for g in groups for b in g.blocks} | {b for a in agreements for b in a})
    rows: list[list[str]] = []
    for number in numbers:
        row: list[str] = [str(number)]
        for found in agreements:
            value = found.get(number)
            row.append("none" if value is None else f"{value:.4f}")
        row += [f"{g.blocks[number]:.2%}" if number in g.blocks else "none" for g in groups]
        rows.append(row)
    return Table(
        f"{model.name}: correlation between languages and sparsity, block by block",
        ["block", *(f"correlation: {label}" for label in views),
         *(f"{g.method} {percent(g.sparsity)}" for g in groups)],
        rows,
        folded=True,
    )  # fmt: skip


def failed(results: StudyResults) -> Section | None:
    """Cells that failed, with their errors; None where none did."""
    if not results.failures:
        return None
    rows = [[label, " ".join(problems)] for label, problems in results.failures.items()]
    table = Table("Points of the grid that failed", ["point", "error"], rows, words=("error",))
    return Section("failed", "What failed", [("", [table])])


def provenance(results: StudyResults) -> Section:
    """Everything the numbers depend on."""
    plan = results.plan
    clusters = next((m.clusters for m in results.models), None)
    dense = [one for m in results.models for one in (m.dense or {}).values()]
    sentences = sorted({len(one.sentence_nll) for one in dense})
    counts = dict.fromkeys(str(n) for n in (*sentences[:1], *sentences[-1:]))
    drawn = "not parallel: every language's texts count for themselves"
    if clusters is not None:
        count = max(clusters) + 1
        drawn = f"parallel, {count} articles" if count < len(clusters) else "parallel"
    facts: list[list[str]] = [
        ["text scored", _short(plan.evaluation.text)],
        ["its SHA-256", plan.text_sha256],
        ["texts a language", " to ".join(counts) or "none"],
        ["seed of the subset", str(plan.evaluation.seed)],
        ["ids", plan.evaluation.ids or "all"],
        ["texts are", drawn],
        ["calibration text", "none" if plan.calibration is None else _short(plan.calibration)],
    ]
    for name, label in (("compute_dtype", "forward in"), ("bos", "BOS token")):
        found = sorted({str(cell[name]) for cell in results.cells.values()})
        facts.append([label, "; ".join(found) or "none"])
    versions: dict[str, set[str]] = {}
    for cell in results.cells.values():
        for name, version in cell["versions"].items():
            versions.setdefault(name, set()).add(str(version))
    for name, numbers in versions.items():
        note = " (cells differ)" if len(numbers) > 1 else ""
        facts.append([f"{name} version", ", ".join(sorted(numbers)) + note])
    models = [[name, _short(m.path), m.sha256] for name, m in plan.models.items()]
    tables = [
        Table(
            "Models of the study", ["model", "from", "SHA-256"], models, words=("from", "SHA-256")
        ),
        Table("What the numbers depend on", ["what", "value"], facts, words=("value",)),
        _recipes(results),
    ]
    return Section("provenance", "Provenance", [("", tables)])


def _recipes(results: StudyResults) -> Table:
    rows: dict[str, list[str]] = {}
    for model in results.models:
        for method in model.methods:
            groups = model.of(method)
            # At sparsity 0, which comes first, nothing is read or done.
            for group in ([one for one in groups if one.sparsity] or groups)[:1]:
                recipe, read = (group.first["settings"][k] for k in ("recipe", "calibration"))
                seeds = sorted({s for one in groups for s in one.cells if s is not None})
                rows[method] = [
                    method, _method(recipe["criterion"]), _method(recipe["allocation"]),
                    _method(recipe["reconstruction"]), _recovery(group, recipe),
                    str(recipe["pattern"]),
                    str(recipe["mode"]) if read else "none",
                    f"{recipe['windows']} × {recipe['window_length']}" if read else "none",
                    ", ".join(recipe["languages"]) if read else "none",
                    ", ".join(map(str, seeds)) or "none",
                ]  # fmt: skip
    header = ["method", "criterion", "allocation", "reconstruction", "recovery", "pattern",
              "statistics",
              "windows × tokens a language", "languages", "seeds"]  # fmt: skip
    return Table("Methods of the study", header, list(rows.values()), words=header)


def _recovery(group: Group, recipe: Mapping[str, Any]) -> str:
    steps = {int(cell.get("recovery_steps") or 0) for cell in group.cells.values()} - {0}
    settings = recipe.get("recover") or {}
    most = "at most " if settings.get("patience") is not None else ""
    told = (steps_in_words(one, settings.get("batch", 1)) for one in sorted(steps))
    return f"{most}{', '.join(told)}" if steps else "none"


def _method(data: Mapping[str, Any] | None) -> str:
    if data is None:
        return "none"
    options = ", ".join(f"{key}={value}" for key, value in data["options"].items())
    return str(data["name"]) + (f" ({options})" if options else "")


def _short(place: str) -> str:
    """A local path's last part: where it lay on one machine says nothing to a reader."""
    return Path(place).name if Path(place).is_absolute() else place


def quantised(results: StudyResults) -> Section | None:
    """The dense models in fewer bits, beside the pruned ones; None where there are none."""
    groups = [(model.name, _parts(model)) for model in results.models if model.quantised]
    return Section("quantised", "Instead: quantised or trimmed", groups) if groups else None


def _parts(model: ModelResults) -> list[Part]:
    if model.dense is None:
        return [NO_DENSE]
    rows = []
    for one in sorted(sizes_of(model), key=lambda one: (one.size, one.name), reverse=True):
        loss = model.loss(one.group)
        rows.append([
            one.name, percent(one.group.sparsity) if one.method else "", f"{one.size / 1e6:,.1f}",
            f"{one.share:.0%}", rise_of(loss.mean), loss.mean.bounds(), worst_of(loss),
            f"{loss.certain} of {len(model.languages)}",
        ])  # fmt: skip
    parts: list[Part] = [
        Table(
            f"{model.name}: smaller forms and pruned models by what their weights take",
            ["model", "sparsity", "MB", "of the dense model's", "mean rise", "95 % interval",
             "worst language", "languages worse"],
            rows,
            words=("worst language",),
            note="A quantised model's bytes are those of its weights in a GGUF file, and those of "
            "what ships are of its own files with weights. A trimmed "
            "model's vocabulary is cut to the scripts of these languages, which changes nothing "
            "in them: a pruned model that is also trimmed has the pruned one's losses. A pruned "
            "model's are the weights that are left, in the dense model's dtype, and a bit for "
            f"every weight of the pruned linears. {MARK}",
        )
    ]  # fmt: skip
    for sparsity in model.sparsities or (0.0,):
        pruned = model.at(sparsity)
        compared = [*model.quantised.values(), *pruned]
        losses = [model.loss(group) for group in compared]
        where = f" at sparsity {percent(sparsity)}" if pruned else ""
        means = ["mean", *(rise_of(loss.mean) for loss in losses)]
        parts.append(
            Table(
                f"{model.name}{where}: rise in NLL per sentence over the dense model, quantised "
                "beside pruned",
                ["language", *(group.method for group in compared)],
                [*rises_by_language(model, losses), means],
                folded=bool(pruned) and sparsity != headline(model),
                note=MARK,
                totals=1,
            )
        )
    return parts
