"""Put the pages of the site of the docs into one folder, ``build/docs``: those in ``docs``, README
and its like, and a reference of the command line and of Python, made from the code."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
OUTSIDE = {
    "README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "SECURITY.md": "security.md",
    "CHANGELOG.md": "changelog.md",
}  # fmt: skip
"""Pages at the root of the repository, and what they are called in the site."""

LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^()\s#]+)(#[^()\s]*)?\)")
CODE = re.compile(r"(^```.*?^```|`[^`\n]+`)", re.DOTALL | re.MULTILINE)


def assemble(out: Path) -> None:
    """Make the folder anew."""
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(ROOT / "docs", out)
    for path in out.rglob("*.md"):
        path.write_text(linked(path.read_text(encoding="utf-8"), root=False), encoding="utf-8")
    for name, page in OUTSIDE.items():
        text = linked((ROOT / name).read_text(encoding="utf-8"), root=True)
        (out / page).write_text(text, encoding="utf-8")
    (out / "cli.md").write_text("\n".join(command_line()), encoding="utf-8")
    (out / "python.md").write_text("\n".join(python()), encoding="utf-8")
    there = {path.relative_to(out).as_posix() for path in out.rglob("*.md")}
    nav = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:\n")[2]
    named = re.findall(r": (\S+\.md)$", nav, re.MULTILINE)
    if lost := sorted({*named} - there):
        raise SystemExit(f"mkdocs.yml: expected pages in nav that there are, found {lost}")
    if unnamed := sorted(there - {*named}):
        print(f"mkdocs.yml: nav names every page but {', '.join(unnamed)}", file=sys.stderr)


def linked(markdown: str, *, root: bool) -> str:
    """The page with its links to what is no page of the site made links within it, or words.

    Args:
        root: whether the page lies at the root of the repository.
    """
    parts = CODE.split(markdown)
    return "".join(
        part if place % 2 else LINK.sub(lambda found: _link(found, root), part)
        for place, part in enumerate(parts)
    )


def _link(found: re.Match[str], root: bool) -> str:
    picture, words, target, anchor = found.groups()
    if re.match(r"[a-z]+:", target):
        return found[0]
    path = target if root else target.removeprefix("../") if target.startswith("../") else ""
    if path in OUTSIDE:
        return f"{picture}[{words}]({OUTSIDE[path]}{anchor or ''})"
    if path.startswith("docs/"):
        return f"{picture}[{words}]({path.removeprefix('docs/')}{anchor or ''})"
    return words if path else found[0]


def command_line() -> Iterator[str]:
    """Every command with its arguments and options, as tables."""
    import typer

    from mwanda.cli.program import program

    yield from ("# Command line", "", "Every command and option, as `mwanda COMMAND --help` has "
                "them. [Options](options.md) says more of the common ones.")  # fmt: skip
    yield from _commands(typer.main.get_command(program()), "mwanda")


def _commands(command: Any, path: str) -> Iterator[str]:
    if hasattr(command, "commands"):
        for name, one in command.commands.items():
            yield from _commands(one, f"{path} {name}")
        return
    from mwanda.cli.examples import EXAMPLES
    from mwanda.cli.help import panels_of

    yield from ("", f"## `{path}`", "", _words(command.help or "").partition("Example")[0], "")
    if examples := EXAMPLES.get(path.removeprefix("mwanda ")):
        yield from ("```", *examples, "```")
    context = command.make_context(path, [], resilient_parsing=True)
    for panel, rows in panels_of(command, context):
        yield from ("", f"| {panel} | |", "|---|---|")
        for name, told in rows:
            cells = (name.replace("|", "\\|"), _words(told).replace("|", "\\|"))
            yield "| `{}` | {} |".format(*cells)


def _words(text: str) -> str:
    """Plain text as Markdown shows it."""
    plain = re.sub(r"([*_\[])", r"\\\1", " ".join(text.split()))
    return plain.replace("&", "&amp;").replace("<", "&lt;")


def python() -> Iterator[str]:
    """Everything that ``mwanda`` has by name."""
    import mwanda

    yield from ("# Python", "", "Everything in `mwanda`. [In a notebook](notebooks.md) says how "
                "results show themselves.")  # fmt: skip
    for name in sorted(mwanda.__all__, key=str.lower):
        if not name.startswith("_"):
            yield from ("", f"::: mwanda.{name}")


if __name__ == "__main__":
    assemble(ROOT / "build" / "docs")
