"""The numbers of a report as CSV: for every file its header, and beside it what makes its rows."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from mwanda.evaluation.language import LanguageResult
from mwanda.study.records import DENSE, Entry
from mwanda.study.report.cells import numbers_of
from mwanda.study.report.data import StudyResults, points_with
from mwanda.study.report.language_families import families, family_of, script_name

POINT = ("model", "method", "sparsity", "seed", "criterion", "allocation", "reconstruction",
         "recovery_steps", "calibration")  # fmt: skip
DIFFERENCE = ("low", "high", "significant")

Rows = Iterator[list[Any]]


def point_of(results: StudyResults, entry: Entry) -> list[Any]:
    """A point of the grid and how it was made; nothing of how where nothing was pruned."""
    cell = results.cells[entry.key]
    recipe = cell["settings"]["recipe"] or {}
    made = [(recipe.get(field) or {}).get("name") for field in POINT[4:7]]
    point = [entry.model, entry.method, entry.sparsity, entry.seed, *made]
    return [*point, cell.get("recovery_steps"), " ".join(recipe.get("languages") or ())]


LANGUAGES = (
    *POINT, "language", "script", "family", "seen", "background", "sentences", "tokens",
    "nll_per_sentence", "nll_per_token", "perplexity", "bits_per_byte", "dense_nll_per_sentence",
    "relative_rise", "key",
)  # fmt: skip


def language_rows(results: StudyResults) -> Rows:
    table = families()
    dense = {model.name: model.dense or {} for model in results.models}
    for entry, languages in points_with(results, "languages"):
        cell = results.cells[entry.key]
        seen, pooled = cell["seen"], cell.get("background", ())
        for tag, row in languages.items():
            found, base = LanguageResult.of_row(tag, row), dense[entry.model].get(tag)
            before = None if base is None else base.nll_per_sentence
            yield [
                *point_of(results, entry), tag, script_name(tag), family_of(tag, table),
                tag in seen, tag in pooled, len(found.sentence_nll), found.tokens,
                found.nll_per_sentence,
                found.nll_per_token, found.perplexity, found.bits_per_byte, before,
                found.nll_per_sentence / before - 1 if before else None, entry.key,
            ]  # fmt: skip


DIFFERENCES = ("model", "sparsity", "first", "second", "language", "difference", *DIFFERENCE)


def difference_rows(results: StudyResults) -> Rows:
    """Every method against the dense model and against others; no language is their mean."""
    for model in results.models:
        for sparsity in model.sparsities if model.dense is not None else ():
            compared = [(g.method, DENSE, model.loss(g)) for g in model.at(sparsity)]
            compared += [
                (a.method, b.method, model.against(a, b)) for a, b in model.pairs(sparsity)
            ]
            for first, second, loss in compared:
                for tag, d in loss.with_mean.items():
                    yield [model.name, sparsity, first, second, tag, *numbers_of(d)]


BLOCKS = (*POINT, "block", "block_sparsity", "key")


def block_rows(results: StudyResults) -> Rows:
    for entry, blocks in points_with(results, "blocks"):
        for block, sparsity in blocks.items():
            yield [*point_of(results, entry), block, sparsity, entry.key]


QUANTISED = (
    "model", "type", "bytes", "source_bytes", "matrices", "matrices_kept", "language", "rise",
    *DIFFERENCE,
)  # fmt: skip


def quantised_rows(results: StudyResults) -> Rows:
    """No language is their mean."""
    for model in results.models:
        for kind, group in model.quantised.items() if model.dense is not None else ():
            sizes = group.first["quantised"]
            start = [model.name, kind, sizes["bytes"], sizes["source_bytes"], sizes["tensors"],
                     len(sizes["kept"])]  # fmt: skip
            for tag, one in model.loss(group).with_mean.items():
                yield [*start, tag, *numbers_of(one)]


TRANSLATION = (
    *POINT, "direction", "bleu", "chrf++", "sentences", "empty", "other_language",
    "references_other_language", "repetitive", "bleu_signature", "chrf++_signature", "key",
)  # fmt: skip


def translation_rows(results: StudyResults) -> Rows:
    for entry, made in points_with(results, "translation"):
        for direction, row in made.items():
            signatures = row["signatures"]
            yield [*point_of(results, entry), direction, row["bleu"], row["chrf++"], *_checked(row),
                   signatures["bleu"], signatures["chrf++"], entry.key]  # fmt: skip


GENERATED = (
    *POINT, "language", "texts", "empty", "other_language", "references_other_language",
    "repetitive", "key",
)  # fmt: skip


def generated_rows(results: StudyResults) -> Rows:
    for entry, made in points_with(results, "generated"):
        for tag, row in made.items():
            yield [*point_of(results, entry), tag, *_checked(row), entry.key]


def _checked(row: Any) -> list[Any]:
    outputs, references = row["outputs"], row["references"]
    return [outputs["texts"], outputs["empty"], outputs["other_language"],
            references["other_language"], outputs["repetitive"]]  # fmt: skip


TASKS = (
    *POINT, "task", "language", "accuracy", "stderr", "items", "harness", "prompt_sha256", "key"
)  # fmt: skip


def task_rows(results: StudyResults) -> Rows:
    for entry, made in points_with(results, "tasks"):
        for task, rows in made.items():
            for tag, row in rows.items():
                numbers = [row[name] for name in TASKS[len(POINT) + 2 : -1]]
                yield [*point_of(results, entry), task, tag, *numbers, entry.key]


Make = Callable[[StudyResults], Iterable[list[Any]]]

ALWAYS: dict[str, tuple[Sequence[str], Make]] = {
    "languages.csv": (LANGUAGES, language_rows),
    "differences.csv": (DIFFERENCES, difference_rows),
    "blocks.csv": (BLOCKS, block_rows),
}
SOMETIMES: dict[str, tuple[Sequence[str], Make]] = {
    "quantised.csv": (QUANTISED, quantised_rows),
    "translation.csv": (TRANSLATION, translation_rows),
    "generated.csv": (GENERATED, generated_rows),
    "tasks.csv": (TASKS, task_rows),
}
"""Written where the study has something for them."""


def write_numbers(results: StudyResults, folder: Path) -> None:
    """Write every file that there is something for."""
    for name, (header, make) in (ALWAYS | SOMETIMES).items():
        rows = list(make(results))
        if rows or name in ALWAYS:
            with (folder / name).open("w", encoding="utf-8", newline="") as file:
                writer = csv.writer(file)
                writer.writerow(header)
                writer.writerows([_harmless(value) for value in row] for row in rows)


def _harmless(value: Any) -> Any:
    """A name that a spreadsheet would run as a formula is made text."""
    formula = isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r"))
    return f"'{value}" if formula else value
