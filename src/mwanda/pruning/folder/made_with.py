"""The command that makes a folder again, out of its manifest."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mwanda.methods.registry import find_pattern
from mwanda.model.given import is_hub_id
from mwanda.pruning.folder.manifest import Manifest
from mwanda.pruning.folder.manifest_records import CalibrationRecord, RecoveryRecord, TrimRecord
from mwanda.pruning.recipe.asked import Recipe
from mwanda.pruning.recipe.method_choice import FINDERS
from mwanda.pruning.recipe.written import Written, written_as
from mwanda.text.languages import MULTIPLE
from mwanda.text.sources import folder_of

SIZES = ("windows", "window_length")
"""Fields of a recipe that the languages of one draw can differ in."""

DRAWN = (*SIZES, "background", "background_windows", "seed")
"""Those that mean nothing where no text was drawn."""

TEXT = (
    *DRAWN, "background_weight", "language_weights", "keep_english", "keep_repeated", "mode",
    "skip_first_tokens",
)  # fmt: skip
"""Those that mean nothing where none was looked at."""


def commands_of(manifest: Manifest) -> list[list[str]]:
    """The words of the command lines, each going on from the folder that the one before wrote:
    every choice written out, so that defaults may change; names of files and folders without the
    machine's own."""
    ours = "pattern" in manifest.recipe or manifest.mask_file is not None
    made = [_prune_of(manifest)] if ours else []
    folder = "FOLDER" if manifest.linears else short_name(manifest.base)
    recoveries = [*map(recovery_command, manifest.recoveries)]
    steps = [*enumerate(recoveries, 1)]
    for trim in manifest.trims:  # one that does not say when was the last
        steps.append((len(recoveries) if trim.after is None else trim.after, _trim_of(trim)))
    for _, words in sorted(steps, key=lambda step: step[0]):
        place, before = words.index("--out") + 1, sum(one[1] == words[1] for one in made)
        words[2], folder = folder, words[place] + (f"-{before + 1}" if before else "")
        words[place] = folder
        made.append(words)
    return made


def _trim_of(record: TrimRecord) -> list[str]:
    words = ["mwanda", "trim", "FOLDER", "--out", "TRIMMED", "--languages"]
    words += [",".join(record.languages), "--by", record.by]
    if record.also_scripts:
        words += ["--also-scripts", ",".join(record.also_scripts)]
    if record.text is not None:
        words += ["--text", short_source(record.text)]
    if record.budget is not None:
        words += ["--budget", str(record.budget)]
    if record.keep_texts:
        words += ["--keep-texts", "LINES"]
    if record.multiple is not None:
        words += ["--multiple", str(record.multiple)]
    return [*words, "--allow-loss"] if record.allow_loss else words


def _prune_of(manifest: Manifest) -> list[str]:
    """The words of the prune's."""
    base, origin = short_name(manifest.base), manifest.mask_file
    if origin is not None:
        words = ["mwanda", "mask", "apply", origin.name, base, "--out", "FOLDER"]
        return [*words, "--dtype", manifest.recipe.get("dtype", "auto")]
    words = ["mwanda", "prune", base, "--out", "FOLDER"]
    recipe, text, saved = {**manifest.recipe}, manifest.calibration, manifest.statistics_file
    if "background" in recipe:
        recipe["background"] = short_source(recipe["background"])
    if saved is not None:
        words += ["--statistics", saved.name]
    elif text is not None:
        words += ["--calibration", _calibration(text, recipe["seed"])]
    if text is not None:
        words += ["--languages", ",".join(text.named)]
    fixed = find_pattern(recipe["pattern"]).fixed is not None
    left = {"languages", "sparsity"} if fixed else {"languages"}
    if text is None:
        left |= {*TEXT}
    elif saved is None and text.seed == recipe["seed"]:
        words += _sizes(text)
        left |= {*SIZES}
    else:  # a background beside a file's windows is drawn again, or is in the file too
        left |= {*(DRAWN if saved is not None or text.background_source is None else SIZES)}
        if MULTIPLE not in text.languages:  # which may be in the file, and was left out
            left.discard("background")
    for name, field in Recipe.model_fields.items():
        if name not in left:
            words += _words(name, recipe.get(name), written_as(field))
    return words


