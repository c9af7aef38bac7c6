"""Writes the list of every file at the end of ``docs/architecture.md``, by their first lines."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "mwanda"
PAGE = ROOT / "docs" / "architecture.md"
HEADING = "## Every file\n"


def file_list() -> str:
    """A heading for every folder, a line for every file in it."""
    lines: list[str] = []
    folders = {path.parent for path in SOURCE.rglob("*.py")}
    for folder in sorted(folders, key=lambda path: path.relative_to(SOURCE).parts):
        files = [path for path in sorted(folder.glob("*.py")) if path.name != "__init__.py"]
        package = folder.relative_to(SOURCE).as_posix()
        lines += [f"### `{package}/`" if package != "." else "### `mwanda/`", ""]
        told = first_line(folder / "__init__.py")
        lines += [told, ""] if told else []
        lines += [f"* `{path.name}`: {first_line(path)}" for path in files]
        lines += [""] if files else []
    return "\n".join(lines).rstrip() + "\n"


def first_line(path: Path) -> str:
    """The first sentence of what a file says of itself."""
    told = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return " ".join(told.split("\n\n")[0].split())


def page() -> str:
    """The page with its list as it should be."""
    kept, heading, _ = PAGE.read_text(encoding="utf-8").partition(HEADING)
    return f"{kept}{heading}\n{file_list()}"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
