"""Real models: from their packages to folders, windows of real text, studies and scores."""

from __future__ import annotations

import argparse
import json
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

import mwanda
from mwanda.cli.demo.packages import KNOWN, assemble, find_weights, licences
from mwanda.evaluation.texts import TextSet
from mwanda.pruning.folder.manifest import MANIFEST
from mwanda.study.folder import StudyFolder
from mwanda.study.launch import failures_of
from mwanda.study.report.data import StudyResults
from processes import call

FILES = Path(__file__).parent / "study_files"
SEEN = ["en", "de", "fr", "es", "ru", "zh", "ja", "ko", "id", "vi", "fi", "ta", "te", "gu", "fa"]
UNSEEN = ["ar", "hi", "sw", "th", "bn", "tr", "he", "pl"]


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
    options = mwanda.RunOptions(overwrite=True, journal=False)
    mwanda.prune(gguf, out=folder, sparsity=0.0, criterion="magnitude", options=options)
    return folder


def dense_folder(given: argparse.Namespace) -> Path:
    """Gemma 3 270M unpruned: ``--dense`` where it is given."""
    if getattr(given, "dense", None) is not None:
        return Path(given.dense)
    return dense_model("gemma3-270m", given.work)


def pruned_folder(given: argparse.Namespace, pruning: str = "0.5") -> Path:
    """Gemma 3 270M pruned by magnitude to a sparsity or N:M, for what does not depend on which
    weights stay."""
    folder: Path = given.work / f"pruned-{pruning.replace(':', 'of')}"
    if not (folder / MANIFEST).is_file():
        how = "--pattern" if ":" in pruning else "--sparsity"
        call(given, "prune", dense_folder(given), "--out", folder, "--criterion", "magnitude",
             how, pruning, "--json")  # fmt: skip
    return folder


def windows_file(
    given: argparse.Namespace,
    model: Path,
    windows: int = 8,
    length: int = 256,
    languages: Sequence[str] = SEEN,
) -> Path:
    """So many windows of such a length of ``DATA/gnome`` in each language, as one safetensors file
    for a model."""
    path: Path = given.work / f"{model.name}-{len(languages)}x{windows}x{length}.safetensors"
    if not path.is_file():
        call(given, "windows", model, "--out", path, "--calibration", given.data / "gnome",
             "--languages", ",".join(languages), "--windows", windows,
             "--window-length", length, "--json")  # fmt: skip
    return path


def read_file(name: str) -> dict[str, Any]:
    """A file of ``study_files``."""
    found: dict[str, Any] = yaml.safe_load((FILES / f"{name}.yaml").read_text(encoding="utf-8"))
    return found


def placed(fields: Mapping[str, Any], data: Path) -> dict[str, Any]:
    """A study whose texts and tasks lie in a folder."""
    part = dict(fields["evaluation"])
    part["text"] = str(data / part["text"])
    if "tasks" in part:
        part["tasks"] = {name: str(data / path) for name, path in part["tasks"].items()}
    more = {"calibration": str(data / fields["calibration"])} if "calibration" in fields else {}
    return {**fields, **more, "evaluation": part}


def run_study(fields: Mapping[str, Any], work: Path, *, processes: int = 1) -> StudyResults:
    """Run a study of these fields in ``work/study``, or go on with it, and read what it measured.

    Raises:
        MwandaError: a mistake in them, or cells that failed.
    """
    work.mkdir(parents=True, exist_ok=True)
    document, folder = work / "study.yaml", work / "study"
    document.write_text(json.dumps(fields, indent=1), encoding="utf-8")  # JSON is YAML
    mwanda.start_study(document, folder, processes=processes)
    failures_of(StudyFolder(folder))
    return mwanda.read_study(folder).results


def nats_of(folder: Path, texts: TextSet, work: Path) -> dict[str, float]:
    """Language -> nats a sentence under a model; scores are kept in ``work/scores``."""
    found = mwanda.evaluate(folder, texts, cache=work / "scores").languages
    return {tag: one.nll_per_sentence for tag, one in found.items()}


def counts(log: Sequence[Mapping[str, Any]], *events: str) -> Counter[str]:
    """How often each key of a study's log had one of these events."""
    return Counter(one["key"] for one in log if one["event"] in events)
