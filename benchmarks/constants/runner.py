"""Runs cells: statistics are taken once for all that share them, results are kept as they come."""

from __future__ import annotations

import copy
import hashlib
import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from cells import Cell
from mwanda.evaluation.evaluate import evaluate
from mwanda.evaluation.texts import TextSet, read_texts
from mwanda.model.run.discovery import find_structure
from mwanda.model.source import load_tokenizer
from mwanda.pruning.folder.manifest_records import CalibrationRecord
from mwanda.pruning.manifest_parts import PruneResult
from mwanda.pruning.prune import prune
from mwanda.pruning.recipe.asked import Recipe
from mwanda.pruning.recipe.resolved import ResolvedRecipe, resolve
from mwanda.pruning.statistics.collect import collect_statistics
from mwanda.system.run_options import RunOptions
from mwanda.text.sources import open_source
from mwanda.text.window_files import Windows
from mwanda.text.windows import draw
from real_models import dense_model

SCORING = RunOptions(device="cpu")


class Bench:
    """A model in memory, in float32, that is pruned in place again and again.

    Args:
        folder: of the dense model.
    """

    def __init__(self, folder: Path, options: RunOptions) -> None:
        from transformers import AutoModelForCausalLM

        self._folder, self._options = folder, options
        self.model: Any = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, local_files_only=True
        ).eval()
        self.tokenizer = load_tokenizer(folder)
        names = {linear.parameter for linear in find_structure(self.model).linears()}
        self._dense = {name: self.model.get_parameter(name).detach().clone() for name in names}

    @torch.no_grad()
    def restore(self) -> None:
        """The dense model again."""
        for name, weight in self._dense.items():
            self.model.get_parameter(name).copy_(weight)

    def measure(self, windows: Windows, path: Path, *, skip: int = 0, gram: bool = False) -> Path:
        """The statistics of the dense model in a file, taken where it is not there."""
        if not path.is_file():
            collect_statistics(
                self._folder, path, calibration=windows, gram=gram, skip_first_tokens=skip,
                options=self._options,
            )  # fmt: skip
        return path

    def prune(self, recipe: ResolvedRecipe, **evidence: Any) -> PruneResult:
        """Prune the dense model, from ``calibration`` or ``statistics``."""
        self.restore()
        return prune(self.model, recipe=recipe, options=self._options, **evidence)


@dataclass(frozen=True)
class _Made:
    """Attributes:
    of: what decides the model that the bench holds, see :func:`_recipe`.
    record: of its calibration, None where there was none.
    """

    of: str
    record: CalibrationRecord | None
    sparsity: float
    seconds: dict[str, float]


