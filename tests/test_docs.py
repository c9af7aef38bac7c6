"""The docs point at what is there, and the list of files is the files' own."""

from __future__ import annotations

import itertools
import re
import runpy
from pathlib import Path

import pytest

from mwanda.methods.kinds import defaults_of
from mwanda.methods.registry import ALLOCATIONS, CRITERIA, RECONSTRUCTIONS
from mwanda.pruning.recipe.asked import Recipe
from mwanda.pruning.recipe.resolved import DEFAULT_SPARSITY
from tests.support import REPOSITORY

PAGES = sorted(
    [*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/*.md"), *REPOSITORY.glob("*/README.md")]
)
LINK = re.compile(r"(?<!\\)\[[^\]]*\]\(([^()\s]+)\)")
FENCE = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """The anchors that a renderer gives a page's headings."""
    headings = HEADING.findall(FENCE.sub("", page.read_text(encoding="utf-8")))
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.strip().replace(" ", "-") for heading in plain}


def broken(page: Path, text: str) -> list[str]:
    """Links of a page that lead nowhere in this repository."""
    found = []
    for link in LINK.findall(FENCE.sub("", text)):
        place, _, anchor = link.partition("#")
        if re.match(r"[a-z]+:", place):
            continue
        target = (page.parent / place).resolve() if place else page
        known = target.exists() and target.is_relative_to(REPOSITORY)
        if not known or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
            found.append(link)
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_every_link_leads_somewhere(page: Path) -> None:
    assert not broken(page, page.read_text(encoding="utf-8"))


def test_a_broken_link_is_seen() -> None:
    page = REPOSITORY / "README.md"
    assert broken(page, "[a](docs/none.md) [b](README.md#no-such) [c](LICENSE)") == [
        "docs/none.md", "README.md#no-such",
    ]  # fmt: skip


PLACES = (REPOSITORY, REPOSITORY / "src" / "mwanda")
OURS = "|".join(sorted({path.name for place in PLACES for path in place.iterdir() if path.is_dir()
                        and not path.name.startswith((".", "_"))
                        and path.name not in ("build", "dist", "out")}))  # fmt: skip
CODE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
PATH = re.compile(rf"(?<![\w./*{{<-])(?:{OURS})/[\w./-]*\w")
TO_WRITE = ("yours.py", "NAME.py")
"""Files that a reader is told to make, or to choose."""


def lost(text: str) -> list[str]:
    """Paths of this repository between backticks at which nothing lies."""
    codes = CODE.findall(FENCE.sub("", text))
    return [
        path
        for code in codes
        for path in PATH.findall(code)
        if not path.endswith(TO_WRITE) and not any((place / path).exists() for place in PLACES)
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_every_path_named_is_there(page: Path) -> None:
    assert not lost(page.read_text(encoding="utf-8"))


def test_a_lost_path_is_seen() -> None:
    text = "`tests/strange/corpus.py` `python tools/none.py --x` `cli/program.py: run` `out/a.py`"
    assert lost(text) == ["tests/strange/corpus.py", "tools/none.py"]


def test_every_file_is_named_where_the_layout_is_told() -> None:
    made = runpy.run_path(str(REPOSITORY / "tools" / "file_list.py"))["page"]()
    page = (REPOSITORY / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert made == page, "run make lists"


def test_the_readme_fits_its_first_screens_and_a_package_index() -> None:
    """Where the repository's address is known every link leads there, else there is none."""
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) < 120
    absolute = runpy.run_path(str(REPOSITORY / "setup.py"))["absolute"]
    there = absolute(text, "https://host/blob/", "https://host/raw/")
    assert (
        "![Rise of every language at 50 % sparsity, by method](https://host/raw/docs/study/"
        in there
    )
    assert "[docs" not in there
    assert all(link.startswith("https://") for link in LINK.findall(there))
    assert len(LINK.findall(there)) == len(LINK.findall(text))
    bare = absolute(text, "", "")
    assert all(link.startswith("https://") for link in LINK.findall(bare))
    assert "[153 of 181]" not in bare
    assert "153 of 181 causal classes" in bare


def table_under(page: str, heading: str) -> list[list[list[str]]]:
    """The table under a heading: what is in backticks, by row and cell."""
    text = (REPOSITORY / "docs" / page).read_text(encoding="utf-8")
    _, found, rest = text.partition(f"\n{heading}\n")
    assert found
    lines = itertools.dropwhile(lambda line: not line.startswith("|"), rest.splitlines())
    rows = itertools.takewhile(lambda line: line.startswith("|"), lines)
    return [[CODE.findall(cell) for cell in row.strip("|").split("|")] for row in rows][2:]


def test_the_default_sparsity_is_told_where_examples_have_another() -> None:
    for name in ("README.md", "docs/own-model.md", "docs/tutorial.py"):
        text = (REPOSITORY / name).read_text(encoding="utf-8")
        ways = (f"{DEFAULT_SPARSITY:.0%}".replace("%", " %"), str(DEFAULT_SPARSITY))
        assert any(f"default sparsity is {way}" in " ".join(text.split()) for way in ways), name


def test_every_field_of_a_recipe_is_told() -> None:
    """Else give it a row in docs/options.md."""
    told = {name for row in table_under("options.md", "## What to do") for name in row[1]}
    assert {name for name in told if name.isidentifier()} == {*Recipe.model_fields}


def test_every_constant_of_a_method_is_told() -> None:
    rows = table_under("options.md", "### Constants of a method")
    told = {(option, name) for row in rows for option in row[0] for name in row[1]}
    methods = (CRITERIA | ALLOCATIONS | RECONSTRUCTIONS).values()
    there = {(option, row.name) for row in methods for option in defaults_of(row)}
    assert told == there, "bring the last table of docs/options.md into step by hand"
