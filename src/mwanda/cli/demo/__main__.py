"""``make demo``: prune Gemma 3 270M three ways and show what each language lost.

Real weights (see :mod:`mwanda.cli.demo.packages`), real text: the bundled Universal Declaration of
Human Rights, whose first half of the articles calibrates and whose second half is reported.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

SEEN = (
    "en",
    "de",
    "es",
    "fa",
    "fi",
    "fr",
    "gu",
    "id",
    "ja",
    "ko",
    "pt",
    "ru",
    "ta",
    "te",
    "vi",
    "zh",
)
SEED = 0
SPARSITY = 0.5
WINDOWS, LENGTH = 6, 128
REPORT_TOKENS = 400
CALIBRATION, REPORT = "bundled:udhr/first", "bundled:udhr/second"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the demo and leave with an exit code."""
    parser = argparse.ArgumentParser(prog="python -m mwanda.cli.demo", description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("out/demo"), help="where models go")
    work: Path = parser.parse_args(arguments).work
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    from mwanda.cli import exit_on_sigterm
    from mwanda.errors import MwandaError
    from mwanda.system.progress import quiet_libraries

    quiet_libraries()
    exit_on_sigterm()
    try:
        run(work)
    except MwandaError as error:
        for problem in error.problems:
            print(f"error: {problem}", file=sys.stderr)
        sys.exit(error.exit_code)


def run(work: Path) -> None:
    """Assemble, prune, evaluate, print; keeps models and ``results.json`` in ``work``."""
    from mwanda.cli.demo.compared import compared_methods
    from mwanda.cli.demo.packages import GEMMA, assemble, licences
    from mwanda.evaluation.evaluate import evaluate
    from mwanda.evaluation.generation import continue_texts
    from mwanda.model.source import load_tokenizer
    from mwanda.pruning.prune import prune
    from mwanda.study.report.side_by_side import method_rows
    from mwanda.system.progress import progress_bar
    from mwanda.system.run_options import RunOptions
    from mwanda.system.text_tables import plain
    from mwanda.text.start import start_of

    start = time.perf_counter()
    work.mkdir(parents=True, exist_ok=True)
    terms, *notices = licences()
    _say(f"Gemma 3 270M is under the Gemma terms: {terms}")
    with progress_bar() as progress:
        options = RunOptions(overwrite=True, allow_short=True, progress=progress)
        gguf = assemble(work / GEMMA.file)
        for licence in (terms, *notices):  # they travel along with every model made from it
            shutil.copyfile(licence, work / licence.name)
        dense = work / "dense"
        _say("dequantising to bfloat16")
        prune(gguf, out=dense, sparsity=0.0, criterion="magnitude", options=options)
        common: dict[str, Any] = {
            "calibration": CALIBRATION,
            "sparsity": SPARSITY,
            "mode": "sequential",
            "window_length": LENGTH,
            "seed": SEED,
            "options": options,
        }
        plans = compared_methods(SEEN, WINDOWS)
        tokenizer = load_tokenizer(dense)
        texts = report_texts(tokenizer)
        results, tokens = {}, {}
        for name, fields in plans.items():
            _say(f"pruning {SPARSITY:.0%} with {name}")
            folder = work / name.replace(", ", "-")
            made = prune(dense, out=folder, **common, **fields)
            tokens[name] = 0 if made.windows is None else made.windows.total_tokens
            _say(f"evaluating {name}")
            results[name] = evaluate(folder, texts, options=options)
        _say("evaluating the dense model")
        baseline = evaluate(dense, texts, options=options)
    header, rows = method_rows(baseline, results, SEEN)
    print(
        f"\nGemma 3 270M, {SPARSITY:.0%} of the weights of every linear removed. Negative "
        f"log-likelihood of the second half of the\nDeclaration: nats per paragraph of the dense "
        f"model, and the rise over it per language.\n"
    )
    print(plain(header, rows))
    shown = ", ".join(f"{name}: {count:,}" for name, count in tokens.items())
    print(f"\ncalibration tokens: {shown} (the bundled English text has no more)")
    model = _load(work / "m-wanda")
    first = start_of(tokenizer)
    prompts = {"en": ["Everyone has the right to live in a country where all of the people"],
               "de": ["Alle Menschen haben das Recht, in einem Land zu leben, in dem"]}  # fmt: skip
    print("\nthe m-wanda model goes on:")
    for tag, made_text in continue_texts(model, tokenizer, prompts, start=first).items():
        note = "  [it only repeats itself]" if made_text.repetitive else ""
        print(f"  {tag}: {made_text.prompt} | {' '.join(made_text.text.split())}{note}")
    data = {"dense": baseline.as_dict(), **{name: r.as_dict() for name, r in results.items()}}
    (work / "results.json").write_text(json.dumps(data, indent=1, ensure_ascii=False))
    print(f"\nmodels and results.json are in {work}; {time.perf_counter() - start:.0f} s in all")


def report_texts(tokenizer: Any) -> Any:
    """About ``REPORT_TOKENS`` tokens a language of the second half, in a seeded order, without the
    few formulas that the first half has word for word."""
    from mwanda.evaluation.texts import TextSet, digest_of
    from mwanda.text.shared_sentences import overlap, text_hashes
    from mwanda.text.sources import open_source

    first, second = open_source(CALIBRATION), open_source(REPORT)
    known = {
        h for tag in first.languages() for d in first.documents(tag) for h in text_hashes(d.text)
    }
    chosen: dict[str, list[str]] = {}
    for tag in second.languages():
        texts = [document.text for document in second.documents(tag)]
        repeated = set(overlap(texts, known))
        fresh = [text for number, text in enumerate(texts) if number not in repeated]
        random.Random(SEED).shuffle(fresh)
        picked: list[str] = []
        count = 0
        for text in fresh:
            if count >= REPORT_TOKENS:
                break
            picked.append(text)
            count += len(tokenizer(text, add_special_tokens=False)["input_ids"])
        chosen[tag] = picked
    return TextSet(REPORT, chosen, SEED, digest_of(chosen))


def _load(folder: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, local_files_only=True).eval()


def _say(text: str) -> None:
    print(f"== {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
