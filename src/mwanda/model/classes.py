"""What became of every causal class of transformers: evidence, which nothing in the code asks.

``classes.json`` is written by ``tools/model_families.py``, which makes a tiny random model of each
class and prunes it; the tests do it again. Any decoder whose blocks are recognised is pruned the
same way, whether or not it stands there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files

STATUSES: Mapping[str, str] = {
    "proven": "every mask of a tiny model equal to a float64 reference, as well as all of `works`",
    "works": "a tiny model streamed block by block as its plain forward runs, pruned, and loaded "
    "again by plain transformers, what is not pruned bit for bit the source's",
    "refused": "an error before anything is written",
    "not tried": "no tiny model of it could be made or run by transformers alone",
}


@dataclass(frozen=True)
class TriedClass:
    """One class of transformers."""

    name: str
    model_type: str  # of its config; the first where there are several
    status: str  # one of STATUSES
    # Why it was refused or not tried; of one that works, the options that it needs: linears that
    # its forward never calls are left out by name.
    reason: str = ""


@dataclass(frozen=True)
class ClassTable:
    """Every class tried, in the order of their names, and the transformers they are from."""

    transformers: str
    classes: tuple[TriedClass, ...]

    def of(self, *statuses: str) -> list[TriedClass]:
        """The classes with one of these statuses."""
        return [row for row in self.classes if row.status in statuses]

    def as_json(self) -> str:
        """The text of ``classes.json``."""
        rows = [
            {"name": row.name, "model_type": row.model_type, "status": row.status}
            | ({"reason": row.reason} if row.reason else {})
            for row in self.classes
        ]
        data = {"transformers": self.transformers, "classes": rows}
        return json.dumps(data, indent=1, ensure_ascii=False) + "\n"


def tried_classes() -> ClassTable:
    """The table as it was last written."""
    text = files(__package__).joinpath("classes.json").read_text(encoding="utf-8")
    data = json.loads(text)
    return ClassTable(data["transformers"], tuple(TriedClass(**row) for row in data["classes"]))


def model_rows(table: ClassTable) -> list[dict[str, str]]:
    """One mapping of plain text a class."""
    return [
        {
            "name": row.name,
            "model_type": row.model_type,
            "status": row.status,
            "note": row.reason or STATUSES[row.status],
        }
        for row in table.classes
    ]


def models_page(table: ClassTable) -> str:
    """The whole table as Markdown: ``docs/models.md``."""
    works, proven = table.of("proven", "works"), table.of("proven")
    refused, untried = table.of("refused"), table.of("not tried")
    lines = [
        "# Models",
        "",
        f"Every causal class that transformers {table.transformers} lists, made tiny from its own "
        "config and pruned.",
        f"**{len(works)} of {len(table.classes)} work**, {len(proven)} of them proven entry by "
        f"entry; {len(refused)} are refused, {len(untried)} could not be tried.",
        "`mwanda ls models` prints this page; `python tools/model_families.py` makes it anew, and "
        "the tests try every class again.",
        "",
        "Nothing in the code asks this list: a class that is not on it is pruned when its blocks "
        "are recognised, else refused with the reason.",
        "The models were random and tiny, so the list says that the work is right, not how well a "
        "trained model stands it.",
        "",
    ]
    lines += [f"* **{status}**: {meaning}." for status, meaning in STATUSES.items()]
    lines += ["", "## Works", "", "| class | model type | |", "|---|---|---|"]
    for row in works:
        note = f"{row.status}, {row.reason}" if row.reason else row.status
        lines.append(f"| `{row.name}` | `{row.model_type}` | {note} |")
    for title, rows in (("Refused", refused), ("Not tried", untried)):
        lines += ["", f"## {title}", "", "| class | model type | why |", "|---|---|---|"]
        for row in rows:
            why = row.reason.replace("|", "\\|")
            lines.append(f"| `{row.name}` | `{row.model_type}` | {why} |")
    return "\n".join(lines) + "\n"
