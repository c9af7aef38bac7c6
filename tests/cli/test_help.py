"""The help at 80 columns, examples that are right, and the names that a shell completes."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import typer

from mwanda.cli.completion import completer
from mwanda.cli.examples import EXAMPLES
from mwanda.cli.help import GIVEN, PANEL_OF
from mwanda.cli.program import COMMANDS, GROUPS, PANELS, program
from mwanda.errors import InputError
from mwanda.methods.registry import CRITERIA
from mwanda.pruning.recipe.asked import Recipe
from mwanda.pruning.recipe.by_name import find_recipe, recipe_names

Help = Callable[..., str]

PATHS = [" ".join(filter(None, row[:2])) for row in COMMANDS]


@pytest.fixture(scope="module")
def app() -> Any:
    return typer.main.get_command(program())


@pytest.fixture
def helped(app: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Help:
    monkeypatch.setenv("COLUMNS", "80")

    def show(*words: str) -> str:
        assert app.main([*words, "--help"], prog_name="mwanda", standalone_mode=False) == 0
        return capsys.readouterr().out

    return show


def command(app: Any, path: str) -> Any:
    for word in path.split():
        app = app.commands[word]
    return app


@pytest.mark.parametrize("path", ["", *PATHS])
def test_nothing_is_cut_at_80_columns(app: Any, helped: Help, path: str) -> None:
    shown = helped(*path.split())
    assert max(map(len, shown.splitlines())) <= 80
    words = " ".join(shown.replace("│", " ").split())
    for cut in ("... ", "range>", "<str>", "<bool>", "list["):
        assert cut not in words.replace("[ARGS]... ", "")
    shown_names = {word.strip(",") for word in words.split()}
    for parameter in command(app, path).params:
        if not parameter.hidden and parameter.param_type_name == "option":
            assert {*parameter.opts, *parameter.secondary_opts} <= shown_names


def test_commands_come_in_the_order_of_the_work(helped: Help) -> None:
    shown = helped()
    names = [name for panel in PANELS.values() for name in panel]
    places = [shown.index(f"│ {name} ") for name in names]
    assert places == sorted(places)
    assert names[:3] == ["prune", "eval", "report"]
    assert all(title in shown for title in PANELS)
    every = {name for group, name, _ in COMMANDS if not group} | {row[0] for row in GROUPS}
    assert {*names} <= every
    assert ("More" in shown.replace("More measurements", "")) == bool(every - {*names})
    for option in ("--install-completion", "--debug", "--version"):
        assert option in shown


@pytest.mark.parametrize("path", ["prune", "plan", "search", "stats", "eval"])
def test_options_lie_in_panels(helped: Help, path: str) -> None:
    shown = helped(*path.split())
    for panel in ("Everyday", "Text", "Resources", "Earlier runs", "Output"):
        assert f"─ {panel} ─" in shown
    if path != "eval":
        assert "─ Method ─" in shown
    assert "--debug" in shown


def test_what_is_refused_is_not_shown(helped: Help) -> None:
    assert "--sparsity" not in helped("search").replace("--sparsity SHARE", "!")
    assert "--sparsity SHARE" in helped("plan")


@pytest.mark.parametrize("path", ["", *PATHS])
def test_every_command_has_an_example_that_it_takes(app: Any, path: str) -> None:
    assert EXAMPLES.get(path), f"no example of mwanda {path} in mwanda.cli.examples"
    for example in EXAMPLES[path]:
        words = shlex.split(example.replace("\\\n", " "), comments=True)
        assert words[0] == "mwanda"
        assert max(map(len, example.splitlines())) <= 78
        found, rest = app, words[1:]
        while hasattr(found, "commands"):
            default = next((row[2] for row in GROUPS if row[0] == found.name), None)
            if rest[0] in found.commands:
                found, rest = found.commands[rest[0]], rest[1:]
            else:
                found = found.commands[default]
        found.make_context(found.name, rest)  # parses: names, values, nothing missing


@pytest.mark.parametrize(
    ("kind", "name", "says"),
    [
        ("criterion", "sparsegpt", "that is a reconstruction: --reconstruction sparsegpt"),
        ("allocation", "m-wanda", "that is a criterion: --criterion m-wanda"),
        ("pattern", "owl", "that is an allocation: --allocation owl"),
        ("reconstruction", "2:4", "that is a pattern: --pattern 2:4"),
    ],
)
def test_a_name_of_another_kind_says_where_it_is(kind: str, name: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        Recipe.build({kind: name})
    if name not in recipe_names():
        with pytest.raises(InputError, match=says):
            find_recipe(name)


def test_panels_and_words_are_of_options_there_are(app: Any) -> None:
    known = {parameter.name for path in ["", *PATHS] for parameter in command(app, path).params}
    known |= {"help", "install_completion", "show_completion"}
    assert {*PANEL_OF} - known == set()
    assert {*GIVEN} - known == set()


def test_a_shell_completes_names() -> None:
    def names(option: str, begun: str = "") -> list[str]:
        complete = completer(option)
        assert complete is not None
        return [name for name, _ in complete(begun)]

    assert names("criterion") == [*CRITERIA]
    assert names("criterion", "m-") == ["m-wanda", "m-ria"]
    assert names("recipe") == recipe_names()
    assert "none" in names("reconstruction")
    assert "2:4" in names("pattern")
    assert "recipes" in names("what")
    assert completer("out") is None


def test_completion_and_help_load_no_torch() -> None:
    code = (
        "import sys; from mwanda.cli import main\n"
        "try: main(['prune', '--help'])\n"
        "except SystemExit: pass\n"
        "print('\\n', type(sys.modules['torch']).__name__)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.split()[-1] == "_Late"
