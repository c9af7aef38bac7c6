"""The recipes that come with the library, by their names, and those that begin as another."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mwanda.errors import InputError, nearest, shown, unknown_field
from mwanda.methods.registry import other_kind
from mwanda.pruning.recipe.asked import Recipe
from mwanda.pruning.recipe.recovery import fields_over
from mwanda.pruning.recipe.yaml_file import load_recipe
from mwanda.system.files import is_there

FOLDER = Path(__file__).with_name("named")
SCHEMA = FOLDER / "recipe.schema.json"
"""What editors check them by, see :func:`mwanda.pruning.recipe.schema.recipe_schema`."""

MOST = 16
"""Recipes that begin as one another."""

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
    if path.suffix or path.parent.name or path.is_absolute() or is_there(Path.exists, path):
        return path
    raise InputError(
        "recipe",
        expected="a YAML file or the name of a recipe",
        found=repr(shown(name)),
        fix=other_kind(name) or nearest(name, names),
    )


def load_named(given: str | Path) -> dict[str, Any]:
    """The fields of a recipe, by its name or file, and of the one that it begins as.

    Raises:
        InputError: a recipe that is not there, is none, or begins as itself.
    """
    path = find_recipe(given)
    return with_base(load_recipe(path), str(path), (path,))


def with_base(
    fields: Mapping[str, Any], source: str, files: tuple[Path, ...] = ()
) -> dict[str, Any]:
    """Fields over those of the recipe that they begin as, which the field ``recipe`` names.

    Args:
        source: what to call them in messages.
        files: in which they stand, and those that led there; a path is taken from the last one's
            folder.

    Raises:
        InputError: as :func:`load_named`.
    """
    own = {name: value for name, value in fields.items() if name != "recipe"}
    given = fields.get("recipe")
    if given is None:
        return own
    if not isinstance(given, str | Path):
        expected, found = "a YAML file or the name of a recipe", shown(repr(given))[:60]
        raise InputError(f"{source}: recipe", expected=expected, found=found)
    try:
        path = find_recipe(given)
    except InputError as error:
        raise InputError.several(f"{source}: {problem}" for problem in error.problems) from None
    if files and path.parent != FOLDER:
        path = files[-1].parent / path
    if path in files or len(files) == MOST:
        raise InputError(
            f"{source}: recipe", expected=f"one that does not begin as itself, and at most {MOST} "
            "in a row", found=shown(str(given))[:60],
        )  # fmt: skip
    base = load_recipe(path)
    unknown = [name for name in base if name not in {*Recipe.model_fields, "recipe"}]
    if unknown:
        raise InputError.several(
            f"{path}: {name}: {unknown_field(name, Recipe.model_fields)}" for name in unknown
        )
    return fields_over(with_base(base, str(path), (*files, path)), own)


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
