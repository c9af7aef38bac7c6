"""What each language loses: wanda on English, wanda on all languages, m-wanda, at one sparsity.

Calibrates on ``DATA/gnome`` and reports ``DATA/flores`` ids ≥ 1000 on a seeded subset of sentences,
the same for every model. Everything is computed in float32.
A model measured before is not measured again, so a run can be made in pieces with ``--minutes``.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness import placeless
from mwanda.cli.demo.compared import compared_methods
from mwanda.cli.demo.packages import find_weights
from mwanda.evaluation.evaluate import evaluate, read_texts
from mwanda.evaluation.results import Comparison, Evaluation, LanguageResult
from mwanda.evaluation.texts import TextSet
from mwanda.pruning.prune import prune
from mwanda.study.report.side_by_side import method_rows
from mwanda.system.progress import progress_bar
from mwanda.system.run_options import RunOptions
from mwanda.system.text_tables import markdown, plain
from real_models import add_model_option, dense_model

SEEN = ["en", "de", "fr", "es", "ru", "zh", "ja", "ko", "id", "vi", "fi", "ta", "te", "gu", "fa"]
UNSEEN = ["ar", "hi", "sw", "th", "bn", "tr", "he", "pl"]
WINDOWS, LENGTH = 8, 256
METHODS = compared_methods(SEEN, WINDOWS)
"""Fields of each method's recipe; windows by the same number of tokens in all."""


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
    parser.add_argument("--minutes", type=float, default=1e6, help="start no model after these")
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    suffix = "" if given.model == "gemma3-270m" else "-" + given.model.split("-")[0]
    results_file = given.results or Path(f"benchmarks/results/languages{suffix}.json")
    texts = read_texts(
        given.data / "flores",
        SEEN + UNSEEN,
        sentences=given.sentences,
        seed=given.seed,
        ids=(1000, None),
    )
    end = time.monotonic() + 60 * given.minutes
    made: dict[str, dict[str, Any]] = {}
    with progress_bar() as progress:
        options = RunOptions(overwrite=True, compute_dtype="float32", progress=progress)
        dense = dense_model(given.model, given.work, options)
        for name, fields in {"dense": {}, **METHODS}.items():
            folder = given.work / f"{given.model}-{name.replace(', ', '-')}"
            recipe = (
                recipe_of(fields, given.data, given.sparsity, given.mode, given.seed)
                if fields
                else {}
            )
            kept = folder.with_suffix(f".{_key(recipe, texts.sha256)}.json")
            if not kept.is_file():
                if time.monotonic() > end:
                    print("stopped by --minutes; run again to go on")
                    return
                found = _measure(dense, folder, recipe, texts, options)
                kept.write_text(json.dumps(found), encoding="utf-8")
            made[name] = json.loads(kept.read_text(encoding="utf-8"))
    baseline = _restore(made.pop("dense")["evaluation"])
    results = {name: _restore(found["evaluation"]) for name, found in made.items()}
    header, rows = method_rows(baseline, results, SEEN)
    print(plain(header, rows))
    print("\n" + markdown(header, rows))
    data = {
        "model": find_weights(given.model).title,
        "mode": given.mode,
        "sentences": given.sentences,
        "seed": given.seed,
        "text_sha256": texts.sha256,
        "recipes": {name: found["recipe"] for name, found in made.items()},
        "seconds": {name: found["seconds"] for name, found in made.items()},
        "comparisons": {
            name: Comparison.of(baseline, result).as_dict() for name, result in results.items()
        },
        "table": {"header": header, "rows": rows},
    }
    results_file.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(data, indent=1, ensure_ascii=False)
    results_file.write_text(placeless(text, sys.argv) + "\n", encoding="utf-8")


def recipe_of(
    fields: Mapping[str, Any], data: Path, sparsity: float, mode: str, seed: int
) -> dict[str, Any]:
    """What :func:`prune` is given for one of :data:`METHODS`."""
    return dict(
        calibration=data / "gnome", sparsity=sparsity, mode=mode,
        window_length=LENGTH, seed=seed, **fields,
    )  # fmt: skip


def _key(recipe: Mapping[str, Any], text_sha256: str) -> str:
    """Tells models and texts apart, so that a kept result is only used for the same question."""
    told = json.dumps([recipe, text_sha256], default=str, sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def _measure(
    dense: Path, folder: Path, recipe: dict[str, Any], texts: TextSet, options: RunOptions
) -> dict[str, Any]:
    """Prune, unless there is no recipe, and evaluate."""
    start = time.perf_counter()
    done = prune(dense, out=folder, options=options, **recipe) if recipe else None
    pruned = time.perf_counter()
    result = evaluate(dense if done is None else folder, texts, options=options)
    return {
        "recipe": None if done is None else done.manifest.recipe,
        "seconds": {"prune": pruned - start, "evaluate": time.perf_counter() - pruned},
        "evaluation": result.as_dict(sentences=True),
    }


def _restore(data: Mapping[str, Any]) -> Evaluation:
    rows: dict[str, dict[str, Any]] = data["languages"]
    return Evaluation(
        data["model"],
        {
            tag: LanguageResult(tag, tuple(row["sentence_nll"]), row["tokens"], row["bytes"])
            for tag, row in rows.items()
        },
        tuple(tag for tag, row in rows.items() if row["seen"]),
        data["text"],
        data["text_sha256"],
        data["settings"],
    )


if __name__ == "__main__":
    main()
