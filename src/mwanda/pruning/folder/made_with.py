"""The command that makes a folder again, out of its manifest."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mwanda.model.given import is_hub_id
from mwanda.pruning.folder.manifest import Manifest
from mwanda.pruning.folder.manifest_records import CalibrationRecord
from mwanda.text.sources import folder_of

PLAIN = ("sparsity", "pattern", "allocation_level", "mode", "windows", "window_length", "seed",
         "skip_first_tokens", "dtype", "expert_tokens")  # fmt: skip
"""Fields of a recipe that are options of their name, with one value."""

DRAWN = ("windows", "window_length", "seed")
"""Those that mean nothing where no text was drawn."""

SIZES = ("windows", "window_length")
"""Those that the languages of one draw can differ in."""

TEXT = (*DRAWN, "mode", "skip_first_tokens")
"""Those that mean nothing where none was looked at."""


def command_of(manifest: Manifest) -> list[str]:
    """The words of the command line: every choice written out, so that defaults may change; names
    of files and folders without the machine's own."""
    base, origin = short_name(manifest.base), manifest.mask_file
    if origin is not None:
        words = ["mwanda", "mask", "apply", origin.name, base, "--out", "FOLDER"]
        return [*words, "--dtype", manifest.dtype]
    words = ["mwanda", "prune", base, "--out", "FOLDER"]
    recipe, text, saved = manifest.recipe, manifest.calibration, manifest.statistics_file
    if saved is not None:
        words += ["--statistics", saved.name]
    elif text is not None:
        words += ["--calibration", short_source(text.source)]
    if text is not None:
        words += ["--languages", ",".join(text.languages)]
    for name in ("keep_english", "keep_repeated"):
        words += [_option(name)] if text is not None and recipe.get(name) else []
    left: set[str] = set() if recipe.get("pattern") == "unstructured" else {"sparsity"}
    if text is None:
        left |= {*TEXT}
    elif saved is not None or text.source.endswith(".safetensors"):
        left |= {*DRAWN}
    else:
        words += _sizes(text)
        left |= {*SIZES}
    for name in PLAIN:
        if name not in left and recipe.get(name) is not None:
            words += [_option(name), str(recipe[name])]
    for name in ("criterion", "allocation", "reconstruction"):
        words += _method(name, recipe.get(name))
    if recipe.get("language_weights"):
        shares = recipe["language_weights"].items()
        words += ["--language-weights", ",".join(f"{tag}={weight}" for tag, weight in shares)]
    for name in ("include", "exclude"):
        words += [word for pattern in recipe.get(name) or () for word in (_option(name), pattern)]
    if recipe.get("skip_blocks"):
        words += ["--skip-blocks", ",".join(map(str, recipe["skip_blocks"]))]
    return words


def _sizes(text: CalibrationRecord) -> list[str]:
    """The options that draw the same windows again, whatever a language had text for."""
    shapes = {(draw.windows, draw.tokens // draw.windows) for draw in text.languages.values()}
    windows = max(count for count, _ in shapes)
    words = ["--windows", str(windows)]
    if len(shapes) == 1:
        return [*words, "--window-length", str(next(iter(shapes))[1])]
    longest = text.length or max(length for _, length in shapes)
    if all(count == 1 or length == longest for count, length in shapes):
        return [*words, "--window-length", str(longest), "--allow-short"]
    # A default length gave way: it has to again, and the default number with it where they differ.
    return words if len({count for count, _ in shapes}) == 1 else []


def short_name(name: str) -> str:
    """A model without the machine's folders: a hub id as it is, else the last part."""
    return name if is_hub_id(name) else Path(name).name


def short_source(source: str) -> str:
    """A text source without the machine's folders."""
    if source.startswith(("bundled:", "hub:")):
        return source
    folder, column = folder_of(source)
    return folder.name if column is None else f"{folder.name}?column={column}"


def _method(kind: str, method: Mapping[str, Any] | None) -> list[str]:
    if method is None:
        return []
    words = [_option(kind), str(method["name"])]
    for name, value in (method.get("options") or {}).items():
        words += [_option(f"{kind}_option"), f"{name}={value}"]
    return words


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"
