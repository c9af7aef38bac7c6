"""The real models of the benchmarks, from their packages to plain model folders."""

from __future__ import annotations

import argparse
import shutil
from dataclasses import replace
from pathlib import Path

from mwanda.demo.weights import KNOWN, assemble, find_weights, licences
from mwanda.jobs.prune import prune
from mwanda.manifest import MANIFEST
from mwanda.options import RunOptions


def add_model_option(parser: argparse.ArgumentParser) -> None:
    """``--model``, one of the known weights."""
    parser.add_argument("--model", choices=list(KNOWN), default="gemma3-270m")


def dense_model(name: str, work: Path, options: RunOptions) -> Path:
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
    options = replace(options, overwrite=True)
    prune(gguf, out=folder, sparsity=0.0, criterion="magnitude", options=options)
    return folder
