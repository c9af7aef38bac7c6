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

from bench import Bench, Measured
from cells import Cell
from mwanda.evaluation.evaluate import evaluate, read_texts
from mwanda.evaluation.texts import TextSet
from mwanda.methods.recipe.asked import Recipe
from mwanda.methods.recipe.resolved import resolve
from mwanda.model.source import load_tokenizer
from mwanda.pruning.calibration_text import weights_of
from mwanda.pruning.folder.manifest_records import CalibrationRecord
from mwanda.pruning.prune import prune
from mwanda.system.run_options import RunOptions
from mwanda.text.sources import open_source
from mwanda.text.window_files import Windows
from mwanda.text.windows import draw
from real_models import dense_model

SCORING = RunOptions(device="cpu")


@dataclass(frozen=True)
class _Made:
    """Attributes:
    of: what decides the model that the bench holds, see :func:`_recipe`.
    record: of its calibration, None for the dense model.
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
    _model: tuple[str, Bench, Any] | None = None
    _windows: dict[str, Windows] = field(default_factory=dict)
    _made: _Made | None = None

    def run(self, cells: Iterable[Cell]) -> bool:
        """Run what was not run before; False where time was up first."""
        waiting = {cell.key: cell for cell in cells if cell.read(self.results) is None}
        for cell in sorted(waiting.values(), key=_order):
            if time.monotonic() > self.until:
                return False
            grams = any(
                _gram(other) and _group(other) == _group(cell) for other in waiting.values()
            )
            found = self._run(cell, grams=grams)
            cell.write(self.results, found)
            seconds = {name: round(value, 1) for name, value in found["seconds"].items()}
            print(cell.key, json.dumps(cell.settings["recipe"]), seconds, flush=True)
        return True

    def _run(self, cell: Cell, *, grams: bool) -> dict[str, Any]:
        if self._made is None or self._made.of != _recipe(cell):
            self._made = None  # until it is whole
            self._made = self._prune(cell, grams=grams)
        made = self._made
        start = time.perf_counter()
        bench, tokenizer = self._load(cell.settings["model"])
        texts = self._read(cell.settings["text"])
        scored = evaluate(_as(bench.model, cell.settings["scored_in"]), texts, tokenizer=tokenizer,
                          calibration=made.record, options=SCORING)  # fmt: skip
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

    def _prune(self, cell: Cell, *, grams: bool) -> _Made:
        bench, tokenizer = self._load(cell.settings["model"])
        start = time.perf_counter()
        record, sparsity, measured = None, 0.0, start
        if cell.settings["recipe"] is None:
            bench.restore()
        else:
            recipe = resolve(Recipe.build({"mode": "dense"} | cell.settings["recipe"]))
            windows = self._draw(cell, tokenizer)
            if _alone(cell):
                bench.restore()
                result = prune(
                    bench.model, calibration=windows, recipe=recipe, options=self.options
                )
                sparsity = result.manifest.totals.sparsity
            else:
                statistics = self._measure(cell, bench, windows, recipe.skip_first_tokens, grams)
                measured = time.perf_counter()
                outcome = bench.prune(recipe, statistics)
                made = outcome.records.values()
                weights = sum(r.shape[0] * r.shape[1] for r in made)
                sparsity = sum(r.pruned for r in made) / weights
            record = CalibrationRecord.of(windows, weights_of(recipe, windows.languages))
        seconds = {"measure": measured - start, "prune": time.perf_counter() - measured}
        return _Made(_recipe(cell), record, sparsity, seconds)

    def _load(self, name: str) -> tuple[Bench, Any]:
        if self._model is None or self._model[0] != name:
            from transformers import AutoModelForCausalLM

            self._model, self._windows = None, {}
            folder = dense_model(name, self.work, self.options)
            model = AutoModelForCausalLM.from_pretrained(
                folder, dtype=torch.float32, local_files_only=True
            )
            self._model = (name, Bench(model.eval(), self.options), load_tokenizer(folder))
        return self._model[1], self._model[2]

    def _draw(self, cell: Cell, tokenizer: Any) -> Windows:
        wanted = cell.settings["calibration"]
        key = json.dumps(wanted, sort_keys=True)
        if key not in self._windows:
            source = open_source(self.data / "gnome")
            self._windows[key] = draw(
                source,
                tokenizer,
                wanted["languages"],
                windows=wanted["windows"],
                length=wanted["length"],
                seed=wanted["seed"],
            )
        return self._windows[key]

    def _measure(
        self, cell: Cell, bench: Bench, windows: Windows, skip: int, grams: bool
    ) -> Measured:
        """Taken once for all cells that share them, Gram matrices only where one needs them."""
        key = hashlib.sha256(_group(cell).encode()).hexdigest()[:16]
        folders = [self.work / f"statistics-{key}{suffix}" for suffix in ("-gram", "")]
        gram = grams or folders[0].is_dir()
        return bench.measure(windows.tokens, folders[not gram], skip=skip, gram=gram)

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


def _gram(cell: Cell) -> bool:
    return not _alone(cell) and bool((cell.settings["recipe"] or {}).get("reconstruction"))


def _alone(cell: Cell) -> bool:
    """Whether it has to run text through the model by itself."""
    return (cell.settings["recipe"] or {}).get("mode") == "sequential"


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
