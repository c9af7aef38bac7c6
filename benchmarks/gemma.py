"""Gemma 3 270M as a dense folder, and calibration windows of real text, made once a work folder."""

from __future__ import annotations

from pathlib import Path

from harness import mwanda, run
from mwanda.cli.demo.packages import assemble

__all__ = ["LANGUAGES", "dense_folder", "windows_file"]

LANGUAGES = "en,de,fr,es,ru,zh,ja,ko,id,vi,fi,ta,te,gu,fa"


def dense_folder(work: Path, python: str) -> Path:
    """The unpruned model as a plain folder, from its GGUF."""
    folder = work / "dense"
    if not (folder / "config.json").is_file():
        gguf = assemble(work / "gemma-3-270m-q4_k_m.gguf")
        run([*mwanda(python), "prune", gguf, "--out", folder, "--sparsity", "0",
             "--criterion", "magnitude", "--json"])  # fmt: skip
    return folder


def windows_file(work: Path, python: str, data: Path, windows: int, length: int) -> Path:
    """So many windows of ``DATA/gnome`` in each of fifteen languages, as one safetensors file."""
    path = work / f"windows-{windows}x{length}.safetensors"
    if not path.is_file():
        run([*mwanda(python), "windows", dense_folder(work, python), "--out", path,
             "--calibration", data / "gnome", "--languages", LANGUAGES,
             "--windows", str(windows), "--window-length", str(length), "--json"])  # fmt: skip
    return path
