"""Small studies on tiny models and made-up parallel text."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.text import write_corpus

Tiny = Callable[..., Path]
Fields = dict[str, Any]


@dataclass(frozen=True)
class Lab:
    """Where studies are made: models, text to calibrate on, other text to score."""

    models: Mapping[str, Path]
    calibration: Path
    text: Path
    root: Path

    def document(self, **fields: Any) -> Path:
        """A study of two methods at two sparsities, its fields changed; None drops one."""
        found: Fields = {
            "models": {name: str(path) for name, path in self.models.items()},
            "calibration": str(self.calibration),
            "criteria": ["wanda", "magnitude"],
            "allocations": ["uniform"],
            "sparsities": [0.25, 0.5],
            "recipe": {"windows": 2, "window_length": 32},
            "evaluation": {"text": str(self.text), "languages": ["de", "hi", "sw"]},
        }
        found |= fields
        path = self.root / "study.yaml"
        kept = {name: value for name, value in found.items() if value is not None}
        path.write_text(json.dumps(kept), encoding="utf-8")  # JSON is YAML
        return path

    @property
    def out(self) -> Path:
        return self.root / "study"


def make_lab(tiny: Tiny, root: Path) -> Lab:
    """One tiny model, text of German and Swahili, and parallel sentences of Hindi too."""
    write_corpus(root / "calibration", ["de", "sw"], lines=60)
    write_corpus(root / "lines", ["de", "sw", "hi"], lines=4, seed=9)
    (root / "text").mkdir()
    for path in sorted((root / "lines").iterdir()):
        rows = path.read_text(encoding="utf-8").splitlines()
        text = "".join(json.dumps({"id": 7 * n, "text": row}) + "\n" for n, row in enumerate(rows))
        (root / "text" / f"{path.stem}.jsonl").write_text(text, encoding="utf-8")
    return Lab({"tiny": tiny("llama")}, root / "calibration", root / "text", root)


def results(folder: Path) -> dict[str, bytes]:
    """Every result file and its bytes."""
    return {path.name: path.read_bytes() for path in sorted((folder / "cells").iterdir())}


def events(folder: Path, event: str) -> list[str]:
    """Keys of an event, in the log's order."""
    lines = (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()
    return [line["key"] for line in map(json.loads, lines) if line["event"] == event]
