"""One saved file of statistics, then forty prunes without a forward, against runs from text.

Every run is a whole process of the command line, imports included, one after the other on the same
dense folder and token windows, and writes masks alone. Forty: five criteria, four allocations, two
sparsities. Four of the same cells are run from text too, in dense mode, each with its own pass, and
their time is taken times ten; their masks are compared with those from the file by hash. Two of the
forty (magnitude, uniform) need no text, so from text they would cost less than the rest.
"""

from __future__ import annotations

import argparse
import hashlib
from itertools import product
from pathlib import Path
from statistics import mean, median
from typing import Any

from harness import Table, options_of, parsed, save
from mwanda.pruning.folder.mask_file import MaskFile
from processes import call
from real_models import dense_folder, windows_file

CRITERIA = ("magnitude", "wanda", "m-wanda", "ria", "m-ria")
ALLOCATIONS = ("uniform", "owl", "cwl", "dlp")
SPARSITIES = (0.4, 0.6)

Cell = tuple[str, str, float]
CELLS: tuple[Cell, ...] = tuple(product(CRITERIA, ALLOCATIONS, SPARSITIES))
FROM_TEXT: tuple[Cell, ...] = (
    ("wanda", "uniform", 0.4),
    ("m-wanda", "cwl", 0.6),
    ("ria", "owl", 0.4),
    ("m-ria", "dlp", 0.6),
)
"""Every allocation once, every criterion that needs text once, both sparsities twice."""


def prune(
    given: argparse.Namespace, model: Path, cell: Cell, *evidence: str | Path
) -> dict[str, Any]:
    """One prune of a cell: the process, and one hash of all its masks."""
    criterion, allocation, sparsity = cell
    out = given.work / "masks.safetensors"
    process = call(given, "prune", model, *evidence, "--criterion", criterion,
                   "--allocation", allocation, "--sparsity", sparsity, "--masks-only",
                   "--out", out, "--overwrite", "--json")  # fmt: skip
    print(f"{' '.join(map(str, cell))}, {evidence[0]}: {process.seconds:.1f} s", flush=True)
    linears = MaskFile.open(out).manifest.linears
    hashes = " ".join(f"{name} {linears[name].mask_sha256}" for name in sorted(linears))
    masks = hashlib.sha256(hashes.encode()).hexdigest()
    return {"cell": cell, "masks": masks, **vars(process)}


def main() -> None:
    given = parsed(options_of(__doc__, "statistics_reuse", "gnome/"))
    model = dense_folder(given)
    windows = windows_file(given, model)
    file = given.work / "statistics.safetensors"
    taken = call(given, "stats", model, "--calibration", windows, "--out", file,
                 "--overwrite", "--compute-dtype", "float32", "--json")  # fmt: skip
    print(f"statistics: {taken.seconds:.1f} s, {taken.output['bytes'] / 1e6:.1f} MB", flush=True)
    reused = [prune(given, model, cell, "--statistics", file) for cell in CELLS]
    how = ("--calibration", windows, "--mode", "dense", "--compute-dtype", "float32")
    text = [prune(given, model, cell, *how) for cell in FROM_TEXT]

    scale = len(reused) / len(text)
    seconds, of_text = ([one["seconds"] for one in runs] for runs in (reused, text))
    whole, apart = taken.seconds + sum(seconds), sum(of_text) * scale
    rows = [
        ["statistics, once", "1", f"{taken.seconds:.1f}", f"{taken.seconds:.1f}"],
        ["prune from them", f"{len(reused)}", f"{median(seconds):.1f}", f"{sum(seconds):.1f}"],
        ["both", "", "", f"{whole:.1f}"],
        [f"prune from text, {len(text)} of them times {scale:g}", f"{len(text)}",
         f"{mean(of_text):.1f}", f"{apart:.1f}"],
    ]  # fmt: skip
    header = ["whole processes", "runs", "seconds each", "seconds in all"]
    found = {"statistics": vars(taken), "reused": reused, "text": text, "ratio": whole / apart}
    save(given.results, found, tables=[Table(header, rows)])
    print(f"{len(reused)} and the statistics over as many from text: {whole / apart:.3f}")
    masks = {one["cell"]: one["masks"] for one in reused}
    same = sum(one["masks"] == masks[one["cell"]] for one in text)
    print(f"masks alike, of the cells run both ways: {same} of {len(text)}")


if __name__ == "__main__":
    main()
