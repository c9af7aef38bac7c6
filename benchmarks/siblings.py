"""Does the mask of a base model fit a fine-tune of it?

Gemma 3 270M pruned to 50 % on calibration windows of fifteen languages gives a file of masks; the
dense model is trained ``--steps`` steps on other windows of the same text (as in ``finetune.py``),
saved, and given those masks by ``mwanda mask apply``. Loss is nats per token on sentences of FLORES
with ids below 1000. Beside the size of the file: what zstd makes of it.
"""

from __future__ import annotations

import argparse
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import torch
import zstandard

from finetune import (
    add_training_options,
    load_model,
    losses,
    plain_steps,
    pruned_folder,
    windows,
)
from harness import Table, bar, kept, mask_difference, options_of, parsed, save
from processes import call
from real_models import dense_folder


def sibling_folder(given: argparse.Namespace, dense: Path, rows: torch.Tensor) -> Path:
    """The dense model, trained a little, as somebody else would have saved it."""
    folder: Path = given.work / "sibling"
    if not folder.is_dir():
        torch.manual_seed(given.seed)
        model = load_model(dense).train()
        plain_steps(model, rows, given, given.steps)
        made = given.work / "sibling.partial"
        shutil.copytree(dense, made, ignore=shutil.ignore_patterns("mwanda.json", "README.md"))
        model.to(torch.bfloat16).save_pretrained(made)
        made.rename(folder)
    return folder


def moved(given: argparse.Namespace, pruned: Path, sibling: Path) -> dict[str, Any]:
    """The masks out of one folder and onto the other, verified."""
    file, out = given.work / "masks.safetensors", given.work / "sibling-masked"
    over = ("--overwrite", "--json")
    extract = call(given, "mask", "extract", pruned, "--out", file, *over)
    apply = call(given, "mask", "apply", file, sibling, "--out", out, *over)
    checked = call(given, "verify", out, "--json")
    raw = file.read_bytes()
    return {
        "bytes": len(raw),
        "zstd_bytes": len(zstandard.ZstdCompressor(level=19).compress(raw)),
        "extract": extract.as_dict(),
        "apply": apply.as_dict(),
        "problems": checked.output["problems"],
        "masks": mask_difference(pruned, out),
    }


def losses_of(folder: Path, ids: dict[str, torch.Tensor]) -> dict[str, float]:
    return losses(load_model(folder), ids)


def main() -> None:
    parser = options_of(__doc__, "siblings")
    add_training_options(parser)
    parser.add_argument("--steps", type=int, default=40)
    given = parsed(parser)
    torch.set_num_threads(given.threads)
    dense = dense_folder(given)
    text = windows(given, dense)
    pruned = pruned_folder(given, dense, text["calibration"])
    sibling = sibling_folder(given, dense, torch.cat(list(text["training"].values())))
    made = moved(given, pruned, sibling)
    folders = {"base": dense, "base, pruned": pruned, "sibling": sibling,
               "sibling, base's masks": given.work / "sibling-masked"}  # fmt: skip
    found = {
        name: kept(
            given.work / f"losses-{path.name}.json",
            partial(losses_of, path, text["held out"]),
        )
        for name, path in folders.items()
    }
    means = {name: sum(row.values()) / len(row) for name, row in found.items()}
    rows = [[tag, *(f"{row[tag]:.3f}" for row in found.values())] for tag in found["base"]]
    rows.append(["mean", *(f"{value:.3f}" for value in means.values())])
    rise = means["sibling, base's masks"] - means["sibling"]
    own = means["base, pruned"] - means["base"]
    file = [[f"{made['bytes'] / 1e6:.2f}", f"{made['zstd_bytes'] / 1e6:.2f}",
             f"{made['extract']['seconds']:.1f}", f"{made['apply']['seconds']:.1f}"]]  # fmt: skip
    save(
        given.results,
        {"settings": {name: getattr(given, name) for name in ("steps", "batch", "length", "rate",
                                                              "held_out", "seed", "threads")},
         "moved": made, "losses": found},
        tables=[
            Table(["nats per token", *found], rows),
            Table(["masks, MB", "under zstd -19, MB", "extract, s", "apply, s"], file),
        ],
        bars=[
            bar("problems that verify finds", len(made["problems"]), most=0),
            bar("zeros in other places than the base's", made["masks"]["differing"], most=0),
            bar("rise of the sibling's loss / rise of the base's", rise / own, most=1.1),
        ],
    )  # fmt: skip


if __name__ == "__main__":
    main()