@dataclass
class Runner:
    """Attributes:
    data: folder with ``gnome/`` and what is scored.
    work: where models go.
    results: where cells are kept.
    until: ``time.monotonic()`` after which no cell is begun.
    """

    data: Path
    work: Path
    results: Path
    until: float = float("inf")
    options: RunOptions = field(
        default_factory=lambda: RunOptions(compute_dtype="float32", device="cpu")
    )
    _texts: dict[str, TextSet] = field(default_factory=dict)
    _bench: tuple[str, Bench] | None = None
    _windows: dict[str, Windows] = field(default_factory=dict)
    _made: _Made | None = None

    def run(self, cells: Iterable[Cell]) -> bool:
        """Run what was not run before; False where time was up first."""
        waiting = {cell.key: cell for cell in cells if cell.read(self.results) is None}
        for cell in sorted(waiting.values(), key=_order):
            if time.monotonic() > self.until:
                return False
            grams = any(
                _group(other) == _group(cell) and "gram" in recipe.linear_needs
                for other in waiting.values()
                if (recipe := _shared(other)) is not None
            )
            found = self._run(cell, grams=grams)
            cell.write(self.results, found)
            seconds = {name: round(value, 1) for name, value in found["seconds"].items()}
            print(cell.key, json.dumps(cell.settings["recipe"]), seconds, flush=True)
        return True

    def _run(self, cell: Cell, *, grams: bool) -> dict[str, Any]:
        bench = self._load(cell.settings["model"])
        if self._made is None or self._made.of != _recipe(cell):
            self._made = None  # until it is whole
            self._made = self._prune(cell, bench, grams=grams)
        made = self._made
        start = time.perf_counter()
        texts = self._read(cell.settings["text"])
        scored = evaluate(
            _as(bench.model, cell.settings["scored_in"]), texts, tokenizer=bench.tokenizer,
            calibration=made.record, options=SCORING,
        )  # fmt: skip
        return {
            "text_sha256": texts.sha256,
            "ids": _ids(self.data / cell.settings["text"]["source"], texts),
            "sparsity": made.sparsity,
            "threads": torch.get_num_threads(),
            "seconds": made.seconds | {"evaluate": time.perf_counter() - start},
            "languages": {
                tag: [round(value, 4) for value in row.sentence_nll]
                for tag, row in scored.languages.items()
            },
        }

    def _prune(self, cell: Cell, bench: Bench, *, grams: bool) -> _Made:
        if cell.settings["recipe"] is None:
            bench.restore()
            return _Made(_recipe(cell), None, 0.0, {"measure": 0.0, "prune": 0.0})
        start = time.perf_counter()
        evidence: dict[str, Any] = {"calibration": self._draw(cell, bench.tokenizer)}
        if (recipe := _shared(cell)) is not None:
            # Taken once for all cells that share them, Gram matrices only where one needs them.
            key = hashlib.sha256(_group(cell).encode()).hexdigest()[:16]
            with_grams = self.work / f"statistics-{key}-gram.safetensors"
            gram = grams or with_grams.is_file()
            path = with_grams if gram else self.work / f"statistics-{key}.safetensors"
            skip, windows = recipe.skip_first_tokens, evidence.pop("calibration")
            evidence["statistics"] = bench.measure(windows, path, skip=skip, gram=gram)
        measured = time.perf_counter()
        made = bench.prune(_resolved(cell), **evidence).manifest
        seconds = {"measure": measured - start, "prune": time.perf_counter() - measured}
        return _Made(_recipe(cell), made.calibration, made.totals.sparsity, seconds)

    def _load(self, name: str) -> Bench:
        if self._bench is None or self._bench[0] != name:
            self._bench, self._windows = None, {}
            folder = dense_model(name, self.work, self.options)
            self._bench = (name, Bench(folder, self.options))
        return self._bench[1]

    def _draw(self, cell: Cell, tokenizer: Any) -> Windows:
        wanted = cell.settings["calibration"]
        key = json.dumps(wanted, sort_keys=True)
        if key not in self._windows:
            self._windows[key] = draw(
                open_source(self.data / "gnome"), tokenizer, wanted["languages"],
                windows=wanted["windows"], length=wanted["length"], seed=wanted["seed"],
            )  # fmt: skip
        return self._windows[key]

    def _read(self, text: Mapping[str, Any]) -> TextSet:
        key = json.dumps(text, sort_keys=True)
        if key not in self._texts:
            ids = None if text["ids"] is None else (text["ids"][0], text["ids"][1])
            self._texts[key] = read_texts(
                self.data / text["source"],
                text["languages"],
                sentences=text["sentences"],
                seed=text["seed"],
                ids=ids,
            )
        return self._texts[key]


def _as(model: Any, dtype: str) -> Any:
    """The model rounded to a dtype, as one that is saved in it; the given one stays."""
    return copy.deepcopy(model).to(getattr(torch, dtype))


def _resolved(cell: Cell) -> ResolvedRecipe:
    return resolve(Recipe.build({"mode": "dense"} | cell.settings["recipe"]))


def _shared(cell: Cell) -> ResolvedRecipe | None:
    """Its recipe, where it needs no more of the text than statistics of the dense model."""
    if cell.settings["recipe"] is None:
        return None
    recipe = _resolved(cell)
    return recipe if recipe.mode == "dense" and recipe.probe is None else None


def _group(cell: Cell) -> str:
    """What decides the statistics."""
    skip = (cell.settings["recipe"] or {}).get("skip_first_tokens", 0)
    return json.dumps([cell.settings["model"], cell.settings["calibration"], skip], sort_keys=True)


def _recipe(cell: Cell) -> str:
    """What decides the model: all but the text that it is scored on."""
    return json.dumps([cell.settings["recipe"], _group(cell)], sort_keys=True)


def _order(cell: Cell) -> tuple[Any, ...]:
    """Dense models first, and cells of the same statistics one after another, of the same recipe
    in them."""
    return cell.settings["recipe"] is not None, _group(cell), _recipe(cell)


def _ids(source: Path, texts: TextSet) -> list[int] | None:
    """The record numbers of the sentences drawn, None where languages differ in them."""
    opened = open_source(source)
    found = []
    for tag, group in texts.texts.items():
        known = {document.text: document.id for document in opened.documents(tag)}
        found.append([known[text] for text in group])
    first = found[0]
    if any(other != first for other in found) or any(not isinstance(one, int) for one in first):
        return None
    return [int(one or 0) for one in first]
