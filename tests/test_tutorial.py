"""The tutorial runs, cell by cell, on a tiny model; the last line of a cell shows something."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pytest

from tests.support import REPOSITORY
from tests.support.folders_made import Tiny

TUTORIAL = REPOSITORY / "docs" / "tutorial.py"


def cells() -> list[tuple[str, str]]:
    """Marker and source of every cell that is code, as jupytext cuts them."""
    parts = re.split(r"^# %%(.*)$", TUTORIAL.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert not parts[0].strip()
    pairs = list(zip(parts[1::2], parts[2::2], strict=True))
    for marker, text in pairs:
        comment = all(line.startswith("#") for line in text.strip().splitlines())
        assert comment == ("[markdown]" in marker)
    return [(marker, text) for marker, text in pairs if "[markdown]" not in marker]


def run(source: str, names: dict[str, Any]) -> Any:
    """Run a cell, and give what its last line is worth, as a notebook does."""
    tree = ast.parse(source)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, str(TUTORIAL), "exec"), names)
    if last is None:
        return None
    return eval(compile(ast.Expression(last.value), str(TUTORIAL), "eval"), names)


@pytest.fixture
def drawn() -> Iterator[None]:
    mpl.use("agg")
    yield
    from matplotlib import pyplot

    pyplot.close("all")


def test_it_runs(tiny: Tiny, tmp_path: Path, drawn: None) -> None:
    names: dict[str, Any] = {}
    shown = []
    for marker, source in cells():
        shown.append(run(source, names))
        if "parameters" in marker:
            names |= {"MODEL": str(tiny("llama")), "OUT": str(tmp_path / "pruned"),
                      "LANGUAGES": ["en", "de"], "OTHERS": ["sw"]}  # fmt: skip
    assert names["compared"].pruned.seen == ("en", "de")
    assert names["english"].pruned.seen == ("en",)
    assert {rise.language for rise in names["compared"].rises} == {"en", "de", "sw"}
    pages = [one._repr_html_() for one in shown if hasattr(one, "_repr_html_")]
    assert (
        sum("Plan" in page or "PruneResult" in page or "Comparison" in page for page in pages) == 3
    )
    assert (tmp_path / "pruned" / "english" / "mwanda.json").is_file()


def test_the_page_of_it_has_every_cell() -> None:
    """Else: python tools/render_tutorial.py MODEL"""
    page = (REPOSITORY / "docs" / "tutorial.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)\n```$", page, re.DOTALL | re.MULTILINE)
    assert blocks == [source.strip() for _, source in cells()]
