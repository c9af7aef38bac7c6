"""What a study reads: hashed when it is planned, and again when it is used."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

from mwanda.errors import InputError, MwandaError
from mwanda.evaluation.cache import artefact_sha256, model_sha256, parts_of
from mwanda.model.opening import resolve_dtype, source_dtype
from mwanda.model.source import open_model
from mwanda.model.stored.reader import Checkpoint
from mwanda.pruning.calibration_text import is_window_file
from mwanda.pruning.recipe.resolved import ResolvedRecipe
from mwanda.pruning.task import naming_problems
from mwanda.study.document import StudyDocument
from mwanda.study.grid import Point
from mwanda.study.records import ArtefactRecord, ModelRecord
from mwanda.system.device import choose_device, dtype_name
from mwanda.system.files import sha256_of
from mwanda.system.run_options import RunOptions
from mwanda.text.background import open_background
from mwanda.text.sources import open_source
from mwanda.text.text_source import TextSource, available
from mwanda.text.window_files import Windows
from mwanda.text.window_sizes import NO_BACKGROUND, UDHR
from mwanda.text.windows import fingerprints

Signature = tuple[tuple[str, int, int, int, int], ...]


def resolved_dtypes(folder: Path, options: RunOptions) -> str | dict[str, str]:
    """What ``compute_dtype`` comes to on this machine: a name, or two where pruning and evaluating
    differ; as written where the model cannot be read, which its cells will tell."""
    if options.compute_dtype != "auto":
        return options.compute_dtype
    try:
        with Checkpoint.open(folder) as checkpoint:
            stored = source_dtype(checkpoint)
    except MwandaError:
        return options.compute_dtype
    device = choose_device(options.device)
    prune, evaluate = (
        dtype_name(resolve_dtype(stored, device, options, measuring=measuring))
        for measuring in (False, True)
    )
    return prune if prune == evaluate else {"prune": prune, "evaluate": evaluate}


def dtype_for(planned: str | Mapping[str, str], what: str) -> str:
    """The planned dtype of ``prune`` or ``evaluate``: a worker on another machine uses it too."""
    return planned if isinstance(planned, str) else planned[what]


def model_hash(model: str, folder: Path | None = None) -> str:
    """SHA-256 of a model's content.

    Args:
        folder: where one of the hub lies; found where it is not given.
    """
    if Path(model).exists():
        return model_sha256(Path(model))
    if folder is not None:
        return model_sha256(folder)
    with open_model(model) as source:
        return model_sha256(source.folder)


def look_up_models(
    document: StudyDocument, grid: Sequence[Point]
) -> tuple[dict[str, ModelRecord], dict[str, str | dict[str, str]]]:
    """Every model with its hash, and the dtypes it is pruned and evaluated in."""
    run = document.run
    options = RunOptions(
        device=run.device,
        compute_dtype=run.compute_dtype,
        trust_remote_code=run.trust_remote_code,
    )
    models, dtypes, problems = {}, {}, list[str]()
    for name, model in document.models.items():
        with open_model(model, trust_remote_code=run.trust_remote_code) as source:
            recipes = (point.recipe for point in grid)
            problems += naming_problems(source, recipes, options, f"models.{name}: ")
            sha256 = model_hash(model, source.folder)
            dtypes[name] = resolved_dtypes(source.folder, options)
        place = os.path.abspath(model) if Path(model).exists() else model
        models[name] = ModelRecord(path=place, sha256=sha256)
    if problems:
        raise InputError.several(problems)
    return models, dtypes


def calibration_hashes(
    calibration: str | None,
    opened: TextSource | Windows | None,
    tags: Iterable[str],
    *,
    keep_english: bool,
) -> dict[str, str | None]:
    """Language -> SHA-256 of its calibration text; streams have none."""
    if isinstance(opened, Windows) and calibration is not None:
        return dict.fromkeys(opened.languages, sha256_of(Path(calibration)))
    if opened is None or isinstance(opened, Windows):
        return {}
    there = available(opened)
    return fingerprints(opened, [t for t in tags if t in there], keep_english=keep_english)


def brings_background(recipe: ResolvedRecipe, calibration: str | None) -> bool:
    """Whether a prune reads a background text of the user's own; a windows file has one in it."""
    if not recipe.needs_text or calibration is None or is_window_file(calibration):
        return False
    return recipe.background not in (NO_BACKGROUND, UDHR)


def background_hashes(
    calibration: str | None, recipes: Iterable[ResolvedRecipe]
) -> dict[str, dict[str, str | None]]:
    """Place of each background text of the user's own -> hash by language; streams have none."""
    found = {}
    for place in {one.background for one in recipes if brings_background(one, calibration)}:
        source = open_background(place)
        prints = fingerprints(source, available(source), keep_english=True)
        if None not in prints.values():
            found[place] = prints
    return found


class InputCheck:
    """Sees that models and texts are those of the plan. What has not been touched since it was
    hashed is not hashed again."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str, bool], tuple[Signature, str | None]] = {}

    def model(self, path: str, sha256: str) -> None:
        """Refuse a model that is not the planned one."""
        self._same(path, Path(path), lambda: model_hash(path), sha256, "model")

    def artefact(self, ships: ArtefactRecord) -> None:
        """Refuse an artefact, or a tokenizer of its own, that is not the planned one."""
        named = (ships.path, ships.sha256), (ships.tokenizer, ships.tokenizer_sha256)
        for path, sha256 in named:
            if sha256 is not None:
                look = partial(artefact_sha256, Path(path))
                self._same(path, Path(path), look, sha256, "artefact")

    def text(
        self, source: str, prints: Mapping[str, str | None], *, keep_english: bool = True
    ) -> None:
        """Refuse calibration text that is not the planned one; streams have no hash."""

        def find(tag: str) -> str | None:
            if is_window_file(source):
                return sha256_of(Path(source))
            return fingerprints(open_source(source), [tag], keep_english=keep_english)[tag]

        for tag, sha256 in prints.items():
            if sha256 is not None:
                thing = f"{source}, {tag}"
                look = partial(find, tag)
                self._same(thing, Path(source), look, sha256, "calibration text", keep_english)

    def _same(
        self,
        thing: str,
        place: Path,
        find: Callable[[], str | None],
        wanted: str,
        what: str,
        keep_english: bool = False,
    ) -> None:
        now, key = _signature(place), (thing, what, keep_english)
        known = self._known.get(key)
        if known is None or known[0] != now or not now:
            known = now, find()
            self._known[key] = known
        if known[1] != wanted:
            raise InputError(
                thing,
                expected=f"the {what} that the study was planned on",
                found="another one: its files have changed since",
                fix="start mwanda study again, or put it back and add --retry-failed",
            )


def _signature(place: Path) -> Signature:
    """What changes when a file does: a new content has another time of change at least."""
    paths = sorted(place.rglob("*")) if place.is_dir() else parts_of(place)
    found = []
    for path in paths:
        if path.is_file():
            stat = path.stat()
            times = stat.st_mtime_ns, stat.st_ctime_ns
            found.append((str(path), stat.st_ino, stat.st_size, *times))
    return tuple(found)
