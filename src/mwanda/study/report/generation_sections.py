"""The sections of a report about quantised models, translations and generated text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mwanda.study.records import Entry
from mwanda.study.report.cells import (
    MARK,
    bounds_of,
    headline,
    label_of,
    numbers_of,
    rise_of,
    worst_of,
)
from mwanda.study.report.data import Group, ModelResults, StudyResults
from mwanda.study.report.elements import Cell, Part, Section, Table
from mwanda.study.report.translation_table import CHECKED, HEADER, check_row, direction_row, percent

SHARES = (
    "Other language: share of texts that py3langid takes for another language than asked for; of "
    "references: the same share of what people wrote, which is the check's own error. Repeats "
    "itself: share of texts in which more than half of all sequences of 4 characters stood before. "
    "Empty: texts without a letter, which count in neither share."
)

QUANTISED = (
    "model", "type", "bytes", "source_bytes", "matrices", "matrices_kept", "language", "rise",
    "low", "high", "significant",
)  # fmt: skip
TRANSLATION = (
    "model", "method", "sparsity", "seed", "direction", "bleu", "chrf++", "sentences", "empty",
    "other_language", "references_other_language", "repetitive", "bleu_signature",
    "chrf++_signature", "key",
)  # fmt: skip
GENERATED = (
    "model", "method", "sparsity", "seed", "language", "texts", "empty", "other_language",
    "references_other_language", "repetitive", "key",
)  # fmt: skip


def quantised(results: StudyResults) -> Section | None:
    """The dense models in fewer bits, beside the pruned ones; None where there are none."""
    if not any(model.quantised for model in results.models):
        return None
    groups = [(model.name, _quantised_of(model)) for model in results.models if model.quantised]
    return Section("quantised", "Instead: quantised", groups)


def _quantised_of(model: ModelResults) -> list[Part]:
    if model.dense is None:
        return ["The dense model has no result yet, so nothing can be compared with it."]
    first = next(iter(model.quantised.values())).first["quantised"]
    sized: list[tuple[float, str, str, Group]] = [
        (float(group.first["quantised"]["bytes"]), f"dense in {kind}", "", group)
        for kind, group in model.quantised.items()
    ]
    for group in model.groups.values():
        size = _masked_bytes(group, first)
        sized.append((size, group.method, f"{group.sparsity:.0%}", group))
    rows: list[list[Cell]] = []
    for size, name, share, group in sorted(sized, key=lambda row: row[:3], reverse=True):
        loss = model.loss(group)
        rows.append([
            name, share, f"{size / 1e6:,.1f}", f"{size / first['source_bytes']:.0%}",
            rise_of(loss.mean), bounds_of(loss.mean), worst_of(loss),
            f"{loss.certain} of {len(model.languages)}",
        ])  # fmt: skip
    parts: list[Part] = [
        Table(
            f"{model.name}: quantised and pruned models by what their weights take",
            ["model", "sparsity", "MB", "of the dense model's", "mean rise", "95 % interval",
             "worst language", "languages worse"],
            rows,
            words=(6,),
            note="A quantised model's bytes are those of its weights in a GGUF file. A pruned "
            "model's are the weights that are left, in the dense model's dtype, and a bit for "
            f"every weight of the pruned linears. {MARK}",
        )
    ]  # fmt: skip
    for sparsity in model.sparsities or (0.0,):
        pruned = model.at(sparsity)
        compared = [*model.quantised.values(), *pruned]
        losses = [model.loss(group) for group in compared]
        where = f" at sparsity {sparsity:.0%}" if pruned else ""
        rows = [
            [label_of(model, tag), *(rise_of(loss.languages[tag]) for loss in losses)]
            for tag in [*model.seen_by_any, *model.unseen_by_all]
        ]
        rows.append(["mean", *(rise_of(loss.mean) for loss in losses)])
        parts.append(
            Table(
                f"{model.name}{where}: rise in NLL per sentence over the dense model, quantised "
                "beside pruned",
                ["language", *(group.method for group in compared)],
                rows,
                folded=bool(pruned) and sparsity != headline(model),
                note=MARK,
                totals=1,
            )
        )
    return parts


def _masked_bytes(group: Group, sizes: Mapping[str, Any]) -> float:
    """Bytes of a pruned model's weights that are left, with one bit for each that could go."""
    cell = group.first
    left = sizes["source_bytes"] * (1 - cell["model_sparsity"])
    pruned_linears = cell["model_sparsity"] / cell["sparsity"] if cell["sparsity"] else 0.0
    return float(left + sizes["weights"] * pruned_linears / 8)


