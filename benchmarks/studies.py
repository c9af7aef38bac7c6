"""Studies of real models: their files, their text, and how they are run."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

import mwanda
from mwanda.study.folder import StudyFolder
from mwanda.study.launch import failures_of
from mwanda.study.report.data import StudyResults
from mwanda.text.background import open_background
from mwanda.text.window_sizes import UDHR

FILES = Path(__file__).parent / "study_files"

RELATIVES = {
    "ar": "mt am ti aii", "bn": "as ccp", "he": "yi", "hi": "ur mr ne bho mai mag sa pa",
    "pl": "cs sk hsb", "sw": "bem lg ny nso rn rw sn ss st tn ts ve xh zu",
    "th": "lo shn blt kkh", "tr": "az tk uz kk ky tt ug sah cv", "yo": "ig fon ee",
}  # fmt: skip
"""Close ones, of languages that a background is to leave out."""


def read_file(name: str) -> dict[str, Any]:
    """A file of ``study_files``."""
    return dict(yaml.safe_load((FILES / f"{name}.yaml").read_text(encoding="utf-8")))


def placed(fields: Mapping[str, Any], data: Path) -> dict[str, Any]:
    """A study whose texts and tasks lie in a folder."""
    part = dict(fields["evaluation"])
    part["text"] = str(data / part["text"])
    if "tasks" in part:
        part["tasks"] = {name: str(data / path) for name, path in part["tasks"].items()}
    more = {"calibration": str(data / fields["calibration"])} if "calibration" in fields else {}
    return {**fields, **more, "evaluation": part}


def run_study(fields: Mapping[str, Any], work: Path, *, processes: int = 1) -> StudyResults:
    """Run a study of these fields in ``work/study``, or go on with it; what it measured."""
    work.mkdir(parents=True, exist_ok=True)
    document, folder = work / "study.yaml", work / "study"
    document.write_text(json.dumps(fields, indent=1), encoding="utf-8")  # JSON is YAML
    mwanda.start_study(document, folder, processes=processes)
    failures_of(StudyFolder(folder))
    return mwanda.read_study(folder).results


def background_without(tags: Collection[str], folder: Path) -> Path:
    """The bundled background without some languages and their close relatives, as a folder."""
    out = {*tags} | {one for tag in tags for one in RELATIVES.get(tag, "").split()}
    source = open_background(UDHR)
    folder.mkdir(parents=True, exist_ok=True)
    for tag in source.languages():
        if tag.split("-")[0] not in out:
            rows = [json.dumps({"text": one.text}) for one in source.documents(tag)]
            (folder / f"{tag}.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder


def counts(log: Sequence[Mapping[str, Any]], *events: str) -> Counter[str]:
    """How often each key of a study's log had one of these events."""
    return Counter(one["key"] for one in log if one["event"] in events)
