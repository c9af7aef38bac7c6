"""What a study will compute: its grid with every input hashed, so that a cell's key says it all.

The plan is made by one process and read by all that work on it. A cell's key is the hash of its
resolved recipe, the model's content, the calibration text, the texts scored and what the numbers
depend on besides; names, paths and times do not count.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from mwanda.errors import InputError, first_problem
from mwanda.evaluation.parallel import ParallelText
from mwanda.evaluation.tasks.published import TaskText
from mwanda.evaluation.texts import TextSet
from mwanda.evaluation.translation import Direction
from mwanda.model.given import check_model
from mwanda.pruning.calibration_text import (
    asked_of_no_background,
    calibration_languages,
    left_open,
    open_calibration,
)
from mwanda.pruning.recipe.resolved import ResolvedRecipe
from mwanda.study.document import EvaluationPart, RunPart, load_study
from mwanda.study.folder import StudyFolder
from mwanda.study.forms import artefact_settings, look_up_artefact
from mwanda.study.grid import Point, points
from mwanda.study.inputs import (
    background_hashes,
    brings_background,
    calibration_hashes,
    dtype_for,
    look_up_models,
)
from mwanda.study.records import DENSE, ArtefactRecord, Cell, Entry, ModelRecord, Record
from mwanda.study.scored_texts import (
    generation_settings,
    placed,
    study_parallel,
    study_tasks,
    study_texts,
    task_settings,
)
from mwanda.study.sharing import Prints, SharedStatistics, own_background
from mwanda.system.device import choose_device, parse_dtype
from mwanda.system.files import parse_size
from mwanda.system.progress import Progress, Silent
from mwanda.system.run_options import RunOptions
from mwanda.text.sources import placed_source

FORMAT = 1

log = logging.getLogger("mwanda")


class Plan(Record):
    """What ``plan.json`` holds.

    Attributes:
        document: the text of the YAML file.
        calibration: as written; None where no recipe needs text.
        sets: method -> the languages that calibrate it, for methods that read text.
        evaluation, run: of the document.
        text_sha256, languages, ids: of the texts scored; ids where they are parallel.
        statistics: key -> fields of
            :func:`mwanda.pruning.statistics.collect.collect_statistics`, and the model.
        artefacts: name -> what ships.
        entries: in the order of the document, the dense models first.
        cells: key -> cell.
    """

    format: int = FORMAT
    document: str
    models: dict[str, ModelRecord]
    calibration: str | None
    sets: dict[str, tuple[str, ...]]
    evaluation: EvaluationPart
    run: RunPart
    keep: bool
    text_sha256: str
    languages: tuple[str, ...]
    ids: tuple[int | str, ...] | None
    statistics: dict[str, dict[str, Any]]
    artefacts: dict[str, ArtefactRecord] = Field(default_factory=dict)
    entries: tuple[Entry, ...]
    cells: dict[str, Cell]

    @property
    def unpruned(self) -> set[str]:
        """Methods that prune nothing: the dense model, as it is and quantised."""
        cells = self.cells
        return {DENSE} | {e.method for e in self.entries if "quantised" in cells[e.key].settings}

    def options(self, dtype: str, progress: Progress | None = None) -> RunOptions:
        """How a cell is run, in the dtype it was planned in."""
        given = self.run.model_dump() | {"compute_dtype": dtype}
        given["activation_memory"] = parse_size(given["activation_memory"], "activation_memory")
        return RunOptions(**given, overwrite=True, progress=progress or Silent())

    def read_texts(self) -> TextSet:
        """The texts to score."""
        texts = study_texts(self.evaluation)
        self._check({"text_sha256": texts.sha256}, self.evaluation.text, "texts")
        return texts

    def read_parallel(self) -> tuple[ParallelText, list[Direction]] | None:
        """The sentences to translate; None where nothing is."""
        found = study_parallel(self.evaluation)
        known = generation_settings(self.evaluation, found)
        self._check(known, self.evaluation.text, "sentences")
        return found

    def read_tasks(self) -> dict[str, TaskText]:
        """The tasks' files; empty where none is asked."""
        found = study_tasks(self.evaluation)
        self._check(task_settings(self.evaluation, found), "evaluation.tasks", "tasks")
        return found

    def _check(self, known: Mapping[str, Any], where: str, what: str) -> None:
        if any(one.settings.get(k) != v for one in self.cells.values() for k, v in known.items()):
            raise InputError(
                where, expected=f"the {what} that the study was planned on",
                found="others", fix="put them back, or start mwanda study again",
            )  # fmt: skip


def read_plan(folder: StudyFolder) -> Plan:
    """The plan that a folder holds."""
    data = folder.read_plan()
    again = "start mwanda study again"
    if data.get("format") != FORMAT:
        found = repr(data.get("format"))[:40]
        raise InputError(str(folder.path), expected=f"format {FORMAT}", found=found, fix=again)
    try:
        return Plan.model_validate(data)
    except ValidationError as error:
        place, found = first_problem(error)
        raise InputError(
            f"{folder.path}/plan.json: {place}", expected="a plan that mwanda wrote",
            found=found, fix=again,
        ) from None  # fmt: skip


