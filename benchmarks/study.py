"""The study of ``docs/study``: three methods, five sparsities, two seeds, 23 languages.

Beside them stands what one could do instead: the dense model quantised to Q8_0 and Q4_0.

Calibrates on ``DATA/gnome``, with as many tokens for one language as for fifteen, and scores
``DATA/flores`` ids ≥ 1000, the same seeded sentences for every model. What there is already in
``--work`` is not computed again. The table of all methods and sparsities goes to ``--results``.
"""

from __future__ import annotations

import argparse
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

from harness import RESULTS, Table, save
from mwanda.study.report.cells import bounds_of, rise_of, worst_of
from mwanda.study.report.data import Group, ModelResults
from mwanda.study.report.write import write_report
from mwanda.system.run_options import RunOptions
from mwanda.system.text_tables import plain
from real_models import add_model_option, dense_model
from studies import LENGTH, SEEN, UNSEEN, WINDOWS, run_study

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
    parser.add_argument("--results", type=Path, default=RESULTS / "study.json")
    parser.add_argument("--report", type=Path, help="also put the report there, as docs/study")
    given = parser.parse_args()
    dense = dense_model(given.model, given.work, RunOptions())
    fields = study(given.model, dense, given.data, given.sentences, given.seeds)
    fields["run"] = {"compute_dtype": given.compute_dtype}
    (model,) = run_study(fields, given.work, processes=given.processes).models
    if given.report is not None:
        made = given.work / "report"
        write_report(given.work / "study", made, overwrite=True)
        shutil.rmtree(given.report, ignore_errors=True)
        shutil.copytree(made, given.report)
    table = costs(model)
    save(given.results, {"table": asdict(table)})
    print(plain(table.header, table.rows))


def costs(model: ModelResults) -> Table:
    """Every method at every sparsity in a row, and the quantised models beside them."""
    groups: list[tuple[str, Group]] = [(f"{g.sparsity:.0%}", g) for g in model.in_order]
    groups += [("0% (quantised)", group) for group in model.quantised.values()]
    rows = []
    for sparsity, group in groups:
        loss = model.loss(group)
        seen, unseen = (loss.over(tags) or 0.0 for tags in (model.seen_by_any, model.unseen_by_all))
        rows.append([
            sparsity, group.method, rise_of(loss.mean), bounds_of(loss.mean), f"{seen:+.1%}",
            f"{unseen:+.1%}", worst_of(loss), f"{loss.certain} of {len(model.languages)}",
        ])  # fmt: skip
    header = ["sparsity", "method", "mean rise", "95 % interval", "seen", "unseen", "worst",
              "languages worse"]  # fmt: skip
    return Table(header, rows)


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
            "m-wanda": {"languages": "fifteen", "allocation": "cwl"},
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
