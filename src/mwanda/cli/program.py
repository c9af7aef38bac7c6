"""The table of commands, and the program made of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from mwanda.cli.commands import finished, pruning, recovering, scores, studies, trimming
from mwanda.cli.help import Command, Group
from mwanda.cli.options import Command as Function
from mwanda.cli.options import with_options

COMMANDS: tuple[tuple[str, str, Function], ...] = (
    ("", "prune", pruning.prune),
    ("", "eval", scores.evaluate),
    ("", "report", studies.report),
    ("", "ls", pruning.ls),
    ("", "plan", pruning.plan),
    ("", "windows", pruning.windows),
    ("", "search", studies.search),
    ("", "translate", scores.translate),
    ("", "tasks", scores.tasks),
    ("", "recover", recovering.recover),
    ("", "verify", finished.verify),
    ("", "diff", finished.diff),
    ("", "pack", finished.pack),
    ("", "unpack", finished.unpack),
    ("", "push", finished.push),
    ("", "trim", trimming.trim),
    ("", "quantise", finished.quantise),
    ("", "gguf-check", finished.gguf_check),
    ("stats", "take", pruning.take),
    ("stats", "merge", pruning.merge),
    ("stats", "show", pruning.show),
    ("study", "run", studies.run),
    ("study", "status", studies.status),
    ("study", "work", studies.work),
    ("mask", "extract", finished.extract),
    ("mask", "apply", finished.apply),
)
"""Group, name and function."""

SHARED = {("", "prune"), ("", "plan"), ("", "recover"), ("stats", "take")}
"""Commands that several processes may be started for."""

PANELS: Mapping[str, tuple[str, ...]] = {
    "Prune a model and see what it lost": ("prune", "eval", "report", "ls"),
    "Before a prune": ("plan", "windows", "stats", "search"),
    "The pruned model": ("recover", "verify", "diff", "mask", "pack", "unpack", "push"),
    "Other ways to a smaller model": ("trim", "quantise", "gguf-check"),
    "More measurements": ("study", "translate", "tasks"),
}
"""Commands and groups as the help shows them, in the order of the work."""

GROUPS: tuple[tuple[str, str, str | None], ...] = (
    (
        "stats",
        "Save a model's statistics on text: stats MODEL, or merge and show files of them.",
        "take",
    ),
    ("study", "Run a grid of prunes and evaluations: study FILE.yaml --out DIR.", "run"),
    ("mask", "Masks alone: take them out of a pruned folder, apply them to a model.", None),
)
"""Name, help, and the command that is meant where none is named."""


def program() -> typer.Typer:
    """All commands under one name."""
    plain: dict[str, Any] = {"rich_markup_mode": None}
    app = typer.Typer(
        name="mwanda",
        cls=_Root,
        help="Prune a multilingual language model in one shot without losing its languages.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        **plain,
    )
    app.callback(invoke_without_command=True)(_root)
    groups = {"": app}
    for name, told, default in GROUPS:
        kind = Group if default is None else _with_default(default)
        groups[name] = typer.Typer(cls=kind, help=told, add_completion=False, **plain)
        app.add_typer(groups[name], name=name)
    for group, name, function in COMMANDS:
        alone = None if (group, name) in SHARED else f"{group} {name}".strip()
        groups[group].command(name, cls=Command)(with_options(function, alone=alone))
    return app


class _Root(Group):
    panels = PANELS


def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback behind an error.")
    ] = False,
) -> None:
    if version:
        from importlib.metadata import version as installed

        typer.echo(installed("mwanda"))


def _with_default(command: str) -> type[Group]:
    """A group whose command ``command`` is meant where none of its commands is named first; a
    folder named as a command is ``./merge``."""

    class _Defaulted(Group):
        def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
            if not args or args[0] not in self.commands:
                args = [command, *args]
            return list(super().parse_args(ctx, args))

    return _Defaulted
