"""The recipes that come with the library, by their names, and those that begin as another."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mwanda.errors import InputError, nearest, shown
from mwanda.methods.registry import other_kind
from mwanda.pruning.recipe.recovery import fields_over
from mwanda.pruning.recipe.yaml_file import load_recipe

FOLDER = Path(__file__).with_name("named")
SCHEMA = FOLDER / "recipe.schema.json"
"""What editors check them by, see :func:`mwanda.pruning.recipe.schema.recipe_schema`."""

_SERVER = "# yaml-language-server: $schema="


def recipe_names() -> list[str]:
    """All names, in order; a file's name has no colon, so ``2-4`` is ``2:4``."""
    stems = sorted(path.stem for path in FOLDER.glob("*.yaml"))
    return [re.sub(r"^(\d+)-(\d+)$", r"\1:\2", stem) for stem in stems]


def find_recipe(given: str | Path) -> Path:
    """The file of a recipe that is named, or that is given as a file.

    Raises:
        InputError: neither; the nearest name is suggested.
    """
    name, names = str(given), recipe_names()
    if name in names:
        return FOLDER / f"{name.replace(':', '-')}.yaml"
    path = Path(given)
    if path.suffix or path.parent.name or path.is_absolute() or _is_there(path):
        return path
    raise InputError(
        "recipe",
        expected="a YAML file or the name of a recipe",
        found=repr(shown(name)),
        fix=other_kind(name) or nearest(name, names),
    )


def with_base(fields: Mapping[str, Any], begun: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Fields over those of the recipe that they begin as, which the field ``recipe`` names.

    Args:
        begun: the files that led here.

    Raises:
        InputError: a recipe that is not there, is none, or begins as itself.
    """
    if fields.get("recipe") is None:
        return {name: value for name, value in fields.items() if name != "recipe"}
    if not isinstance(fields["recipe"], str | Path):
        found = repr(fields["recipe"])
        raise InputError("recipe", expected="a YAML file or the name of a recipe", found=found)
    path = find_recipe(fields["recipe"])
    if path in begun:
        found = " -> ".join(map(str, (*begun, path)))
        raise InputError("recipe", expected="one that does not begin as itself", found=found)
    base = with_base(load_recipe(path), (*begun, path))
    return fields_over(base, {name: value for name, value in fields.items() if name != "recipe"})


def about(path: Path) -> str:
    """What the first paragraph of a recipe's comment says."""
    return next(_paragraphs(path), "")


def to_copy(path: Path) -> str:
    """The text of a recipe that comes with the library; wherever it is put, its schema is found."""
    text = path.read_text(encoding="utf-8")
    return text.replace(f"{_SERVER}{SCHEMA.name}", f"{_SERVER}{SCHEMA.as_uri()}", 1)


def _paragraphs(path: Path) -> Iterator[str]:
    lines: list[str] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith(_SERVER):
            continue
        said = line.removeprefix("#").strip() if line.startswith("#") else ""
        if said:
            lines.append(said)
            continue
        if lines:
            yield " ".join(lines)
        lines = []
        if not line.startswith("#"):
            return


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # too long, or with a NUL
        return True  # for whoever reads it to say
