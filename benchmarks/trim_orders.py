"""Prune then trim, or trim then prune: is it the same model, and what does each language lose?

``python benchmarks/trim_orders.py --data DATA`` does both with Gemma 3 270M, calibrated on
``DATA/gnome`` and scored on ``DATA/flores`` from id 1000.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import Any

import torch

import mwanda
from harness import Table, bar, kept, options_of, parsed, save
from mwanda.model.stored.reader import Checkpoint
from real_models import dense_folder, nats_of

RECIPES: dict[str, dict[str, Any]] = {
    "wanda": {"criterion": "wanda", "allocation": "uniform"},
    "the defaults": {},
    "best-quality": {"recipe": "best-quality", "background": "none"},  # of scripts that are cut
}

SETS = {"de,fr,sw": ("de,fr", tuple(RECIPES)), "zh,ja,ko": ("zh,ja,ko", ("wanda",))}
"""Languages kept -> those of the calibration text, and recipes."""
ORDERS = ("prune, trim", "trim, prune")


def measure(
    given: argparse.Namespace, name: str, languages: str, calibrated: str
) -> dict[str, Any]:
    """Both orders of one recipe: compared tensor by tensor, and scored."""
    dense, options = dense_folder(given), mwanda.RunOptions(overwrite=True)
    pruned, trimmed, first, second = (given.work / n for n in ("p", "t", "pt", "tp"))
    how: dict[str, Any] = {
        "calibration": given.data / "gnome", "languages": calibrated, "sparsity": 0.5,
        "windows": 8, "window_length": 256, "options": options,
        **RECIPES[name],
    }  # fmt: skip
    mwanda.prune(dense, out=pruned, **how)
    mwanda.trim(pruned, first, languages, options=options)
    mwanda.trim(dense, trimmed, languages, options=options)
    mwanda.prune(trimmed, out=second, **how)
    texts = mwanda.read_texts(given.data / "flores", languages, sentences=48, ids=(1000, None))
    nats = [nats_of(folder, texts, given.work) for folder in (dense, first, second)]
    with Checkpoint.open(first) as one, Checkpoint.open(second) as two:
        differ = [name for name in one.tensors if not torch.equal(one.read(name), two.read(name))]
        tensors = len(one.tensors)
    masks = mwanda.diff(first, second).total
    return {"tensors": tensors, "differ": differ, "masks": masks.share, "nats": nats}


def main() -> None:
    parser = options_of(__doc__, "trim_orders", "gnome/ and flores/")
    parser.add_argument("--dense", type=Path)
    given = parsed(parser)
    found: dict[str, Any] = {}
    tables, bars = [], []
    for languages, (calibrated, recipes) in SETS.items():
        rows = []
        for name in recipes:
            label = f"{name}, {languages}"
            make = partial(measure, given, name, languages, calibrated)
            one = found[label] = kept(given.work / f"{label}.json", make)
            dense, *orders = one["nats"]
            bars.append(bar(f"tensors of {one['tensors']} that differ: {label}",
                            len(one["differ"]), most=0))  # fmt: skip
            rows += [
                [name, order, *(f"{nats[tag] / dense[tag] - 1:+.3%}" for tag in dense)]
                for order, nats in zip(ORDERS, orders, strict=True)
            ]
        tables.append(Table(["recipe, 50 %", "order", *dense], rows))
    save(given.results, {"orders": found}, tables=tables, bars=bars)


if __name__ == "__main__":
    main()
