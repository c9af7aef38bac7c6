"""A report as one page of HTML, and as Markdown."""

from __future__ import annotations

import re
from collections.abc import Sequence

from mwanda.study.report.charts import STYLES
from mwanda.study.report.elements import Section, Table
from mwanda.study.report.templating import render
from mwanda.system.text_tables import markdown

MADE_BY = "<!-- made by mwanda -->"
"""First line of every report in Markdown."""


def page_html(
    title: str, sections: Sequence[Section], *, several: bool = False, document: str = ""
) -> str:
    """A page that needs nothing else; every name is escaped.

    Args:
        several: whether subheadings are shown.
        document: the study as it was written, to be shown last.
    """
    return render(
        "page.html.j2", title=title, sections=sections, several=several, styles=STYLES,
        document=document,
    )  # fmt: skip


def page_markdown(
    title: str, sections: Sequence[Section], *, several: bool = False, document: str = ""
) -> str:
    """The same without pictures; their numbers are in the tables."""
    lines = [f"# {_plain(title)}", ""]
    for section in sections:
        lines += [f"## {section.title}", ""]
        for heading, parts in section.groups:
            if heading and several:
                lines += [f"### {_plain(heading)}", ""]
            for part in parts:
                if isinstance(part, str):
                    lines += [_plain(part), ""]
                elif isinstance(part, tuple):
                    lines += [*(f"* {_plain(line)}" for line in part), ""]
                elif isinstance(part, Table):
                    lines += [f"**{_plain(part.caption)}**", "", _markdown(part), ""]
                    lines += [_plain(part.note), ""] if part.note else []
    if document:
        runs = re.findall("`+", document)
        fence = "`" * max(3, 1 + max(map(len, runs), default=0))
        lines += ["## The study as it was written", "", f"{fence}yaml", document.rstrip(), fence]
    return "\n".join(lines).rstrip("\n") + "\n"


def _markdown(table: Table) -> str:
    drawn = {
        place for row in table.rows for place, cell in enumerate(row) if not isinstance(cell, str)
    }
    header, *rows = [
        [str(cell) for place, cell in enumerate(row) if place not in drawn]
        for row in (table.header, *table.rows)
    ]
    return markdown(header, rows)


def _plain(text: str) -> str:
    """Words only: nothing in it starts markup."""
    one = re.sub(r"([\\`*_\[\]|])", r"\\\1", " ".join(text.split()))
    return one.replace("&", "&amp;").replace("<", "&lt;")
