"""Is one pass enough? Dense against sequential statistics, method by method and by sparsity.

Calibrates on ``DATA/gnome`` in 15 languages and reports a seeded subset of the tuning split,
``DATA/flores`` ids below 1000, the same for every cell, everything in float32. A cell is one prune
and one evaluation; cells that the results file has already are not run again, and ``--minutes``
ends a run early, so the grid can be made in pieces. Both modes of a cell follow each other.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from mwanda.cli.demo.packages import KNOWN, find_weights
from mwanda.evaluation.articles import clusters_of
from mwanda.evaluation.evaluate import evaluate, read_texts
from mwanda.evaluation.paired import difference, verdict
from mwanda.evaluation.results import Evaluation, mean
from mwanda.evaluation.texts import TextSet
from mwanda.methods.recipe.asked import Recipe
from mwanda.model.source import load_tokenizer
from mwanda.pruning.draw_windows import draw_windows
from mwanda.pruning.prune import prune
from mwanda.system.run_options import RunOptions
from mwanda.system.text_tables import plain
from mwanda.text.sources import open_source
from mwanda.text.window_files import Windows
from real_models import dense_model

SEEN = ["en", "de", "fr", "es", "ru", "zh", "ja", "ko", "id", "vi", "fi", "ta", "te", "gu", "fa"]
METHODS: dict[str, dict[str, Any]] = {
    "wanda": {"criterion": "wanda", "allocation": "uniform"},
    "m-wanda": {"criterion": "m-wanda", "allocation": "cwl"},
}
SPARSITIES = [0.5, 0.3, 0.6, 0.4]
MODES = ["dense", "sequential"]
TUNING = (0, 999)


def main() -> None:
    given = _arguments()
    methods = dict(METHODS)
    for name in given.reconstruction:
        methods[f"wanda + {name}"] = {**METHODS["wanda"], "reconstruction": name}
    unseen = given.unseen.split(",") if given.unseen else []
    texts = read_texts(
        given.data / "flores",
        SEEN + unseen,
        sentences=given.sentences,
        seed=given.seed,
        ids=TUNING,
    )
    settings = {
        "calibration": "GNOME user help",
        "languages": SEEN,
        "windows": given.windows,
        "window_length": given.length,
        "seed": given.seed,
        "sentences": given.sentences,
        "ids": _ids(given.data / "flores", texts),
        "text_sha256": texts.sha256,
    }
    data = _read(given.results, settings)
    end = time.monotonic() + 60 * given.minutes
    given.work.mkdir(parents=True, exist_ok=True)
    for sparsity, model, method, mode in itertools.product(
        given.sparsities, given.models, methods, MODES
    ):
        fields = {**methods[method], "sparsity": sparsity, "mode": mode}
        key = f"{model}, {method}, {sparsity:g}, {mode}"
        if key in data["cells"]:
            continue
        if time.monotonic() > end:
            break
        options = RunOptions(compute_dtype="float32", batch_tokens=given.batch_tokens)
        folder = dense_model(model, given.work, options)
        if model not in data["baselines"]:
            baseline = evaluate(_load(folder), texts, tokenizer=load_tokenizer(folder),
                                options=options)  # fmt: skip
            data["baselines"][model] = _languages(baseline)
        windows = _windows(folder, given, settings)
        data["cells"][key] = _cell(folder, fields, windows, texts, options)
        data["cells"][key] |= {"model": model, "method": method}
        _write(given.results, data)
    _write(given.results, data)
    print(plain(data["table"]["header"], data["table"]["rows"]))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with gnome/ and flores/")
    parser.add_argument("--work", type=Path, default=Path("out/modes"), help="where models go")
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results/modes.json"))
    parser.add_argument("--models", nargs="+", choices=list(KNOWN), default=list(KNOWN))
    parser.add_argument("--sparsities", nargs="+", type=float, default=SPARSITIES)
    parser.add_argument("--reconstruction", nargs="*", default=[], help="wanda with each of these")
    parser.add_argument("--windows", type=int, default=4)
    parser.add_argument("--length", type=int, default=256)
    parser.add_argument("--sentences", type=int, default=16)
    parser.add_argument("--unseen", default="", help="tags to report besides, with commas")
    parser.add_argument("--batch-tokens", type=int, default=RunOptions.batch_tokens)
    parser.add_argument("--minutes", type=float, default=1e6, help="start no cell after these")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    if given.reconstruction and "reconstruction" not in Recipe.model_fields:
        parser.error("--reconstruction: this version of mwanda has none")
    return given


def _cell(
    folder: Path,
    fields: Mapping[str, Any],
    windows: Windows,
    texts: TextSet,
    options: RunOptions,
) -> dict[str, Any]:
    """One prune of the model in memory and its evaluation."""
    model, tokenizer = _load(folder), load_tokenizer(folder)
    start = time.perf_counter()
    made = prune(model, calibration=windows, options=options, **fields)
    pruned = time.perf_counter()
    result = evaluate(model, texts, tokenizer=tokenizer, calibration=made.manifest.calibration,
                      options=options)  # fmt: skip
    return {
        "recipe": made.manifest.recipe,
        "sparsity": made.manifest.totals.sparsity,
        "threads": torch.get_num_threads(),
        "seconds": {"prune": pruned - start, "evaluate": time.perf_counter() - pruned},
        "languages": _languages(result),
    }


def _languages(result: Evaluation) -> dict[str, Any]:
    """The numbers of every sentence, rounded to what float32 gives."""
    return {
        tag: {
            "nll_per_sentence": row.nll_per_sentence,
            "sentence_nll": [round(value, 4) for value in row.sentence_nll],
        }
        for tag, row in result.languages.items()
    }


def _windows(folder: Path, given: argparse.Namespace, settings: Mapping[str, Any]) -> Windows:
    """The model's calibration windows, the same for every cell."""
    out = folder.with_name(f"{folder.name}-windows.safetensors")
    return draw_windows(
        str(folder),
        out,
        str(given.data / "gnome"),
        languages=settings["languages"],
        windows=settings["windows"],
        length=settings["window_length"],
        seed=settings["seed"],
        overwrite=True,
    )


