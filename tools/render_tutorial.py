"""Run ``docs/tutorial.py`` cell by cell and write it with all that it shows: ``docs/tutorial.md``.

    python tools/render_tutorial.py [MODEL [OUT]]

The figures go to ``docs/images``. OUT holds the pruned models; without it they are not kept.
Without MODEL nothing is run: the page has words and code alone.
"""

from __future__ import annotations

import ast
import contextlib
import io
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
TUTORIAL, PAGE = ROOT / "docs" / "tutorial.py", ROOT / "docs" / "tutorial.md"


def cells(text: str) -> list[tuple[str, str]]:
    """Marker and source of every cell."""
    parts = re.split(r"^# %%(.*)$", text, flags=re.MULTILINE)
    return [(m.strip(), s.strip("\n")) for m, s in zip(parts[1::2], parts[2::2], strict=True)]


def prose(source: str) -> str:
    """A cell of words without the signs that make it a comment."""
    return "\n".join(line.removeprefix("#").removeprefix(" ") for line in source.splitlines())


def run(source: str, names: dict[str, Any]) -> tuple[str, Any]:
    """What a cell prints, and what its last line is worth."""
    tree, value = ast.parse(source), None
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(compile(tree, str(TUTORIAL), "exec"), names)
        if last is not None:
            value = eval(compile(ast.Expression(last.value), str(TUTORIAL), "eval"), names)
    return printed.getvalue(), value


def fenced(text: str) -> list[str]:
    """A block of text as it is."""
    return ["```text", text, "```", ""]


def shown(value: Any, number: int) -> list[str]:
    """A cell's value as Markdown; a figure is kept as a picture."""
    from pandas import DataFrame, Series

    from mwanda.system.shown import Shown
    from mwanda.system.text_tables import markdown

    if value is None:
        return []
    if hasattr(value, "figure"):
        name = f"tutorial-{number}.svg"
        value.figure.savefig(
            PAGE.parent / "images" / name, bbox_inches="tight", metadata={"Date": None}
        )
        return [f"![What the cell above draws](images/{name})", ""]
    if isinstance(value, Shown):
        sheet = value._sheet()
        rows = [[str(cell) for cell in row] for row in sheet.rows]
        return [*fenced(repr(value)), markdown([str(name) for name in sheet.header], rows), ""]
    if isinstance(value, Series):
        value = value.to_frame("mean").reset_index(names="model")
    if isinstance(value, DataFrame):
        header = [str(name) for name in value.columns]
        rows = [[f"{c:.4g}" if isinstance(c, float) else str(c) for c in row]
                for row in value.itertuples(index=False)]  # fmt: skip
        return [markdown(header, rows), ""]
    return fenced(repr(value))


def page(model: str | None, out: Path) -> str:
    """The whole tutorial, with what it shows if there is a model."""
    names: dict[str, Any] = {}
    lines: list[str] = []
    for number, (marker, source) in enumerate(cells(TUTORIAL.read_text(encoding="utf-8"))):
        if "[markdown]" in marker:
            lines += [prose(source), ""]
            continue
        lines += ["```python", source.strip(), "```", ""]
        if model is None:
            continue
        printed, value = run(source, names)
        if "parameters" in marker:
            names |= {"MODEL": model, "OUT": str(out)}
        lines += fenced(printed.rstrip()) if printed else []
        lines += shown(value, number)
    return "\n".join(lines).rstrip() + "\n"


def main() -> None:
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "mwanda"
    model = sys.argv[1] if len(sys.argv) > 1 else None
    with tempfile.TemporaryDirectory() as temporary:
        out = Path(sys.argv[2]) if len(sys.argv) > 2 else Path(temporary) / "pruned"
        text = page(model, out)
    if model is not None:
        text = text.replace(model, "HuggingFaceTB/SmolLM2-135M").replace(str(out), "pruned")
    PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
