"""The study of ``docs/study``: three methods, five sparsities, two seeds, 23 languages.

Beside them stands what one could do instead: the dense model quantised to Q8_0 and Q4_0.

Calibrates on ``DATA/gnome``, with as many tokens for one language as for fifteen, and scores
``DATA/flores`` ids ≥ 1000, the same seeded sentences for every model. What there is already in
``--work`` is not computed again.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

from languages import LENGTH, SEEN, UNSEEN, WINDOWS
from mwanda.options import RunOptions
from mwanda.report.study.write import write_report
from mwanda.study.launch import start_study
from real_models import add_model_option, dense_model

SPARSITIES = [0.2, 0.3, 0.4, 0.5, 0.6]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with gnome/ and flores/")
    parser.add_argument("--work", type=Path, default=Path("out/study"))
    add_model_option(parser)
    parser.add_argument("--sentences", type=int, default=48)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--compute-dtype", default="auto")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--report", type=Path, help="also put the report there, as docs/study")
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    dense = dense_model(given.model, given.work, RunOptions())
    document = given.work / "study.yaml"
    fields = study(given.model, dense, given.data, given.sentences, given.seeds)
    fields["run"] = {"compute_dtype": given.compute_dtype}
    document.write_text(json.dumps(fields, indent=1), encoding="utf-8")  # JSON is YAML
    out = given.work / "study"
    print(start_study(document, out, processes=given.processes).counts)
    if given.report is not None:
        made = given.work / "report"
        write_report(out, made, overwrite=True)
        shutil.rmtree(given.report, ignore_errors=True)
        shutil.copytree(made, given.report)


def study(name: str, dense: Path, data: Path, sentences: int, seeds: list[int]) -> dict[str, Any]:
    """The fields of ``study.yaml``."""
    wanda = {"criterion": "wanda", "allocation": "uniform"}
    return {
        "models": {name: str(dense)},
        "calibration": str(data / "gnome"),
        "languages": {"English": ["en"], "fifteen": SEEN},
        "methods": {
            "wanda, English": {**wanda, "languages": "English", "windows": WINDOWS * len(SEEN)},
            "wanda, all": {**wanda, "languages": "fifteen"},
            "m-wanda": {"languages": "fifteen"},
        },
        "quantised": ["Q8_0", "Q4_0"],
        "sparsities": SPARSITIES,
        "seeds": seeds,
        "recipe": {"windows": WINDOWS, "window_length": LENGTH},
        "evaluation": {
            "text": str(data / "flores"),
            "languages": SEEN + UNSEEN,
            "sentences": sentences,
            "ids": "1000:",
            "neighbours": 5,
        },
    }


if __name__ == "__main__":
    main()
