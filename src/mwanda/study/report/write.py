"""A study's report as files: a page of HTML, the same as Markdown, its numbers as CSV, its charts
as SVG."""

from __future__ import annotations

import logging
from pathlib import Path

from mwanda.study.folder import StudyFolder
from mwanda.study.report import drawing
from mwanda.study.report.csv_files import ALWAYS, SOMETIMES, write_numbers
from mwanda.study.report.data import load_results
from mwanda.study.report.page import page_html, page_markdown
from mwanda.study.report.study_page import page_of
from mwanda.system.output import OutputFolder

FILES = ("index.html", "report.md", *ALWAYS)
MORE = tuple(SOMETIMES)

PICTURES = "pictures"
"""The folder of the charts."""

log = logging.getLogger("mwanda")


def write_report(study: Path, out: Path, *, overwrite: bool = False) -> list[Path]:
    """Write a study's report into a folder; cells that are not there yet are left out.

    Charts need ``vl-convert-python``, of the extra ``figures``; without it the page is words and
    tables.

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
    page = page_of(results)
    pictures = {}
    if page.charts and drawing.can_draw():
        pictures = {f"{PICTURES}/{name}": text for name, text in drawing.pictures_of(page).items()}
    elif page.charts:
        log.warning("no charts: pip install 'mwanda[%s]' brings what draws them", drawing.EXTRA)
    texts = {"index.html": page_html(page), "report.md": page_markdown(page), **pictures}
    with output as made:
        if pictures:
            (made / PICTURES).mkdir()
        for name, text in texts.items():
            (made / name).write_text(text, encoding="utf-8")
        write_numbers(results, made)
        names = [name for name in (*FILES, *MORE) if (made / name).exists()]
    return [out / name for name in (*names, *pictures)]


def _foreign(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not _ours(path))


def _ours(path: Path) -> bool:
    if path.name == PICTURES and path.is_dir() and not path.is_symlink():
        return all(inside.suffix == ".svg" for inside in path.iterdir())
    return path.name in (*FILES, *MORE)
