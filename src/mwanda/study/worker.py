"""Works on a study's cells until none is left: claims one, runs it, keeps what it measured."""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import get_ident
from typing import Any

from mwanda.errors import InputError, MwandaError
from mwanda.evaluation.evaluate import evaluate
from mwanda.evaluation.results import Evaluation
from mwanda.evaluation.score_tasks import evaluate_tasks
from mwanda.evaluation.translate import translate
from mwanda.pruned.after_prune import prune
from mwanda.pruning.folder.manifest import Manifest, versions
from mwanda.pruning.recipe.asked import Recipe
from mwanda.pruning.statistics.collect import collect_statistics
from mwanda.pruning.statistics.show import show_statistics
from mwanda.study.folder import StudyFolder
from mwanda.study.forms import dense_sizes, score_artefact, small_form, weight_bytes
from mwanda.study.inputs import InputCheck, dtype_for
from mwanda.study.records import Cell
from mwanda.study.study_plan import read_plan
from mwanda.system.progress import Progress
from mwanda.system.run_options import RunOptions

log = logging.getLogger("mwanda")

PARENT = "MWANDA_STUDY_PARENT"
"""Names the process that a worker does not outlive: between two cells it looks whether it runs."""

PAUSE = 0.5
"""Seconds between two looks at cells that other workers hold."""

FAILURES = (
    MwandaError, OSError, RuntimeError, ValueError, MemoryError, LookupError, TypeError,
    AttributeError,
)  # fmt: skip


class Worker:
    """One process at work on a study.

    Args:
        folder: of the study.
        progress: is told how far each prune and evaluation is.
        done: is called after every cell that this worker has finished.
        go_on: asked before every cell whether to begin it.
    """

    def __init__(
        self,
        folder: StudyFolder,
        *,
        progress: Progress | None = None,
        done: Callable[[str], object] = lambda _key: None,
        go_on: Callable[[], bool] = lambda: True,
    ) -> None:
        self._folder = folder
        self._plan = plan = read_plan(folder)
        self._texts, self._parallel = plan.read_texts(), plan.read_parallel()
        self._tasks = plan.read_tasks()
        self._inputs = InputCheck()
        self._progress, self._done, self._go_on = progress, done, go_on
        self._broken: dict[str, list[str]] = {}

    def run(self) -> None:
        """Until every cell has a result or a failure, whoever made it."""
        waiting = list(self._plan.cells)
        while waiting := [key for key in waiting if self._folder.state(key) is None]:
            worked = False
            for key in waiting:
                if not self._go_on():
                    return
                worked |= self._try(key)
            if not worked:
                time.sleep(PAUSE)
        self._folder.tidy()

    def _try(self, key: str) -> bool:
        """Work on a cell if nobody else does; whether it was worked on."""
        with self._folder.claim(key) as mine:
            if not mine or self._folder.state(key) is not None:
                return False
            cell = self._plan.cells[key]
            start = time.perf_counter()
            try:
                self._check(cell)
                if cell.statistics is not None and not self._have(cell.statistics, cell):
                    return False
                with self._at_work(key, "", start) as scratch:
                    found = self._measure(key, cell, scratch)
                    self._check(cell)  # what changed meanwhile may have been read half
                    self._folder.write_result(key, found)
            except FAILURES as error:
                problems = _told(error)
                log.debug("%s failed", key, exc_info=error)
                self._folder.write_failure(key, problems)
                self._folder.log("failed", key, problems=problems)
        self._done(key)
        return True

    @contextmanager
    def _at_work(self, key: str, what: str, start: float) -> Iterator[Path]:
        """A place to work in; the log says when it was begun and done. What is written on the way
        is soon removed, and not worth a line each."""
        self._folder.log(f"begin{what}", key)
        with self._folder.work(key) as scratch, _quiet():
            yield scratch
            self._folder.log(f"done{what}", key, seconds=round(time.perf_counter() - start, 2))

    def _check(self, cell: Cell, *, text: bool = False) -> None:
        """Refuse inputs that are not those of the plan; text is read where no statistics are."""
        model, source = self._plan.models[cell.model], self._plan.calibration
        self._inputs.model(model.path, model.sha256)
        if cell.artefact is not None:
            self._inputs.artefact(self._plan.artefacts[cell.artefact])
        if source is not None and (text or cell.statistics is None):
            recipe, known = cell.settings["recipe"] or {}, cell.settings["calibration"] or {}
            self._inputs.text(source, known, keep_english=bool(recipe.get("keep_english")))
            self._inputs.text(str(recipe.get("background")), cell.settings.get("background") or {})

    def _options(self, cell: Cell, what: str) -> RunOptions:
        return self._plan.options(dtype_for(cell.settings["compute_dtype"], what), self._progress)

    def _have(self, key: str, cell: Cell) -> bool:
        """See that statistics are there, and take them if not; False where another does."""
        target = self._folder.statistics(key)
        if target.is_file():
            return True
        if key in self._broken:
            raise InputError.several(self._broken[key])
        with self._folder.claim(key) as mine:
            if not mine:
                return False
            if target.is_file():
                return True
            self._check(cell, text=True)
            fields = dict(self._plan.statistics[key])
            model = self._plan.models[fields.pop("model")].path
            try:
                with self._at_work(key, " statistics", time.perf_counter()) as scratch:
                    made = scratch / target.name
                    collect_statistics(
                        model, made, calibration=self._plan.calibration,
                        options=self._options(cell, "prune"), **fields,
                    )  # fmt: skip
                    self._check(cell, text=True)
                    view = show_statistics(made).as_dict()
                    self._folder.write_view(key, view | {"path": target.name, "key": key})
                    os.replace(made, target)
            except FAILURES as error:
                self._broken[key] = _told(error)
                raise
        return True

    def _measure(self, key: str, cell: Cell, scratch: Path) -> dict[str, Any]:
        model, options = self._plan.models[cell.model].path, self._options(cell, "evaluate")
        manifest: Manifest | None = None
        more: dict[str, Any] = {}
        if cell.settings["recipe"] is not None:
            model, manifest = self._prune(key, cell, model, scratch)
        elif cell.artefact is not None:
            result, more = self._artefact(cell, model)
            return _found(key, cell, result, manifest, more)
        elif "quantised" in cell.settings:
            name, tags = str(cell.settings["quantised"]), list(self._texts.texts)
            model, more["quantised"] = small_form(name, model, tags, scratch, options)
        part = self._plan.evaluation
        result = evaluate(
            model, self._texts, max_length=part.max_length, generated=part.continuations,
            options=options,
        )  # fmt: skip
        if result.generated:
            more["generated"] = {tag: c.as_dict() for tag, c in result.generated.items()}
        if self._parallel is not None:
            translated = translate(model, *self._parallel, options=options).as_dict()
            more["translation"] = translated["directions"]
        if self._tasks:
            asked = evaluate_tasks(
                model, self._tasks, items=part.task_items, seed=part.seed, options=options
            )
            more["tasks"] = asked.as_dict()["tasks"]
        return _found(key, cell, result, manifest, more)

    def _artefact(self, cell: Cell, model: str) -> tuple[Evaluation, dict[str, Any]]:
        """In the dtype of the document: the plan's is that of the dense model's forward."""
        artefact = self._plan.artefacts[str(cell.artefact)]
        options = self._plan.options(self._plan.run.compute_dtype, self._progress)
        result = score_artefact(artefact, self._texts, self._plan.evaluation.max_length, options)
        sizes: dict[str, Any] = {
            "type": cell.artefact, "tensors": 0, "kept": {}, "bytes": weight_bytes(artefact),
            **dense_sizes(model, options),
        }  # fmt: skip
        return result, {"quantised": sizes, "runtime": result.settings["runtime"]}

    def _prune(self, key: str, cell: Cell, model: str, scratch: Path) -> tuple[str, Manifest]:
        loose = set(cell.loose)
        if cell.statistics is not None and "background" in cell.settings:
            loose.add("background")  # theirs is of the same text, which may have lain elsewhere
        fields = {k: v for k, v in cell.settings["recipe"].items() if k not in loose}
        recipe = Recipe.build(fields)
        if self._plan.keep:
            (self._folder.path / "models").mkdir(exist_ok=True)
        out = (self._folder.path / "models" if self._plan.keep else scratch) / key
        if cell.statistics is None:
            text: dict[str, Any] = {"calibration": self._plan.calibration}
        else:
            text = {"statistics": self._folder.statistics(cell.statistics)}
        options = self._options(cell, "prune")
        done = prune(model, out=out, recipe=recipe, options=options, **text)
        return str(out), done.manifest