def make_plan(path: Path) -> Plan:
    """Read a study and look up all it names, without any work on a model but reading it once."""
    document, text = load_study(path)
    grid, problems = points(document, str(path))

    def tried(call: Callable[[], Any], place: str) -> Any:
        """What a call gives; None, and its problems kept, where it refuses."""
        try:
            return call()
        except InputError as error:
            start = f"{path}: {place}: "
            problems.extend(p if p.startswith(str(path)) else start + p for p in error.problems)
            return None

    part, run = document.evaluation, document.run
    for name, model in document.models.items():
        tried(partial(check_model, model), f"models.{name}")
    tried(lambda: choose_device(run.device), "run")
    tried(lambda: parse_dtype(run.compute_dtype, "compute_dtype"), "run")
    tried(lambda: parse_size(run.activation_memory, "activation_memory"), "run")
    texts: TextSet | None = tried(lambda: study_texts(part), "evaluation")
    generated: dict[str, Any] = {}
    for look_up in (
        lambda: generation_settings(part, study_parallel(part)),
        lambda: task_settings(part, study_tasks(part)),
    ):
        generated |= tried(look_up, "evaluation") or {}
    artefacts = {}
    for name, one in document.artefacts.items():
        of = document.models[one.model or next(iter(document.models))]
        look = partial(look_up_artefact, one, of, run.device)
        artefacts[name] = tried(look, f"artefacts.{name}")
    drawn, opened = _calibrations(document.calibration, grid, tried)
    if problems or texts is None:
        raise InputError.several(dict.fromkeys(problems))
    prints: Prints = {}
    for keep in {point.recipe.keep_english for point in grid}:
        for source in opened:
            tags = {tag for tag in chain(*drawn.values()) if (tag, keep) not in prints}
            found = calibration_hashes(document.calibration, source, tags, keep_english=keep)
            prints |= {(tag, keep): sha256 for tag, sha256 in found.items()}
    models, dtypes = look_up_models(document, grid)
    recipes = [_placed(point, drawn, document.calibration) for point in grid]
    backgrounds = background_hashes(document.calibration, recipes)
    if artefacts and generated:
        log.warning("artefacts are scored only: nothing is translated, continued or asked of them")
    table = _Table()
    for name, record in models.items():
        base = {"text_sha256": texts.sha256, "max_length": part.max_length, **generated,
                "model_sha256": record.sha256, "compute_dtype": dtypes[name],
                "recipe": None, "calibration": None}  # fmt: skip
        table.add(DENSE, Cell(settings=base, model=name))
        for kind in document.quantised:
            table.add(kind, Cell(settings={**base, "quantised": kind}, model=name))
        for ships, one in document.artefacts.items():
            if one.model in (None, name):
                settings = artefact_settings(ships, artefacts[ships], base, run.compute_dtype)
                table.add(ships, Cell(settings=settings, model=name, artefact=ships))
        dtype = dtype_for(dtypes[name], "prune")
        shared = SharedStatistics(name, record, dtype, prints, backgrounds, recipes)
        for point, recipe in zip(grid, recipes, strict=True):
            known = None
            if recipe.needs_text and recipe.languages is not None:
                keep = recipe.keep_english
                known = {tag: prints.get((tag, keep)) for tag in recipe.languages}
            fields = recipe.model_dump(mode="json") | own_background(recipe)
            settings = {**base, "recipe": fields, "calibration": known}
            if recipe.background in backgrounds:
                settings["background"] = backgrounds[recipe.background]
            used = shared.of(recipe)
            if used is not None:
                table.statistics[used[0]] = used[1]
            cell = Cell(settings=settings, model=name, statistics=used and used[0],
                        loose=left_open(recipe))  # fmt: skip
            table.add(point.method, cell, point.sparsity, point.seed)
    calibration = document.calibration
    return Plan(
        document=text,
        models=models,
        calibration=placed_source(calibration) if drawn and calibration is not None else None,
        sets=drawn,
        evaluation=placed(part, texts),
        run=run,
        keep=document.keep,
        text_sha256=texts.sha256,
        languages=tuple(texts.texts),
        ids=texts.ids,
        statistics=table.statistics,
        artefacts=artefacts,
        entries=tuple(table.entries),
        cells=table.cells,
    )


def _calibrations(
    calibration: str | None, grid: list[Point], tried: Callable[[Callable[[], Any], str], Any]
) -> tuple[dict[str, tuple[str, ...]], list[Any]]:
    """Method -> languages that calibrate it, and the text, opened once for all who ask alike."""
    drawn: dict[str, tuple[str, ...]] = {}
    opened: dict[tuple[str, str], Any] = {}
    for point in grid:
        if point.recipe.needs_text:
            fields = {"languages", "language_weights", "skip_first_tokens", "background"}
            asked = (
                point.recipe.model_dump_json(include=fields),
                asked_of_no_background(point.recipe),
            )
            if asked not in opened:
                look = partial(open_calibration, calibration, point.recipe)
                opened[asked] = tried(look, "calibration")
            if opened[asked] is not None:
                drawn[point.method] = tuple(calibration_languages(opened[asked], point.recipe))
    return drawn, list(opened.values())


@dataclass(frozen=True)
class _Table:
    """Points of the report, and the cells and statistics they need, each once."""

    entries: list[Entry] = field(default_factory=list)
    cells: dict[str, Cell] = field(default_factory=dict)
    statistics: dict[str, dict[str, Any]] = field(default_factory=dict)

    def add(self, method: str, cell: Cell, sparsity: float = 0.0, seed: int | None = None) -> None:
        key = cell.key
        self.cells.setdefault(key, cell)
        point = Entry(model=cell.model, method=method, sparsity=sparsity, seed=seed, key=key)
        self.entries.append(point)


def _placed(
    point: Point, drawn: Mapping[str, tuple[str, ...]], calibration: str | None
) -> ResolvedRecipe:
    """The recipe with its languages by name, also where it takes all there are, and the whole path
    of a background; windows know theirs as it was written."""
    recipe = point.recipe
    if not recipe.needs_text:
        return recipe
    told: dict[str, Any] = {"languages": drawn[point.method]}
    if brings_background(recipe, calibration):
        told["background"] = placed_source(recipe.background)
    return recipe.model_copy(update=told)
