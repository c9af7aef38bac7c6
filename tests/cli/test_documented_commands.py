"""Every command of the docs is one: it parses, and those of a first prune run on a tiny model."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from mwanda.cli.program import GROUPS, program
from tests.cli.helpers import SMALL, Bench
from tests.support import REPOSITORY

PAGES = [REPOSITORY / "README.md", *sorted(REPOSITORY.glob("docs/*.md"))]
FENCE = re.compile(r"^```(?:bash|sh|console)?\n(.*?)^```", re.DOTALL | re.MULTILINE)


def commands_of(page: Path) -> Iterator[str]:
    """The lines of a page's blocks that call mwanda, a line that goes on as one."""
    for block in FENCE.findall(page.read_text(encoding="utf-8")):
        for line in block.replace("\\\n", " ").splitlines():
            for part in re.split(r"&&|\|\|", line):
                if part.strip().startswith("mwanda "):
                    yield part.strip()


def whole(line: str) -> bool:
    """Whether it is a command as it is typed, and not the form of several."""
    bare = line.partition("  #")[0]
    return not re.search(r"…|\.\.\.|\||\[|<|\*", bare) and " COMMAND" not in bare


@pytest.fixture(scope="module")
def app() -> Any:
    return typer.main.get_command(program())


LINES = sorted({line for page in PAGES for line in commands_of(page) if whole(line)})


def test_the_docs_have_commands() -> None:
    assert len(LINES) > 60


@pytest.mark.parametrize("line", LINES)
def test_every_command_of_the_docs_parses(app: Any, line: str) -> None:
    found, rest = app, shlex.split(line, comments=True)[1:]
    while hasattr(found, "commands"):
        default = next((row[2] for row in GROUPS if row[0] == found.name), None)
        if rest and rest[0] in found.commands:
            found, rest = found.commands[rest[0]], rest[1:]
        elif default is not None:
            found = found.commands[default]
        else:
            break
    found.make_context(found.name or "mwanda", list(rest))


def test_a_model_of_your_own_goes_as_its_page_says(
    bench: Bench, other_text: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every command of the page, in its order, in one folder."""
    lines = list(commands_of(REPOSITORY / "docs" / "own-model.md"))
    assert [line.split()[1] for line in lines] == [
        "plan", "prune", "eval", "search", "verify", "trim",
    ]  # fmt: skip
    monkeypatch.chdir(bench.root)
    places = {"MODEL": bench.source, "texts": bench.corpus, "other": other_text}
    for line in lines:
        words = shlex.split(line.replace("de,fr,sw", "de,sw"), comments=True)[1:]
        if "--calibration" in words:
            words += SMALL
        if words[0] in ("eval", "search"):
            words += ["--sentences", "2", "--seed", "0"][: 2 if words[0] == "search" else 4]
        ran = bench.run(*(places.get(word, word) for word in words))
        assert ran.code == 0, (line, ran.err)
    made = {path.name for path in bench.root.iterdir()}
    assert made == {"pruned", "lost.html", "chosen", "small"}
