"""What there is: methods and models."""

from __future__ import annotations

from mwanda.cli.views import View
from mwanda.errors import InputError, nearest
from mwanda.model.classes import tried_classes
from mwanda.study.report.bibliography import KINDS, methods_page, rows_of
from mwanda.study.report.class_table import model_rows, models_page


def listed(what: str) -> View:
    """The rows of one table or of all, and the page of the docs that lists them."""
    if what == "models":
        classes = tried_classes()
        return model_rows(classes), models_page(classes).rstrip("\n")
    if what == "methods":
        rows = [{"kind": kind, **row} for kind in KINDS for row in rows_of(kind)]
        return rows, methods_page().rstrip("\n")
    if what not in KINDS:
        raise InputError(
            "ls", expected="something to list", found=repr(what),
            fix=nearest(what, [*KINDS, "methods", "models"]),
        )  # fmt: skip
    rows = [dict(row) for row in rows_of(what)]
    lines = []
    for row in rows:
        lines.append(str(row["name"]))
        lines += [f"    {key}: {value}" for key, value in row.items() if key != "name"]
    return rows, "\n".join(lines).rstrip("\n")
