"""A report as one page of HTML, and as Markdown."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from pathlib import Path
from typing import Any

from mwanda.study.report import drawing
from mwanda.study.report.chart_parts import CONFIG, DARK, LIGHT
from mwanda.study.report.elements import Page
from mwanda.system.text_tables import markdown

MADE_BY = "<!-- made by mwanda -->"
"""First line of every report in Markdown."""


def page_html(page: Page) -> str:
    """A page that needs nothing else; every name is escaped.

    Its charts are drawn by a script within it, which the page's policy knows by its hash. Without
    the library, or without script, it is words and tables.
    """
    scripts = ["", ""]
    if page.charts and drawing.can_draw():
        own = Path(__file__).parent / "templates" / "page.js"
        scripts = [drawing.script(), own.read_text(encoding="utf-8")]
    hashes = " ".join(f"'sha256-{_hash(text)}'" for text in scripts if text)
    several = [name for name, choice in page.choices.items() if len(choice.options) > 1]
    return render(
        "page.html.j2", page=page, open=several, light=LIGHT, dark=DARK,
        library=scripts[0], script=scripts[1],
        data=_json(page) if hashes else "", policy=f"script-src {hashes or repr('none')}",
    )  # fmt: skip


def page_markdown(page: Page) -> str:
    """The same without charts; their numbers are in the tables."""
    lines = [f"# {_plain(page.title)}", ""]
    for said in (*page.lede, *page.notices):
        lines += [_plain(said), ""]
    for section in page.sections:
        lines += [f"## {section.title}", ""]
        for heading, parts in section.groups:
            if heading and page.several:
                lines += [f"### {_plain(heading)}", ""]
            for part in parts:
                if isinstance(part, str):
                    lines += [_plain(part), ""]
                elif isinstance(part, tuple):
                    lines += [*(f"* {_plain(line)}" for line in part), ""]
                else:
                    table = markdown(part.header, part.rows)
                    lines += [f"**{_plain(part.caption)}**", "", table, ""]
                    lines += [_plain(part.note), ""] if part.note else []
    if page.document:
        runs = re.findall("`+", page.document)
        fence = "`" * max(3, 1 + max(map(len, runs), default=0))
        lines += ["## The study as it was written", ""]
        lines += [f"{fence}yaml", page.document.rstrip(), fence]
    return "\n".join(lines).rstrip("\n") + "\n"


def render(template: str, **values: Any) -> str:
    """A template with these values; one that it asks for and that is not there is an error."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    return environment.get_template(template).render(**values)


def _json(page: Page) -> str:
    """What the script works on; nothing in it ends its element."""
    whole = {
        "charts": {chart.id: chart.spec for chart in page.charts},
        "data": page.data,
        "start": {name: choice.start for name, choice in page.choices.items()},
        "choices": {n: [value for value, _ in c.options] for n, c in page.choices.items()},
        "config": CONFIG,
        "light": dict(LIGHT),
    }
    return json.dumps(whole, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")


def _hash(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _plain(text: str) -> str:
    """Words only: nothing in it starts markup."""
    one = re.sub(r"([\\`*_\[\]|])", r"\\\1", " ".join(text.split()))
    return one.replace("&", "&amp;").replace("<", "&lt;")
