"""A study's report as files: a page of HTML, the same as Markdown, its numbers as CSV, its figures
as SVG."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from mwanda.study.folder import StudyFolder
from mwanda.study.records import DENSE
from mwanda.study.report.cells import numbers_of
from mwanda.study.report.charts import STYLES
from mwanda.study.report.data import StudyResults, load_results, result_of
from mwanda.study.report.elements import Section, Table
from mwanda.study.report.generation_sections import (
    GENERATED,
    QUANTISED,
    TRANSLATION,
    generated,
    generated_rows,
    quantised,
    quantised_rows,
    translation,
    translation_rows,
)
from mwanda.study.report.language_families import families, family_of, script_name
from mwanda.study.report.language_sections import (
    by_kind,
    losses,
    overall,
    seen_unseen,
    side_by_side,
)
from mwanda.study.report.other_sections import blocks, failed, in_short, provenance
from mwanda.study.report.pictures import pictures_of
from mwanda.study.report.task_sections import TASKS, task_rows, tasks
from mwanda.study.report.templating import render
from mwanda.system.output import OutputFolder
from mwanda.system.text_tables import markdown

FILES = ("index.html", "report.md", "languages.csv", "differences.csv", "blocks.csv")

_MORE = (
    ("quantised.csv", QUANTISED, quantised_rows),
    ("translation.csv", TRANSLATION, translation_rows),
    ("generated.csv", GENERATED, generated_rows),
    ("tasks.csv", TASKS, task_rows),
)
MORE = tuple(name for name, _, _ in _MORE)
"""Written where the study has something for them."""

PICTURES = "pictures"
"""The folder of the figures."""

TITLE = "What sparsity does to every language"


def write_report(study: Path, out: Path, *, overwrite: bool = False) -> list[Path]:
    """Write a study's report into a folder; cells that are not there yet are left out.

    Args:
        study: the folder of a study.
        out: the folder to write, whole or not at all.
        overwrite: replace an earlier report.

    Raises:
        InputError: no study, damaged results, or a folder with something else in it.
    """
    folder = StudyFolder.open(study)
    output = OutputFolder(out, overwrite=overwrite, what="an earlier report", foreign=_foreign)
    output.check()
    results = load_results(folder)
    sections = sections_of(results)
    with output as made:
        for name, text in (
            ("index.html", report_html(results, sections)),
            ("report.md", report_markdown(results, sections)),
        ):
            (made / name).write_text(text, encoding="utf-8")
        _write_csv(made / "languages.csv", LANGUAGES, _language_rows(results))
        _write_csv(made / "differences.csv", DIFFERENCES, _difference_rows(results))
        _write_csv(made / "blocks.csv", BLOCKS, _block_rows(results))
        for name, header, make in _MORE:
            if rows := list(make(results)):
                _write_csv(made / name, header, rows)
        (made / PICTURES).mkdir()
        pictures = pictures_of(sections)
        for name, text in pictures.items():
            (made / PICTURES / name).write_text(text, encoding="utf-8")
        names = [name for name in (*FILES, *MORE) if (made / name).exists()]
        names += [f"{PICTURES}/{name}" for name in pictures]
    return [out / name for name in names]


def sections_of(results: StudyResults) -> list[Section]:
    """All there is to show, in order."""
    makers: tuple[Callable[[StudyResults], Section | None], ...] = (
        in_short, losses, overall, quantised, side_by_side, seen_unseen, by_kind, translation,
        generated, tasks, blocks, failed, provenance,
    )  # fmt: skip
    return [section for make in makers if (section := make(results)) is not None]


def report_html(results: StudyResults, sections: Sequence[Section]) -> str:
    """One page that needs nothing else; every name is escaped."""
    return render(
        "page.html.j2",
        title=TITLE,
        sections=sections,
        several=len(results.models) > 1,
        styles=STYLES,
        document=results.plan.document,
    )


def report_markdown(results: StudyResults, sections: Sequence[Section]) -> str:
    """The same in Markdown, without the pictures; their numbers are in the tables."""
    lines = [f"# {TITLE}", ""]
    for section in sections:
        lines += [f"## {section.title}", ""]
        for heading, parts in section.groups:
            if heading and len(results.models) > 1:
                lines += [f"### {_plain(heading)}", ""]
            for part in parts:
                if isinstance(part, str):
                    lines += [_plain(part), ""]
                elif isinstance(part, tuple):
                    lines += [*(f"* {_plain(line)}" for line in part), ""]
                elif isinstance(part, Table):
                    lines += [f"**{_plain(part.caption)}**", "", _markdown(part), ""]
                    lines += [_plain(part.note), ""] if part.note else []
    fence = "`" * max(3, 1 + _longest_run(results.plan.document))
    lines += ["## The study as it was written", "", f"{fence}yaml",
              results.plan.document.rstrip(), fence]  # fmt: skip
    return "\n".join(lines) + "\n"


def _markdown(table: Table) -> str:
    drawn = {
        place for row in table.rows for place, cell in enumerate(row) if not isinstance(cell, str)
    }

    def told(row: Sequence[Any]) -> list[str]:
        return [str(cell) for place, cell in enumerate(row) if place not in drawn]

    return markdown(told(table.header), [told(row) for row in table.rows])


def _plain(text: str) -> str:
    """Words only: nothing in it starts markup."""
    one = " ".join(text.split())
    for sign in "\\`*_[]|":
        one = one.replace(sign, f"\\{sign}")
    return one.replace("&", "&amp;").replace("<", "&lt;")


def _longest_run(text: str) -> int:
    longest = run = 0
    for letter in text:
        run = run + 1 if letter == "`" else 0
        longest = max(longest, run)
    return longest


LANGUAGES = (
    "model", "method", "sparsity", "seed", "language", "script", "family", "seen", "sentences",
    "tokens", "nll_per_sentence", "nll_per_token", "perplexity", "bits_per_byte",
    "dense_nll_per_sentence", "relative_rise", "key",
)  # fmt: skip
DIFFERENCES = (
    "model", "sparsity", "first", "second", "language", "difference", "low", "high", "significant",
)  # fmt: skip
BLOCKS = ("model", "method", "sparsity", "seed", "block", "block_sparsity", "key")


def _language_rows(results: StudyResults) -> Iterable[list[Any]]:

    table = families()
    dense = {model.name: model.dense for model in results.models}
    for entry in results.plan.entries:
        cell = results.cells.get(entry.key)
        if cell is None:
            continue
        for tag, row in cell["languages"].items():
            found = result_of(tag, row)
            base = (dense[entry.model] or {}).get(tag)
            before = None if base is None else base.nll_per_sentence
            yield [
                entry.model, entry.method, entry.sparsity, entry.seed, tag, script_name(tag),
                family_of(tag, table), tag in cell["seen"], len(found.sentence_nll), found.tokens,
                found.nll_per_sentence, found.nll_per_token, found.perplexity, found.bits_per_byte,
                before, None if not before else found.nll_per_sentence / before - 1, entry.key,
            ]  # fmt: skip


def _difference_rows(results: StudyResults) -> Iterable[list[Any]]:
    """Every method against the dense model and against others; no language is their mean."""
    for model in results.models:
        if model.dense is None:
            continue
        for sparsity in model.sparsities:
            compared = [(g.method, DENSE, model.loss(g)) for g in model.at(sparsity)]
            compared += [
                (a.method, b.method, model.against(a, b)) for a, b in model.pairs(sparsity)
            ]
            for first, second, loss in compared:
                for tag, d in {"": loss.mean, **loss.languages}.items():
                    yield [model.name, sparsity, first, second, tag, *numbers_of(d)]


def _block_rows(results: StudyResults) -> Iterable[list[Any]]:
    for entry in results.plan.entries:
        for block, sparsity in results.cells.get(entry.key, {}).get("blocks", {}).items():
            yield [entry.model, entry.method, entry.sparsity, entry.seed, block, sparsity,
                   entry.key]  # fmt: skip


def _write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows([_harmless(value) for value in row] for row in rows)


def _harmless(value: Any) -> Any:
    """A name that a spreadsheet would run as a formula is made text."""
    formula = isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r"))
    return f"'{value}" if formula else value


def _foreign(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not _ours(path))


def _ours(path: Path) -> bool:
    if path.name == PICTURES and path.is_dir() and not path.is_symlink():
        return all(inside.suffix == ".svg" for inside in path.iterdir())
    return path.name in (*FILES, *MORE)
