"""Gemma 3 270M as folders, and calibration windows of real text, made once a work folder."""

from __future__ import annotations

import argparse
from pathlib import Path

from mwanda.cli.demo.packages import assemble
from processes import call

LANGUAGES = "en,de,fr,es,ru,zh,ja,ko,id,vi,fi,ta,te,gu,fa"


def dense_folder(given: argparse.Namespace) -> Path:
    """The unpruned model as a plain folder: ``--dense`` where it is given, else from its GGUF."""
    if getattr(given, "dense", None) is not None:
        return Path(given.dense)
    folder: Path = given.work / "dense"
    if not (folder / "config.json").is_file():
        gguf = assemble(given.work / "gemma-3-270m-q4_k_m.gguf")
        call(given, "prune", gguf, "--out", folder, "--sparsity", "0", "--criterion", "magnitude",
             "--json")  # fmt: skip
    return folder


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


def windows_file(given: argparse.Namespace) -> Path:
    """``--windows`` windows of ``--length`` tokens of ``DATA/gnome`` in each of fifteen languages,
    as one safetensors file."""
    path: Path = given.work / f"windows-{given.windows}x{given.length}.safetensors"
    if not path.is_file():
        call(given, "windows", dense_folder(given), "--out", path,
             "--calibration", given.data / "gnome", "--languages", LANGUAGES,
             "--windows", given.windows, "--window-length", given.length, "--json")  # fmt: skip
    return path
