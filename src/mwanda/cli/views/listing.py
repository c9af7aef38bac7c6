"""What there is: recipes, methods and models; ``docs/methods.md`` is made here."""

from __future__ import annotations

from collections.abc import Mapping
from textwrap import fill, indent
from typing import Any

from mwanda.cli.views import View
from mwanda.errors import InputError, nearest
from mwanda.methods.kinds import Allocation, Criterion, Pattern, Reconstruction, defaults_of
from mwanda.methods.registry import ALLOCATIONS, CRITERIA, PATTERNS, RECONSTRUCTIONS
from mwanda.model.classes import model_rows, models_page, tried_classes
from mwanda.pruning.recipe.by_name import about, find_recipe, load_named, recipe_names, to_copy

Row = Criterion | Allocation | Pattern | Reconstruction

KINDS: Mapping[str, Mapping[str, Row]] = {
    "criteria": CRITERIA,
    "allocations": ALLOCATIONS,
    "patterns": PATTERNS,
    "reconstructions": RECONSTRUCTIONS,
}

ABOUT = {
    "criteria": "A score for every weight, higher = keep (`--criterion`).",
    "allocations": "A sparsity for every block, linear or role; their parameter-weighted mean is "
    "the target (`--allocation`).",
    "patterns": "Which of a matrix's scores are compared with which (`--pattern`).",
    "reconstructions": "New values for the weights that stay, none by default "
    "(`--reconstruction`).",
}

CRITERIONS = "what the criterion needs"


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
            fix=nearest(what, ["recipes", *KINDS, "methods", "models"]),
        )  # fmt: skip
    rows = [dict(row) for row in rows_of(what)]
    lines = []
    for row in rows:
        lines.append(str(row["name"]))
        lines += [f"    {key}: {value}" for key, value in row.items() if key != "name"]
    return rows, "\n".join(lines).rstrip("\n")


def recipes(name: str | None, *, schema: bool) -> View:
    """The recipes that come with the library, one of them, or the schema of their files."""
    if schema:
        from mwanda.pruning.recipe.schema import recipe_schema, schema_text

        return recipe_schema(), schema_text().rstrip("\n")
    if name is not None and name not in recipe_names():
        raise InputError(
            "ls recipes", expected="a recipe's name", found=repr(name),
            fix=nearest(name, recipe_names()),
        )  # fmt: skip
    if name is not None:
        text = to_copy(find_recipe(name)).rstrip("\n")
        return {"name": name, "fields": load_named(name)}, text
    rows: list[dict[str, Any]] = [
        {"name": each, "about": about(find_recipe(each)), "fields": load_named(each)}
        for each in recipe_names()
    ]
    lines: list[str] = []
    for row in rows:
        lines += [row["name"], indent(fill(row["about"], 76), "    ")]
    lines += [
        "",
        "use one: --recipe NAME; print one, with its constants and what it measured: mwanda ls "
        "recipes NAME",
    ]
    return rows, "\n".join(lines)


def rows_of(kind: str) -> list[dict[str, str]]:
    """One table of the registry, a mapping of plain text a method."""
    if kind not in KINDS:
        raise InputError("ls", expected="a table", found=repr(kind), fix=nearest(kind, KINDS))
    rows = [_row(row) for row in KINDS[kind].values()]
    if kind == "patterns":
        formula = "of each M consecutive inputs the N highest stay"
        rows.append(rows[-1] | {"name": "N:M", "formula": formula, "when": "any other N and M"})
    return rows


def methods_page() -> str:
    """The whole registry as Markdown."""
    lines = [
        "# Methods",
        "",
        "Every method there is, as the registry has it; `mwanda ls methods` prints this page.",
        "Notation is that of [method.md](method.md). *Needs* are statistics of a linear's inputs:",
        "`square` (Σx² by language), `activity` (how often a feature is active, by language;",
        "`activity-sign` with `activity=sign`), `gram` (Σ x·xᵀ, weighted over languages).",
    ]
    for kind in KINDS:
        lines += ["", f"## {kind.capitalize()}", "", ABOUT[kind]]
        for row in rows_of(kind):
            lines += ["", f"### `{row['name']}`", ""]
            lines += [
                f"* {key}: {_code(key, value)}" for key, value in row.items() if key != "name"
            ]
    return "\n".join(lines) + "\n"


def _row(row: Row) -> dict[str, str]:
    found = {"name": row.name, "formula": row.formula}
    if not isinstance(row, Pattern):
        options = ", ".join(f"{name}={value}" for name, value in defaults_of(row).items())
        nothing = CRITERIONS if isinstance(row, Allocation) and row.probe else "nothing"
        found |= {"needs": ", ".join(row.needs) or nothing, "options": options or "none"}
    return found | {"cost": row.cost, "when": row.when, "source": row.source}


def _code(key: str, value: str) -> str:
    plain = key in ("cost", "when", "source") or value in ("none", "nothing", CRITERIONS)
    return value if plain or " go" in value or " stay" in value else f"`{value}`"