def translation(results: StudyResults) -> Section | None:
    """BLEU and chrF++ of every point; None where nothing was translated."""
    groups: list[tuple[str, list[Part]]] = []
    for model, own in models_with(results, "translation"):
        directions = dict.fromkeys(name for _, made in own for name in made)
        rows: list[list[Cell]] = [
            [direction, *point_of(entry), *direction_row(made[direction])]
            for direction in directions
            for entry, made in own
        ]
        signatures = dict.fromkeys(
            f"{kind}: {text}"
            for _, made in own
            for row in made.values()
            for kind, text in row["signatures"].items()
        )
        table = Table(
            f"{model.name}: few-shot translation, BLEU and chrF++ by sacrebleu",
            ["direction", "method", "sparsity", "seed", *HEADER],
            rows,
            texts=2,
            note=f"Signatures: {'; '.join(signatures)}. {SHARES}",
        )
        groups.append((model.name, [table]))
    return Section("translation", "Translation", groups) if groups else None


def generated(results: StudyResults) -> Section | None:
    """Repetition and wrong languages in continuations; None where nothing was continued."""
    groups: list[tuple[str, list[Part]]] = []
    for model, own in models_with(results, "generated"):
        overall = Table(
            f"{model.name}: continuations of all languages",
            ["method", "sparsity", "seed", *CHECKED],
            [[*point_of(entry), *check_row(_all_of(made))] for entry, made in own],
            note=f"Shares are means over languages. {SHARES}",
        )
        tags = [tag for tag in model.languages if any(tag in made for _, made in own)]
        each = Table(
            f"{model.name}: share of continuations in another language, and share that repeat "
            "themselves",
            ["language", "of references", *(" ".join(point_of(entry)) for entry, _ in own)],
            [
                [label_of(model, tag), _other(own[0][1].get(tag), "references"),
                 *(_both(made.get(tag)) for _, made in own)]
                for tag in tags
            ],
            folded=True,
        )  # fmt: skip
        groups.append((model.name, [overall, each]))
    return Section("generated", "Generated text", groups) if groups else None


def point_of(entry: Entry) -> list[str]:
    """Method, sparsity and seed, as a table's columns."""
    sparsity = f"{entry.sparsity:.0%}" if entry.sparsity else ""
    return [entry.method, sparsity, "" if entry.seed is None else str(entry.seed)]


def _all_of(made: Mapping[str, Any]) -> dict[str, Any]:
    """Means over languages, of those for which there is a share; empty texts are added up."""
    found: dict[str, Any] = {}
    for who in ("outputs", "references"):
        rows = [row[who] for row in made.values()]
        shares = [row["other_language"] for row in rows if row["other_language"] is not None]
        found[who] = {
            "other_language": sum(shares) / len(shares) if shares else None,
            "repetitive": sum(row["repetitive"] for row in rows) / len(rows) if rows else 0.0,
            "empty": sum(row["empty"] for row in rows),
        }
    return found


def _other(row: Mapping[str, Any] | None, who: str) -> str:
    return "none" if row is None else percent(row[who]["other_language"])


def _both(row: Mapping[str, Any] | None) -> str:
    if row is None:
        return "none"
    return f"{_other(row, 'outputs')}, {percent(row['outputs']['repetitive'])}"


def points_with(results: StudyResults, name: str) -> Iterator[tuple[Entry, dict[str, Any]]]:
    """Points of the grid whose cell holds something of that name, and what it holds."""
    for entry in results.plan.entries:
        made = results.cells.get(entry.key, {}).get(name)
        if made:
            yield entry, made


def models_with(
    results: StudyResults, name: str
) -> Iterator[tuple[ModelResults, list[tuple[Entry, dict[str, Any]]]]]:
    """Models of which some point holds something of that name, with those points."""
    found = list(points_with(results, name))
    for model in results.models:
        if own := [(entry, made) for entry, made in found if entry.model == model.name]:
            yield model, own


def quantised_rows(results: StudyResults) -> Iterator[list[Any]]:
    """For quantised.csv; no language is their mean."""
    for model in results.models:
        for kind, group in model.quantised.items() if model.dense is not None else ():
            sizes, loss = group.first["quantised"], model.loss(group)
            start = [model.name, kind, sizes["bytes"], sizes["source_bytes"], sizes["tensors"],
                     len(sizes["kept"])]  # fmt: skip
            for tag, one in {"": loss.mean, **loss.languages}.items():
                yield [*start, tag, *numbers_of(one)]


def translation_rows(results: StudyResults) -> Iterator[list[Any]]:
    """For translation.csv."""
    for entry, made in points_with(results, "translation"):
        for direction, row in made.items():
            outputs, references, signatures = row["outputs"], row["references"], row["signatures"]
            yield [
                entry.model, entry.method, entry.sparsity, entry.seed, direction, row["bleu"],
                row["chrf++"], outputs["texts"], outputs["empty"], outputs["other_language"],
                references["other_language"], outputs["repetitive"], signatures["bleu"],
                signatures["chrf++"], entry.key,
            ]  # fmt: skip


def generated_rows(results: StudyResults) -> Iterator[list[Any]]:
    """For generated.csv."""
    for entry, made in points_with(results, "generated"):
        for tag, row in made.items():
            outputs = row["outputs"]
            yield [
                entry.model, entry.method, entry.sparsity, entry.seed, tag, outputs["texts"],
                outputs["empty"], outputs["other_language"], row["references"]["other_language"],
                outputs["repetitive"], entry.key,
            ]  # fmt: skip