def recovery_command(recovery: RecoveryRecord) -> list[str]:
    """The same of a recovery."""
    text, settings = recovery.text, dict(recovery.settings)
    seed, asked = settings.pop("seed", text.seed), settings.pop("background_windows", None)
    words = ["mwanda", "recover", "FOLDER", "--dense", short_name(recovery.dense)]
    words += ["--out", "RECOVERED", "--calibration", _calibration(text, seed)]
    words += ["--languages", ",".join(text.named)]
    if text.seed is not None and text.seed == seed:
        words += [*_sizes(text), *(_option(f"keep_{name}") for name in text.kept)]
    if text.background_source is not None:
        words += ["--background", short_source(text.background_source), "--background-weight"]
        words += [f"{text.weights[MULTIPLE]:g}"]
        words += ["--background-windows", str(asked or text.languages[MULTIPLE].windows)]
    elif MULTIPLE not in text.languages:  # which may be in a file of windows, and was left out
        words += ["--background", "none"]
    named = {tag: text.weights[tag] for tag in text.named}
    held_out = {one.windows for one in recovery.held_out.values()}
    alike = len({*named.values()}) == 1
    given = {
        "seed": seed,
        "language_weights": {} if alike else {t: f"{w:.6g}" for t, w in named.items()},
        "held_out": held_out.pop() if len(held_out) == 1 else None,
        "steps": recovery.steps,
        **settings,
    }
    return words + [word for one in given.items() for word in _words(*one, Written())]


def _calibration(text: CalibrationRecord, seed: int | None) -> str:
    """Windows that another seed drew came in a file, whose name they do not know."""
    return short_source(text.source) if text.seed in (None, seed) else "WINDOWS"


def _sizes(text: CalibrationRecord) -> list[str]:
    """The options that draw the same windows again, whatever a language had text for."""
    shapes = {(draw.windows, draw.tokens // draw.windows) for draw in text.named.values()}
    windows = max(count for count, _ in shapes)
    words = ["--windows", str(windows)]
    if len(shapes) == 1:
        return [*words, "--window-length", str(next(iter(shapes))[1])]
    longest = text.length or max(length for _, length in shapes)
    if all(count == 1 or length == longest for count, length in shapes):
        return [*words, "--window-length", str(longest), "--allow-short"]
    # A default length gave way: it has to again, and the default number with it where they differ.
    return [*(words if len({count for count, _ in shapes}) == 1 else []), "--allow-short"]


def short_name(name: str) -> str:
    """A model without the machine's folders: a hub id as it is, else the last part."""
    return name if is_hub_id(name) else Path(name).name


def short_source(source: str) -> str:
    """A text source without the machine's folders."""
    if source.startswith(("bundled:", "hub:")):
        return source
    folder, column = folder_of(source)
    return folder.name if column is None else f"{folder.name}?column={column}"


def _words(name: str, value: Any, written: Written) -> list[str]:
    """The options that a field of a recipe is written with; none where it is left open."""
    option = _option(name)
    if isinstance(value, bool):
        flags = (written.flags or option).split("/")
        return [flags[0]] if value else flags[1:]
    if value is None or value in ([], {}):
        return []
    if name in FINDERS:
        options = (f"{key}={given}" for key, given in (value.get("options") or {}).items())
        more = (word for given in options for word in (_option(f"{name}_option"), given))
        return [option, str(value["name"]), *more]
    if isinstance(value, Mapping):
        value = [f"{key}={given}" for key, given in value.items()]
    if not isinstance(value, list):
        return [option, str(value)]
    if written.repeated:
        return [word for given in value for word in (option, str(given))]
    return [option, ",".join(map(str, value))]


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"
