"""What a study will compute: its grid with every input hashed, so that a cell's key says it all.

The plan is made by one process and read by all that work on it. A cell's key is the hash of its
resolved recipe, the model's content, the calibration text, the texts scored and what the numbers
depend on besides; names, paths and times do not count.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mwanda.errors import InputError, first_problem
from mwanda.evaluation.cache import model_sha256
from mwanda.evaluation.parallel import ParallelText
from mwanda.evaluation.tasks.published import TaskText
from mwanda.evaluation.texts import TextSet
from mwanda.evaluation.translation import Direction
from mwanda.methods.recipe.resolved import ResolvedRecipe
from mwanda.model.given import check_model
from mwanda.model.source import open_model
from mwanda.pruning.calibration_text import calibration_languages, loose_sizes, open_calibration
from mwanda.pruning.manifest_parts import naming_problems
from mwanda.study.document import EvaluationPart, RunPart, StudyDocument, load_study
from mwanda.study.folder import StudyFolder
from mwanda.study.grid import Point, points
from mwanda.study.inputs import dtype_for, resolved_dtypes
from mwanda.study.records import DENSE, Cell, Entry, ModelRecord, Record
from mwanda.study.scored_texts import (
    generation_settings,
    placed,
    study_parallel,
    study_tasks,
    study_texts,
    task_settings,
)
from mwanda.study.sharing import Prints, SharedStatistics, key_of
from mwanda.system.device import choose_device, parse_dtype
from mwanda.system.files import parse_size, sha256_of
from mwanda.system.progress import Progress, Silent
from mwanda.system.run_options import RunOptions
from mwanda.text.sources import placed_source
from mwanda.text.text_source import available
from mwanda.text.window_files import Windows
from mwanda.text.windows import fingerprints

FORMAT = 1


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
    entries: tuple[Entry, ...]
    cells: dict[str, Cell]

    def options(self, dtype: str, progress: Progress | None = None) -> RunOptions:
        """How a cell is run, in the dtype it was planned in."""
        given = self.run.model_dump() | {"compute_dtype": dtype}
        given["activation_memory"] = parse_size(given["activation_memory"], "activation_memory")
        return RunOptions(**given, overwrite=True, progress=progress or Silent())

    def read_texts(self) -> TextSet:
        """The texts to score."""
        texts = study_texts(self.evaluation)
        if texts.sha256 != self.text_sha256:
            raise InputError(
                self.evaluation.text,
                expected="the texts that the study was planned on",
                found="others",
                fix="put them back, or start mwanda study again",
            )
        return texts

    def read_parallel(self) -> tuple[ParallelText, list[Direction]] | None:
        """The sentences to translate; None where nothing is."""
        found = study_parallel(self.evaluation)
        self._check(generation_settings(self.evaluation, found), "sentences")
        return found

    def read_tasks(self) -> dict[str, TaskText]:
        """The tasks' files; empty where none is asked."""
        found = study_tasks(self.evaluation)
        self._check(task_settings(self.evaluation, found), "tasks")
        return found

    def _check(self, known: Mapping[str, Any], what: str) -> None:
        if any(one.settings.get(k) != v for one in self.cells.values() for k, v in known.items()):
            raise InputError(
                self.evaluation.text if what != "tasks" else "evaluation.tasks",
                expected=f"the {what} that the study was planned on",
                found="others", fix="put them back, or start mwanda study again",
            )  # fmt: skip


def make_plan(path: Path) -> Plan:
    """Read a study and look up all it names, without any work on a model but reading it once."""
    document, text = load_study(path)
    grid, problems = points(document, str(path))

    def tried(call: Callable[[], Any], place: str = "") -> Any:
        try:
            return call()
        except InputError as error:
            start = f"{path}: {place}" if place else ""
            problems.extend(p if p.startswith(str(path)) else start + p for p in error.problems)
            return None

    for name, model in document.models.items():
        tried(partial(check_model, model), f"models.{name}: ")
    tried(lambda: choose_device(document.run.device), "run: ")
    tried(lambda: parse_dtype(document.run.compute_dtype, "compute_dtype"), "run: ")
    tried(lambda: parse_size(document.run.activation_memory, "activation_memory"), "run: ")
    texts: TextSet | None = tried(lambda: study_texts(document.evaluation), "evaluation: ")
    generated: dict[str, Any] = {}

    def look_up() -> None:
        part = document.evaluation
        generated.update(generation_settings(part, study_parallel(part)))

    def look_up_tasks() -> None:
        part = document.evaluation
        generated.update(task_settings(part, study_tasks(part)))

    tried(look_up, "evaluation: ")
    tried(look_up_tasks, "evaluation: ")
    drawn: dict[str, tuple[str, ...]] = {}
    prints: Prints = {}
    opened: dict[str, Any] = {}
    for point in grid:
        recipe = point.recipe
        asked = recipe.model_dump_json(
            include={"languages", "language_weights", "skip_first_tokens"}
        )
        if recipe.needs_text:
            if asked not in opened:
                look = partial(open_calibration, document.calibration, recipe)
                opened[asked] = tried(look, "calibration: ")
            if opened[asked] is not None:
                drawn[point.method] = tuple(calibration_languages(opened[asked], recipe))
    if problems or texts is None:
        raise InputError.several(dict.fromkeys(problems))
    every = {tag for tags in drawn.values() for tag in tags}
    for keep in {point.recipe.keep_english for point in grid}:
        for source in opened.values():
            found: Mapping[str, str | None]
            if isinstance(source, Windows) and document.calibration is not None:
                found = dict.fromkeys(source.languages, sha256_of(Path(document.calibration)))
            else:
                new = [
                    tag for tag in available(source) if tag in every and (tag, keep) not in prints
                ]
                found = fingerprints(source, new, keep_english=keep)
            prints |= {(tag, keep): sha256 for tag, sha256 in found.items()}
    return _plan(document, text, grid, texts, drawn, prints, generated)


