"""Is one pass enough? Dense against sequential statistics, method by method and by sparsity.

A study calibrated on ``DATA/gnome`` in 15 languages, scored on a seeded subset of the tuning split,
``DATA/flores`` ids below 1000, everything in float32. It can be stopped anywhere and goes on in
``--work``, also with more models, sparsities or reconstructions.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from harness import RESULTS, write_json
from mwanda.cli.demo.packages import KNOWN, find_weights
from mwanda.evaluation.articles import ARTICLE
from mwanda.evaluation.language import LanguageResult, mean
from mwanda.evaluation.paired import difference, verdict
from mwanda.study.report.data import Group, ModelResults
from mwanda.system.run_options import RunOptions
from mwanda.system.text_tables import plain
from real_models import dense_model
from studies import SEEN, run_study, seconds_of

METHODS: dict[str, dict[str, Any]] = {
    "wanda": {"criterion": "wanda", "allocation": "uniform"},
    "m-wanda": {"criterion": "m-wanda", "allocation": "cwl"},
}
MODES = ["dense", "sequential"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with gnome/ and flores/")
    parser.add_argument("--work", type=Path, default=Path("out/modes"), help="where models go")
    parser.add_argument("--results", type=Path, default=RESULTS / "modes.json")
    parser.add_argument("--models", nargs="+", choices=list(KNOWN), default=list(KNOWN))
    parser.add_argument("--sparsities", nargs="+", type=float, default=[0.3, 0.4, 0.5, 0.6])
    parser.add_argument("--reconstruction", nargs="*", default=[], help="wanda with each of these")
    parser.add_argument("--windows", type=int, default=4)
    parser.add_argument("--length", type=int, default=256)
    parser.add_argument("--sentences", type=int, default=16)
    parser.add_argument("--unseen", default="", help="tags to report besides, with commas")
    parser.add_argument("--batch-tokens", type=int, default=RunOptions.batch_tokens)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    methods = dict(METHODS)
    for name in given.reconstruction:
        methods[f"wanda + {name}"] = {**METHODS["wanda"], "reconstruction": name}
    results = run_study(study(given, methods), given.work, processes=given.processes)
    took = seconds_of(results, given.work)
    comparisons = [
        row for model in results.models for row in compared(model, list(methods), given.seed, took)
    ]
    data: dict[str, Any] = {
        "settings": {
            "calibration": "GNOME user help", "languages": SEEN, "windows": given.windows,
            "window_length": given.length, "seed": given.seed, "sentences": given.sentences,
            "ids": results.plan.ids, "text_sha256": results.plan.text_sha256,
        },
        "baselines": {model.name: nats(model.baseline) for model in results.models},
        "cells": {
            f"{model.name}, {group.method}, {group.sparsity:g}": nats(group.results)
            for model in results.models
            for group in model.in_order
        },
        "comparisons": comparisons,
        "table": table(comparisons),
    }  # fmt: skip
    write_json(given.results, data)
    print(plain(data["table"]["header"], data["table"]["rows"]))


def study(given: argparse.Namespace, methods: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """The fields of ``study.yaml``."""
    options = RunOptions(compute_dtype="float32")
    return {
        "models": {name: str(dense_model(name, given.work, options)) for name in given.models},
        "calibration": str(given.data / "gnome"),
        "languages": SEEN,
        "methods": {
            f"{name}, {mode}": {**fields, "mode": mode}
            for name, fields in methods.items()
            for mode in MODES
        },
        "sparsities": given.sparsities,
        "seeds": [given.seed],
        "recipe": {"windows": given.windows, "window_length": given.length},
        "evaluation": {
            "text": str(given.data / "flores"),
            "languages": SEEN + [tag for tag in given.unseen.split(",") if tag],
            "sentences": given.sentences,
            "seed": given.seed,
            "ids": "0:999",
            "neighbours": ARTICLE,
        },
        "run": {"compute_dtype": "float32", "batch_tokens": given.batch_tokens},
    }


def nats(rows: Mapping[str, LanguageResult]) -> dict[str, list[float]]:
    """Language -> of every sentence, rounded to what float32 gives."""
    return {tag: [round(value, 4) for value in row.sentence_nll] for tag, row in rows.items()}


def compared(
    model: ModelResults, methods: list[str], seed: int, took: Mapping[str, float]
) -> Iterator[dict[str, Any]]:
    """Dense against sequential, method by method and by sparsity."""
    base = model.baseline

    def told(group: Group) -> dict[str, Any]:
        rises = {
            tag: row.nll_per_sentence / base[tag].nll_per_sentence - 1
            for tag, row in group.results.items()
        }
        unseen = [rise for tag, rise in rises.items() if tag not in SEEN]
        label = f"{model.name}, {group.method}, {group.sparsity:g}, seed {seed}"
        return {
            "rises": rises,
            "mean": mean(rises[tag] for tag in SEEN),
            "mean_unseen": mean(unseen) if unseen else None,
            "worst": max(SEEN, key=rises.__getitem__),
            "seconds": took[label],
        }

    for method in methods:
        for pair in zip(*(model.of(f"{method}, {mode}") for mode in MODES), strict=True):
            rows = [[found[tag].sentence_nll for tag in SEEN]
                    for found in (base, *(group.results for group in pair))]  # fmt: skip
            found = difference(*rows, clusters=model.clusters)
            yield {
                "model": model.name,
                "method": method,
                "sparsity": pair[0].sparsity,
                **{mode: told(group) for mode, group in zip(MODES, pair, strict=True)},
                "difference": found.as_dict(),
                "better": verdict(found, *MODES),
            }


def table(comparisons: list[dict[str, Any]]) -> dict[str, Any]:
    """A row for every comparison."""
    header = ["model", "method", "sparsity", "dense", "sequential", "dense − sequential, points",
              "better", "worst, dense", "worst, sequential"]  # fmt: skip
    unseen = any(row["dense"]["mean_unseen"] is not None for row in comparisons)
    if unseen:
        header += ["unseen, dense", "unseen, sequential"]
    rows = []
    order = list(KNOWN)
    for row in sorted(
        comparisons, key=lambda row: (order.index(row["model"]), row["method"], row["sparsity"])
    ):
        pair, found = [row[mode] for mode in MODES], row["difference"]
        bounds = "no interval"
        if found["low"] is not None:
            bounds = f"{100 * found['low']:+.2f} to {100 * found['high']:+.2f}"
        rows.append([
            find_weights(row["model"]).title, row["method"], f"{row['sparsity']:.0%}",
            *(f"{one['mean']:+.2%}" for one in pair),
            f"{100 * found['mean']:+.2f} ({bounds})", row["better"],
            *(f"{one['worst']} {one['rises'][one['worst']]:+.1%}" for one in pair),
            *(f"{one['mean_unseen']:+.2%}" for one in pair if unseen),
        ])  # fmt: skip
    return {"header": header, "rows": rows}


if __name__ == "__main__":
    main()