def _load(folder: Path) -> Any:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
    return model.eval()


def _ids(source: Path, texts: TextSet) -> list[int]:
    """The record numbers of the sentences drawn, which are the same in every language."""
    first, group = next(iter(texts.texts.items()))
    known = {document.text: document.id for document in open_source(source).documents(first)}
    return [int(known[text] or 0) for text in group]


def _read(path: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What earlier runs left, which must have been run in the same way."""
    if not path.is_file():
        return {"settings": dict(settings), "baselines": {}, "cells": {}}
    data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    differing = sorted(key for key in settings if data["settings"].get(key) != settings[key])
    if differing:
        raise SystemExit(f"{path} was made with other {', '.join(differing)}: give other --results")
    return data


def _write(path: Path, data: dict[str, Any]) -> None:
    data["comparisons"] = list(_comparisons(data))
    data["table"] = _table(data)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    partial.replace(path)


def _comparisons(data: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Dense against sequential wherever both are there."""
    cells: dict[str, dict[str, Any]] = data["cells"]
    seen = data["settings"]["languages"]
    clusters = clusters_of(data["settings"]["ids"])
    for key, dense in cells.items():
        if not key.endswith(", dense"):
            continue
        sequential = cells.get(key.removesuffix("dense") + "sequential")
        if sequential is None:
            continue
        base = data["baselines"][dense["model"]]
        row: dict[str, Any] = {
            "model": dense["model"],
            "method": dense["method"],
            "sparsity": dense["recipe"]["sparsity"],
        }
        for name, cell in (("dense", dense), ("sequential", sequential)):
            rises = {
                tag: cell["languages"][tag]["nll_per_sentence"] / base[tag]["nll_per_sentence"] - 1
                for tag in base
            }
            row[name] = {
                "rises": rises,
                "mean": mean(rises[tag] for tag in seen),
                "mean_unseen": mean(r for tag, r in rises.items() if tag not in seen)
                if len(rises) > len(seen)
                else None,
                "worst": max(seen, key=rises.__getitem__),
                "seconds": cell["seconds"],
            }
        nll = [
            [table[tag]["sentence_nll"] for tag in seen]
            for table in (base, dense["languages"], sequential["languages"])
        ]
        found = difference(*nll, clusters=clusters)
        row["difference"] = found.as_dict()
        row["better"] = verdict(found, MODES[0], MODES[1])
        yield row


def _bounds(found: Mapping[str, Any]) -> str:
    if found["low"] is None:
        return "no interval"
    return f"{100 * found['low']:+.2f} to {100 * found['high']:+.2f}"


def _table(data: Mapping[str, Any]) -> dict[str, Any]:
    header = ["model", "method", "sparsity", "dense", "sequential", "dense − sequential, points",
              "better", "worst, dense", "worst, sequential"]  # fmt: skip
    unseen = any(row["dense"]["mean_unseen"] is not None for row in data["comparisons"])
    if unseen:
        header += ["unseen, dense", "unseen, sequential"]
    rows = []
    order = sorted(
        data["comparisons"],
        key=lambda row: (list(KNOWN).index(row["model"]), row["method"], row["sparsity"]),
    )
    for row in order:
        pair, found = [row[mode] for mode in MODES], row["difference"]
        rows.append(
            [
                find_weights(row["model"]).title,
                row["method"],
                f"{row['sparsity']:.0%}",
                *(f"{one['mean']:+.2%}" for one in pair),
                f"{100 * found['mean']:+.2f} ({_bounds(found)})",
                row["better"],
                *(f"{one['worst']} {one['rises'][one['worst']]:+.1%}" for one in pair),
            ]
        )
        if unseen:
            rows[-1] += [f"{one['mean_unseen']:+.2%}" for one in pair]
    return {"header": header, "rows": rows}


if __name__ == "__main__":
    main()
