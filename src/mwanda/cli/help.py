"""What ``--help`` shows: a use, an example, and panels of options or commands, by rich."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from inspect import cleandoc
from pathlib import Path
from textwrap import indent
from typing import TYPE_CHECKING, Any

from typer.core import TyperArgument, TyperCommand, TyperGroup

from mwanda.cli.examples import EXAMPLES
from mwanda.cli.recipe_fields import field_options

if TYPE_CHECKING:
    from rich.text import Text

WIDEST = 100
"""Columns that a help is never wider than: long lines are hard to read."""

LEFT = 28
"""Columns of an option's name and what it is given."""

METHOD, TEXT, RESOURCES, EARLIER, OUTPUT = "Method", "Text", "Resources", "Earlier runs", "Output"
EVERYDAY = "Everyday"
PANELS = (EVERYDAY, METHOD, TEXT, RESOURCES, EARLIER, OUTPUT)
"""In the order of the help."""

PANEL_OF: Mapping[str, str] = {
    name: panel
    for panel, names in {
        METHOD: f"{' '.join(name for name, *_ in field_options())} gram masks_only step highest",
        TEXT: "text_field statistics windows window_length background background_weight "
        "background_windows seed keep_english keep_repeated "
        "skip_first_tokens allow_short allow_overlap ids max_length text_seed text_languages "
        "held_out",
        RESOURCES: "device compute_dtype activation_memory batch_tokens max_shard_size threads "
        "batch at_once gradient_checkpointing optimizer cache work processes cluster "
        "cluster_option trust_remote_code",
        EARLIER: "overwrite journal restart retry_failed",
        EVERYDAY: "languages sparsity steps never_worse",
        OUTPUT: "report_to as_json quiet verbose debug help version install_completion "
        "show_completion",
    }.items()
    for name in names.split()
}  # fmt: skip
"""The panel of an option, the first for what is not here; a later row wins over the fields of a
recipe."""

GIVEN: Mapping[str, str] = {
    "out": "PATH", "calibration": "SOURCE", "text": "SOURCE", "languages": "TAGS",
    "text_languages": "TAGS", "sparsity": "SHARE", "step": "SHARE", "highest": "SHARE",
    "recipe": "NAME|FILE", "statistics": "FILE", "mask": "FILE", "baseline": "MODEL",
    "against": "MODEL", "dense": "MODEL", "report_to": "NAME", "log_to": "NAME", "html": "FILE",
    "markdown": "FILE", "junit": "FILE", "criterion": "NAME",
    "allocation": "NAME", "reconstruction": "NAME",
    "pattern": "NAME", "mode": "NAME", "allocation_level": "NAME", "device": "NAME",
    "compute_dtype": "NAME", "dtype": "NAME", "kind": "NAME", "text_field": "NAME",
    "criterion_option": "NAME=VALUE", "allocation_option": "NAME=VALUE",
    "reconstruction_option": "NAME=VALUE", "cluster_option": "NAME=VALUE",
    "language_weights": "TAG=N,…", "language": "TAG=LIMIT", "max_loss": "LIMIT",
    "fail_if_worse_than": "LIMIT", "fail_below": "SHARE", "ids": "LOW:HIGH",
    "include": "REGEX", "exclude": "REGEX", "skip_blocks": "N,…", "activation_memory": "SIZE",
    "max_shard_size": "SIZE", "direction": "FROM-TO", "task": "NAME=PATH", "gate_on": "WORD",
    "runtime": "NAME", "tokenizer": "FOLDER", "url": "ADDRESS", "objective": "NAME",
    "optimizer": "NAME", "background": "SOURCE", "background_weight": "SHARE",
}  # fmt: skip
"""What stands for the value of an option, where its type does not say it."""

TYPES: Mapping[Any, str] = {Path: "PATH", int: "N", float: "NUMBER"}


