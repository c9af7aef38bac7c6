"""A study's report as files: a page of HTML, the same as Markdown, its numbers as CSV, its figures
as SVG."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from mwanda.study.folder import StudyFolder
from mwanda.study.report.csv_files import ALWAYS, SOMETIMES, write_numbers
from mwanda.study.report.data import StudyResults, load_results
from mwanda.study.report.elements import Section
from mwanda.study.report.generation_sections import generated, tasks, translation
from mwanda.study.report.language_sections import (
    by_kind,
    by_model,
    losses,
    overall,
    seen_unseen,
    side_by_side,
)
from mwanda.study.report.other_sections import blocks, failed, in_short, provenance
from mwanda.study.report.page import page_html, page_markdown
from mwanda.study.report.pictures import pictures_of
from mwanda.study.report.quantised_section import quantised
from mwanda.system.output import OutputFolder

FILES = ("index.html", "report.md", *ALWAYS)
MORE = tuple(SOMETIMES)

PICTURES = "pictures"
"""The folder of the figures."""

TITLE = "What sparsity does to every language"

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
    pictures = {f"{PICTURES}/{name}": text for name, text in pictures_of(sections).items()}
    texts = {
        "index.html": report_html(results, sections),
        "report.md": report_markdown(results, sections),
        **pictures,
    }
    with output as made:
        (made / PICTURES).mkdir()
        for name, text in texts.items():
            (made / name).write_text(text, encoding="utf-8")
        write_numbers(results, made)
        names = [name for name in (*FILES, *MORE) if (made / name).exists()]
    return [out / name for name in (*names, *pictures)]


def sections_of(results: StudyResults) -> list[Section]:
    """All there is to show, in order."""
    return [section for make in SECTIONS if (section := make(results)) is not None]


def report_html(results: StudyResults, sections: Sequence[Section]) -> str:
    """One page that needs nothing else; every name is escaped."""
    several, document = len(results.models) > 1, results.plan.document
    return page_html(TITLE, sections, several=several, document=document)


def report_markdown(results: StudyResults, sections: Sequence[Section]) -> str:
    """The same in Markdown, without the pictures; their numbers are in the tables."""
    several, document = len(results.models) > 1, results.plan.document
    return page_markdown(TITLE, sections, several=several, document=document)


def _foreign(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not _ours(path))


def _ours(path: Path) -> bool:
    if path.name == PICTURES and path.is_dir() and not path.is_symlink():
        return all(inside.suffix == ".svg" for inside in path.iterdir())
    return path.name in (*FILES, *MORE)
