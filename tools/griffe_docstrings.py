"""How docstrings are read for the site of the docs: ``:func:`name``` is shown as code, and a line
of ``Args:`` that names several parameters as one line each. ``mkdocs.yml`` names this file."""

from __future__ import annotations

import re
from typing import Any

import griffe

ROLE = re.compile(r":(?:attr|class|data|exc|func|meth|mod):`~?([^`]+)`")
GROUP = re.compile(r"^( {4})(\w+(?:,\s+\w+)+)(: .*(?:\n {5,}.*)*)", re.MULTILINE)
ARGS = re.compile(r"(?<=^Args:\n)(?:(?: .*)?\n)*(?: .*)?", re.MULTILINE)


class Docstrings(griffe.Extension):
    """Words that mkdocstrings understands, of those that stand in the code."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Put them into the docstring of whatever was read."""
        if obj.docstring is not None:
            obj.docstring.value = plain(obj.docstring.value)


def plain(text: str) -> str:
    """A docstring without roles and without groups of parameters."""
    return ROLE.sub(r"`\1`", ARGS.sub(lambda args: GROUP.sub(_apart, args[0]), text))


def _apart(found: re.Match[str]) -> str:
    """The first of a group has its words; each of the others points to it."""
    indent, names, words = found[1], re.split(r",\s+", found[2]), found[3]
    first, *others = names
    return "\n".join([f"{indent}{first}{words}", *(f"{indent}{n}: as `{first}`." for n in others)])
