"""What each language loses: wanda on English, wanda on all languages, m-wanda, at one sparsity.

Calibrates on ``DATA/gnome`` and reports ``DATA/flores`` ids ≥ 1000 on a seeded subset of sentences,
the same for every model. Everything is computed in float32.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from mwanda.demo.weights import assemble
from mwanda.evaluation.results import Comparison
from mwanda.jobs.evaluate import evaluate, read_texts
from mwanda.jobs.prune import prune
from mwanda.options import RunOptions
from mwanda.progress import progress_bar
from mwanda.report.methods import method_rows
from mwanda.report.tables import markdown, plain

SEEN = ["en", "de", "fr", "es", "ru", "zh", "ja", "ko", "id", "vi", "fi", "ta", "te", "gu", "fa"]
UNSEEN = ["ar", "hi", "sw", "th", "bn", "tr", "he", "pl"]
WINDOWS, LENGTH = 8, 256


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with gnome/ and flores/")
    parser.add_argument("--work", type=Path, default=Path("out/languages"), help="where models go")
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results/languages.json"))
    parser.add_argument("--sparsity", type=float, default=0.5)
    parser.add_argument("--sentences", type=int, default=48)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    methods: dict[str, dict[str, Any]] = {
        "wanda, English": {
            "criterion": "wanda",
            "allocation": "uniform",
            "languages": ["en"],
            "windows": WINDOWS * len(SEEN),
        },
        "wanda, all": {
            "criterion": "wanda",
            "allocation": "uniform",
            "languages": SEEN,
            "windows": WINDOWS,
        },
        "m-wanda": {"languages": SEEN, "windows": WINDOWS},
    }
    texts = read_texts(
        given.data / "flores",
        SEEN + UNSEEN,
        sentences=given.sentences,
        seed=given.seed,
        ids=(1000, None),
    )
    seconds: dict[str, dict[str, float]] = {}
    results, recipes = {}, {}
    with progress_bar() as progress:
        options = RunOptions(overwrite=True, compute_dtype="float32", progress=progress)
        dense = given.work / "dense"
        gguf = assemble(given.work / "gemma-3-270m-q4_k_m.gguf")
        prune(gguf, out=dense, sparsity=0.0, criterion="magnitude", options=options)
        baseline = evaluate(dense, texts, options=options)
        for name, fields in methods.items():
            start = time.perf_counter()
            made = prune(
                dense,
                out=given.work / name.replace(", ", "-"),
                calibration=given.data / "gnome",
                sparsity=given.sparsity,
                mode="sequential",
                window_length=LENGTH,
                seed=given.seed,
                options=options,
                **fields,
            )
            pruned = time.perf_counter()
            results[name] = evaluate(made.folder, texts, options=options)
            recipes[name] = made.manifest.recipe
            seconds[name] = {
                "prune": pruned - start,
                "evaluate": time.perf_counter() - pruned,
            }
    header, rows = method_rows(baseline, results, SEEN)
    print(plain(header, rows))
    print("\n" + markdown(header, rows))
    data = {
        "sentences": given.sentences,
        "seed": given.seed,
        "text_sha256": texts.sha256,
        "recipes": recipes,
        "seconds": seconds,
        "comparisons": {
            name: Comparison.of(baseline, result).as_dict() for name, result in results.items()
        },
    }
    given.results.parent.mkdir(parents=True, exist_ok=True)
    given.results.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
