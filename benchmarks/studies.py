"""Studies of real models that are calibrated on ``DATA/gnome`` and scored on ``DATA/flores``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mwanda.cli.demo.compared import compared_methods
from mwanda.study.folder import StudyFolder
from mwanda.study.launch import failures_of, start_study
from mwanda.study.report.data import StudyResults, load_results
from mwanda.system.progress import progress_bar

SEEN = ["en", "de", "fr", "es", "ru", "zh", "ja", "ko", "id", "vi", "fi", "ta", "te", "gu", "fa"]
UNSEEN = ["ar", "hi", "sw", "th", "bn", "tr", "he", "pl"]
WINDOWS, LENGTH = 8, 256
METHODS = compared_methods(SEEN, WINDOWS)
"""Fields of each method's recipe; windows by the same number of tokens in all."""


def run_study(fields: Mapping[str, Any], work: Path, *, processes: int = 1) -> StudyResults:
    """Run a study in ``work/study``, or go on with it, and read what it has measured.

    Args:
        fields: of ``study.yaml``.

    Raises:
        MwandaError: a mistake in them, or cells that failed.
    """
    work.mkdir(parents=True, exist_ok=True)
    document, folder = work / "study.yaml", StudyFolder(work / "study")
    document.write_text(json.dumps(fields, indent=1), encoding="utf-8")  # JSON is YAML
    with progress_bar() as progress:
        start_study(document, folder.path, processes=processes, progress=progress)
    failures_of(folder)
    return load_results(folder)


def seconds_of(results: StudyResults, folder: Path) -> dict[str, float]:
    """``model, method, sparsity`` -> what its cells took, statistics of the first ones included."""
    events = StudyFolder(folder / "study").events()
    took = {event["key"]: event["seconds"] for event in events if event["event"] == "done"}
    return {entry.label: took[entry.key] for entry in results.plan.entries if entry.key in took}
