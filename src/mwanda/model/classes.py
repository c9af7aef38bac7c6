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
