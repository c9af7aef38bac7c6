"""What each language loses: wanda on English, wanda on all languages, m-wanda, at one sparsity.

A study calibrated on ``DATA/gnome`` and scored on ``DATA/flores`` ids ≥ 1000, on a seeded subset of
sentences, everything in float32. It can be stopped anywhere and goes on in ``--work``.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from harness import RESULTS, write_json
from mwanda.cli.demo.packages import find_weights
from mwanda.evaluation.results import Comparison
from mwanda.study.report.side_by_side import evaluation_of, method_rows
from mwanda.system.run_options import RunOptions
from mwanda.system.text_tables import markdown, plain
from real_models import add_model_option, dense_model
from studies import LENGTH, METHODS, SEEN, UNSEEN, run_study, seconds_of


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with gnome/ and flores/")
    parser.add_argument("--work", type=Path, default=Path("out/languages"), help="where models go")
    add_model_option(parser)
    parser.add_argument("--mode", choices=["sequential", "dense"], default="dense")
    parser.add_argument("--results", type=Path, help="default: benchmarks/results/languages*.json")
    parser.add_argument("--sparsity", type=float, default=0.5)
    parser.add_argument("--sentences", type=int, default=48)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=1)
    given = parser.parse_args()
    suffix = "" if given.model == "gemma3-270m" else "-" + given.model.split("-")[0]
    results_file = given.results or RESULTS / f"languages{suffix}.json"
    dense = dense_model(given.model, given.work, RunOptions(compute_dtype="float32"))
    work = given.work / given.model
    study = {
        "models": {given.model: str(dense)},
        "calibration": str(given.data / "gnome"),
        "methods": METHODS,
        "sparsities": [given.sparsity],
        "seeds": [given.seed],
        "recipe": {"window_length": LENGTH, "mode": given.mode},
        "evaluation": {
            "text": str(given.data / "flores"),
            "languages": SEEN + UNSEEN,
            "sentences": given.sentences,
            "seed": given.seed,
            "ids": "1000:",
        },
        "run": {"compute_dtype": "float32"},
    }
    found = run_study(study, work, processes=given.processes)
    (model,) = found.models
    baseline = evaluation_of(found, None)
    results = {group.method: evaluation_of(found, group) for group in model.at(given.sparsity)}
    header, rows = method_rows(baseline, results, SEEN)
    print(plain(header, rows))
    print("\n" + markdown(header, rows))
    data = {
        "model": find_weights(given.model).title,
        "mode": given.mode,
        "sentences": given.sentences,
        "seed": given.seed,
        "text_sha256": baseline.text_sha256,
        "recipes": {g.method: g.first["settings"]["recipe"] for g in model.at(given.sparsity)},
        "seconds": seconds_of(found, work),
        "comparisons": {
            name: Comparison.of(baseline, result).as_dict() for name, result in results.items()
        },
        "table": {"header": header, "rows": rows},
    }
    write_json(results_file, data)


if __name__ == "__main__":
    main()