def _found(
    key: str, cell: Cell, result: Evaluation, manifest: Manifest | None, more: dict[str, Any]
) -> dict[str, Any]:
    """What is kept of a cell."""
    return {
        "format": 1,
        "key": key,
        "settings": cell.settings,
        "statistics": cell.statistics,
        "seen": list(result.seen),
        "background": list(result.background),
        "compute_dtype": result.settings.get("compute_dtype", "the runtime's own"),
        "bos": result.settings["bos"],
        "versions": versions(),
        **({} if manifest is None else _pruned(manifest)),
        **more,
        "languages": {
            tag: {
                "tokens": r.tokens,
                "size": r.size,
                "unscored": r.unscored,
                "sentence_nll": list(r.sentence_nll),
            }
            for tag, r in result.languages.items()
        },
    }


def _pruned(manifest: Manifest) -> dict[str, Any]:
    """What a report says of a prune: sparsity in all, and block by block."""
    blocks: dict[int, list[int]] = {}
    for linear in manifest.linears.values():
        sums = blocks.setdefault(linear.block, [0, 0])
        sums[0] += linear.pruned
        sums[1] += linear.shape[0] * linear.shape[1]
    masks = hashlib.sha256()
    for name, linear in sorted(manifest.linears.items()):
        masks.update(f"{name}\0{linear.mask_sha256}\0".encode())
    return {
        "sparsity": manifest.totals.sparsity,
        "model_sparsity": manifest.totals.model_sparsity,
        "blocks": {str(b): pruned / weights for b, (pruned, weights) in sorted(blocks.items())},
        "masks_sha256": masks.hexdigest(),
        "recovery_steps": manifest.recoveries[-1].steps if manifest.recoveries else None,
        "tokens": 0
        if manifest.calibration is None
        else sum(draw.tokens for draw in manifest.calibration.languages.values()),
    }


@contextmanager
def _quiet() -> Iterator[None]:
    """Only warnings of this thread are told."""
    thread, debug = get_ident(), log.isEnabledFor(logging.DEBUG)

    def told(line: logging.LogRecord) -> bool:
        return debug or line.levelno > logging.INFO or line.thread != thread

    log.addFilter(told)  # not the level: that is every thread's
    try:
        yield
    finally:
        log.removeFilter(told)


def _told(error: BaseException) -> list[str]:
    if isinstance(error, MwandaError):
        return list(error.problems)
    return [f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"]


def work_on(out: str | Path, progress: Progress | None = None) -> None:
    """Be one worker of a study that was planned before, until nothing is left to do."""
    folder = StudyFolder.open(Path(out))
    parent = os.environ.get(PARENT)

    def go_on() -> bool:
        return parent is None or str(os.getppid()) == parent

    Worker(folder, progress=progress, go_on=go_on).run()
