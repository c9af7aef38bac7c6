"""What every command shares: how to run, and how to print."""

from __future__ import annotations

import json
from typing import Any

import typer
from typer.core import TyperGroup


def with_default(command: str) -> type[TyperGroup]:
    """A group whose command ``command`` is meant where none of its commands is named first; a
    folder named as a command is ``./merge``."""

    class _Defaulted(TyperGroup):
        def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
            if not args or args[0] not in self.commands:
                args = [command, *args]
            return list(super().parse_args(ctx, args))

    return _Defaulted


def run_options_of(given: dict[str, Any], **more: Any) -> Any:
    """The :class:`~mwanda.system.run_options.RunOptions` among a command's options."""
    from mwanda.system.files import parse_size
    from mwanda.system.run_options import RunOptions

    names = ("device", "compute_dtype", "batch_tokens", "overwrite", "allow_short",
             "allow_overlap", "trust_remote_code", "journal", "restart")  # fmt: skip
    values = {name: given[name] for name in names if name in given}
    for name in ("activation_memory", "max_shard_size"):
        if name in given:
            values[name] = parse_size(given[name], f"--{name.replace('_', '-')}")
    return RunOptions(**values, **more)


def print_result(data: Any, text: str, as_json: bool) -> None:
    """A result for a person or for a machine."""
    typer.echo(json.dumps(data, indent=1, ensure_ascii=False) if as_json else text)