class Command(TyperCommand):
    """A command with such a help."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        _Page(ctx).show(panels_of(self, ctx))


class Group(TyperGroup):
    """Commands with such a help.

    Attributes:
        panels: heading -> names of commands, in order; what is in none comes last.
    """

    panels: Mapping[str, Iterable[str]] = {}

    def format_help(self, ctx: Any, formatter: Any) -> None:
        listed = {name: [*names] for name, names in self.panels.items()}
        known = {name for names in listed.values() for name in names}
        more = [name for name in self.commands if name not in known]
        listed |= {"More" if listed else "Commands": more} if more else {}
        rows = {
            panel: [(name, _first(self.commands[name].help)) for name in names]
            for panel, names in listed.items()
        }
        own = [row for _, part in panels_of(self, ctx) for row in part]
        _Page(ctx).show([*rows.items()], [("Options", own)])


Rows = tuple[str, list[tuple[str, str]]]
"""A panel: its title, and two columns."""


class _Page:
    """The help of one command, on stdout."""

    def __init__(self, ctx: Any) -> None:
        from rich.console import Console

        self._console = Console(highlight=False)
        self._console.width = min(self._console.width, WIDEST)
        self._ctx, self._command = ctx, ctx.command

    def show(self, *columns: list[Rows]) -> None:
        """All of it; panels of one list are aligned."""
        from rich.text import Text

        path = self._ctx.command_path
        said = " ".join(self._command.collect_usage_pieces(self._ctx))
        self._print(Text.assemble(("Usage: ", "bold"), f"{path} {_usage(self._command, said)}"))
        for paragraph in cleandoc(self._command.help or "").split("\n\n"):
            self._print()
            self._print(Text(" ".join(paragraph.split())))
        examples = EXAMPLES.get(path.partition(" ")[2], ())
        if examples:
            self._print()
            self._print(Text("Example:" if len(examples) == 1 else "Examples:", "bold"))
            for example in examples:
                self._print(Text(indent(example, "  "), "green"))
        self._print()
        for panels in columns:
            width = min(LEFT, max(len(left) for _, rows in panels for left, _ in rows))
            for title, rows in panels:
                self._panel(title, rows, width)

    def _print(self, *what: Any) -> None:
        self._console.print(*what, soft_wrap=False)

    def _panel(self, title: str, rows: list[tuple[str, str]], width: int) -> None:
        from rich.panel import Panel
        from rich.table import Table
        from rich.text import Text

        table = Table.grid(padding=(0, 2, 0, 0))
        table.add_column(width=width)
        table.add_column(ratio=1)
        for left, right in rows:
            table.add_row(_coloured(left), Text(right))
        table.expand = True
        self._print(
            Panel(table, title=Text(title, "not dim bold"), title_align="left", border_style="dim")
        )


def panels_of(command: Any, ctx: Any) -> list[Rows]:
    """Its arguments, and its options by panel."""
    arguments: list[tuple[str, str]] = []
    panels: dict[str, list[tuple[str, str]]] = {panel: [] for panel in PANELS}
    for parameter in command.get_params(ctx):
        if isinstance(parameter, TyperArgument):
            arguments.append((_name(parameter), parameter.help or ""))
        elif not parameter.hidden:
            panel = PANEL_OF.get(parameter.name, EVERYDAY)
            panels[panel].append((_flags(parameter), _told(parameter)))
    made = [("Arguments", arguments), *panels.items()]
    return [(title, rows) for title, rows in made if rows]


def _flags(option: Any) -> str:
    """``-q, --quiet``, ``--keep-english, --drop-english`` or ``--windows N``."""
    names = ", ".join([*sorted(option.opts, key=len), *option.secondary_opts])
    return names if option.is_flag else f"{names} {_given(option)}"


def _given(option: Any) -> str:
    kind = option.type_descriptor.annotation
    return option.metavar or GIVEN.get(option.name) or TYPES.get(kind, "TEXT")


def _told(option: Any) -> str:
    """Its help, and whether it must be given, or what is taken otherwise."""
    told = str(option.help or "")
    default = option.default
    if option.required:
        return f"{told} Required."
    if option.is_flag and default and option.secondary_opts:
        return f"{told} Default: {option.opts[0]}."
    if option.is_flag or default in (None, "") or "Default:" in told or "default" in told:
        return told
    return f"{told} Default: {default}."


def _name(argument: Any) -> str:
    name = str(argument.metavar or argument.name.upper().replace("_", "-"))
    return f"{name}…" if argument.nargs != 1 else name


def _usage(command: Any, pieces: str) -> str:
    """As click has it, the arguments by the names that the help has."""
    for parameter in command.params:
        if isinstance(parameter, TyperArgument):
            name = _name(parameter)
            pieces = pieces.replace(
                parameter._usage_display_name(), name if parameter.required else f"[{name}]"
            )
    return pieces


def _coloured(left: str) -> Text:
    """Names of options apart from what they are given."""
    from rich.text import Text

    name, space, given = left.rpartition(" ")
    if not space or given.startswith("-"):
        return Text(left, "bold cyan")
    return Text.assemble((name, "bold cyan"), (f" {given}", "yellow"))


def _first(told: str | None) -> str:
    """The first paragraph."""
    return " ".join(cleandoc(told or "").split("\n\n")[0].split())