def read_plan(folder: StudyFolder) -> Plan:
    """The plan that a folder holds."""
    data = folder.read_plan()
    try:
        if data.get("format") != FORMAT:
            raise InputError(str(folder.path), expected=f"format {FORMAT}",
                             found=repr(data.get("format"))[:40],
                             fix="start mwanda study again")  # fmt: skip
        return Plan.model_validate(data)
    except ValidationError as error:
        place, found = first_problem(error)
        raise InputError(
            f"{folder.path}/plan.json: {place}",
            expected="a plan that mwanda wrote",
            found=found,
            fix="start mwanda study again",
        ) from error


def _plan(
    document: StudyDocument,
    text: str,
    grid: list[Point],
    texts: TextSet,
    drawn: Mapping[str, tuple[str, ...]],
    prints: Prints,
    generated: Mapping[str, Any],
) -> Plan:
    models, dtypes, named = {}, {}, list[str]()
    run = document.run
    options = RunOptions(
        device=run.device,
        compute_dtype=run.compute_dtype,
        trust_remote_code=run.trust_remote_code,
    )
    for name, model in document.models.items():
        with open_model(model, trust_remote_code=document.run.trust_remote_code) as source:
            named += naming_problems(source, (p.recipe for p in grid), options, f"models.{name}: ")
            whole = source.original if source.kind == "gguf" else source.folder
            sha256 = model_sha256(source.folder if whole is None else whole)
            dtypes[name] = resolved_dtypes(source.folder, options)
        local = Path(model).exists()
        models[name] = ModelRecord(path=os.path.abspath(model) if local else model, sha256=sha256)
    if named:
        raise InputError.several(named)
    common = {
        "text_sha256": texts.sha256,
        "max_length": document.evaluation.max_length,
        **generated,
    }
    entries: list[Entry] = []
    cells: dict[str, Cell] = {}
    statistics: dict[str, dict[str, Any]] = {}
    for name, record in models.items():
        base = {**common, "model_sha256": record.sha256, "compute_dtype": dtypes[name],
                "recipe": None, "calibration": None}  # fmt: skip
        key = key_of(base)
        cells[key] = Cell(settings=base, model=name)
        entries.append(Entry(model=name, method=DENSE, sparsity=0.0, seed=None, key=key))
        for kind in document.quantised:
            made = {**base, "quantised": kind}
            key = key_of(made)
            cells[key] = Cell(settings=made, model=name)
            entries.append(Entry(model=name, method=kind, sparsity=0.0, seed=None, key=key))
        shared = SharedStatistics(name, record.sha256, dtype_for(dtypes[name], "prune"), prints)
        recipes = [_drawn(point, drawn) for point in grid]
        for recipe in recipes:
            shared.note(recipe)
        for point, recipe in zip(grid, recipes, strict=True):
            made = recipe.model_dump(mode="json")
            tags = recipe.languages if recipe.needs_text else None
            keep = recipe.keep_english
            known = None if tags is None else {tag: prints.get((tag, keep)) for tag in tags}
            settings = {**base, "recipe": made, "calibration": known}
            key = key_of(settings)
            used = shared.key(recipe)
            if used is not None:
                statistics[used] = shared.fields(recipe)
            if key not in cells:
                cells[key] = Cell(
                    settings=settings, model=name, statistics=used, loose=loose_sizes(recipe)
                )
            entries.append(
                Entry(model=name, method=point.method, sparsity=point.sparsity, seed=point.seed,
                      key=key)
            )  # fmt: skip
    calibration = document.calibration
    if calibration is not None:
        calibration = placed_source(calibration)
    return Plan(
        document=text,
        models=models,
        calibration=calibration if drawn else None,
        sets=dict(drawn),
        evaluation=placed(document.evaluation),
        run=document.run,
        keep=document.keep,
        text_sha256=texts.sha256,
        languages=tuple(texts.texts),
        ids=texts.ids,
        statistics=statistics,
        entries=tuple(entries),
        cells=cells,
    )


def _drawn(point: Point, drawn: Mapping[str, tuple[str, ...]]) -> ResolvedRecipe:
    """The recipe with its languages by name, also where it takes all there are."""
    if not point.recipe.needs_text:
        return point.recipe
    return point.recipe.model_copy(update={"languages": drawn[point.method]})
