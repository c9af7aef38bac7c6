"""What the commands print: for every result its JSON and its text."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Mapping
from typing import Any

import typer

from mwanda.system.progress import speaks
from mwanda.text.languages import display_name

log = logging.getLogger("mwanda")

View = tuple[Any, str]
"""A result for a machine, and for a person."""

DRAWN = ["windows", "tokens", "documents", "duplicates", "English"]
"""Columns of what was drawn of a language's text."""


def show(view: View | str, as_json: bool) -> None:
    """The half of a view that was asked for, on stdout; advice goes to the log, and is not given
    beside JSON. Of several processes, the first shows it."""
    if not speaks():
        return
    if isinstance(view, str):
        if view and not as_json:
            log.info(view)
        return
    data, text = view
    if as_json or text:
        # Elsewhere what stdout lacks is escaped otherwise than JSON has it.
        narrow = "utf" not in (sys.stdout.encoding or "utf").lower()
        typer.echo(json.dumps(data, indent=1, ensure_ascii=narrow) if as_json else text)


def named(tag: str) -> str:
    """``de German``."""
    return f"{tag} {display_name(tag)}"


def drawn_row(tag: str, draw: Any) -> list[str]:
    """A language, and the columns of :data:`DRAWN`."""
    told = (draw.documents, draw.duplicates_dropped, draw.english_lines_dropped)
    return [named(tag), str(draw.windows), f"{draw.tokens:,}", *map(str, told)]


def took(seconds: Mapping[str, float]) -> str:
    """How long every stage took."""
    return ", ".join(f"{stage} {time:.1f} s" for stage, time in seconds.items())


def removed(totals: Any) -> str:
    """How many weights a prune took."""
    return (
        f"{totals.sparsity:.4%} of {totals.weights:,} weights in {totals.linears} linears removed "
        f"({totals.model_sparsity:.2%} of the whole model; {totals.source_zeros:,} were zero "
        "already)"
    )


def known(value: float | None, form: str) -> str:
    """A number, where there is one."""
    return "none" if value is None else format(value, form)
