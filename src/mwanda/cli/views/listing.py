"""What there is: recipes, methods and models."""

from __future__ import annotations

from textwrap import fill, indent
from typing import Any

from mwanda.cli.views import View
from mwanda.errors import InputError, nearest
from mwanda.model.classes import model_rows, models_page, tried_classes
from mwanda.pruning.recipe.by_name import about, find_recipe, recipe_names, to_copy
from mwanda.study.report.bibliography import KINDS, methods_page, rows_of


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
    from mwanda.pruning.recipe.yaml_file import load_recipe

    if name is not None:
        path = find_recipe(name)
        return {"name": name, "fields": load_recipe(path)}, to_copy(path).rstrip("\n")
    rows: list[dict[str, Any]] = [
        {"name": each, "about": about(path := find_recipe(each)), "fields": load_recipe(path)}
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
