"""Studies of real models that are calibrated on ``DATA/gnome`` and scored on ``DATA/flores``."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

import mwanda
from mwanda.evaluation.texts import TextSet
from mwanda.study.folder import StudyFolder
from mwanda.study.launch import failures_of
from mwanda.study.report.data import StudyResults

FILES = Path(__file__).parent / "study_files"
SEEN = ["en", "de", "fr", "es", "ru", "zh", "ja", "ko", "id", "vi", "fi", "ta", "te", "gu", "fa"]
UNSEEN = ["ar", "hi", "sw", "th", "bn", "tr", "he", "pl"]


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
