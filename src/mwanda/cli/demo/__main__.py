"""``make demo``: prune Gemma 3 270M three ways, recover it, and show what each language lost.

Real weights (see :mod:`mwanda.cli.demo.packages`), real text: the bundled Universal Declaration of
Human Rights, whose articles 1 to 27 calibrate and 28 to 30 are scored. It is a study of five cells,
so that it goes on where it was stopped and ends with its own report.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

SEEN = ("en", "de", "es", "fa", "fi", "fr", "gu", "id", "ja", "ko", "pt", "ru", "ta", "te", "vi",
        "zh")  # fmt: skip
UNSEEN = ("ar", "bn", "cs", "el", "hi", "sw", "th", "tr")
"""Scored too, and calibrated on by no method."""
SEED = 0
SPARSITY = 0.5
LENGTH = 96
"""Tokens of a window: English has text for as many of them as there are languages, one each."""
TEXT = "bundled:udhr"
RECOVERED = "m-wanda, recovered"
WINDOWS, STEPS, BATCH, RATE = 8, 24, 8, 1e-4
"""Of the recovery: windows of a language to learn from, steps, windows of each, and the highest
learning rate."""
CALIBRATED = 27
"""The last article that calibrates; those after it are scored."""
SCORED_TOKENS = 40
PROCESSES = 2
"""That share the cells: what one thread does alone, such as sorting and hashing, is done by two."""
PROMPT = "Jedes Kind hat das Recht auf"

log = logging.getLogger("mwanda")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the demo and leave with an exit code."""
    parser = argparse.ArgumentParser(prog="python -m mwanda.cli.demo", description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("out/demo"), help="where models go")
    work: Path = parser.parse_args(arguments).work
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    from mwanda.cli import exit_on_sigterm, print_anything, tell_interrupted
    from mwanda.errors import MwandaError
    from mwanda.system.progress import quiet_libraries

    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    log.setLevel(logging.INFO)
    quiet_libraries()
    print_anything()
    exit_on_sigterm()
    try:
        run(work)
    except KeyboardInterrupt:
        sys.exit(tell_interrupted())
    except MwandaError as error:
        for problem in error.problems:
            print(f"error: {problem}", file=sys.stderr)
        sys.exit(error.exit_code)


def run(work: Path) -> None:
    """Assemble, prune, score, print; keeps models, study and report in ``work``."""
    from mwanda.errors import InputError
    from mwanda.model.source import load_tokenizer
    from mwanda.pruning.folder.manifest import read_manifest
    from mwanda.study.folder import StudyFolder
    from mwanda.study.launch import failures_of, start_study
    from mwanda.study.report.data import load_results
    from mwanda.study.report.write import write_report
    from mwanda.system.progress import progress_bar

    start = time.perf_counter()
    try:
        work.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        found = f"{work}: {error.strerror}"
        raise InputError("--work", expected="a folder to write into", found=found) from error
    with progress_bar() as progress:
        dense = dense_model(work, progress)
        write_texts(work / "text", load_tokenizer(dense))
        document, folder = work / "study.yaml", StudyFolder(work / "study")
        document.write_text(json.dumps(study(dense, work / "text"), indent=1), encoding="utf-8")
    start_study(document, folder.path, processes=min(PROCESSES, os.cpu_count() or 1))
    failures_of(folder)
    results = load_results(folder)
    keys = {entry.method: entry.key for entry in results.plan.entries}
    made = folder.path / "models"
    print(told(results, read_manifest(made / keys[RECOVERED]).seconds["recover"] / 60))
    log.info("generating")
    models = {"dense": dense} | {
        name: made / keys[name] for name in ("wanda, English", "m-wanda", RECOVERED)
    }
    print(f"\nGreedy, no three tokens twice, after “{PROMPT}” (every child has the right to):")
    for name, path in models.items():
        print(f"  {name:<18} … {continued(path)}")
    write_report(folder.path, work / "report", overwrite=True)
    print(
        f"\nreport: {(work / 'report' / 'index.html').resolve()}\n"
        f"models: {made}; {time.perf_counter() - start:.0f} s in all"
    )


def dense_model(work: Path, progress: Any) -> Path:
    """The dequantised model in ``work``, made if it is not there."""
    from mwanda.cli.demo.packages import GEMMA, assemble, licences
    from mwanda.pruned.after_prune import prune
    from mwanda.system.run_options import RunOptions

    terms, *notices = licences()
    log.info("Gemma 3 270M is under the Gemma terms: %s", terms)
    dense = work / "dense"
    if not dense.is_dir():
        gguf = assemble(work / GEMMA.file)
        for licence in (terms, *notices):  # they travel along with every model made from it
            shutil.copyfile(licence, work / licence.name)
        log.info("dequantising to bfloat16")
        options = RunOptions(progress=progress)
        prune(gguf, out=dense, sparsity=0.0, criterion="magnitude", options=options)
    return dense


def methods() -> dict[str, dict[str, Any]]:
    """Name -> fields of a recipe: wanda on English alone, wanda and m-wanda on all languages, and
    m-wanda on more text, from which what is kept then learns.

    English alone gets as many windows as all languages together, as far as there is English.
    """
    wanda, every = {"criterion": "wanda", "allocation": "uniform"}, [*SEEN]
    recover = {"steps": STEPS, "batch": BATCH, "learning_rate": RATE}
    return {
        "wanda, English": {**wanda, "languages": ["en"], "windows": len(every)},
        "wanda, all": {**wanda, "languages": every, "windows": 1},
        "m-wanda": {"languages": every, "windows": 1},
        RECOVERED: {"languages": every, "windows": WINDOWS, "recover": recover},
    }


def study(dense: Path, text: Path) -> dict[str, Any]:
    """The fields of ``study.yaml``."""
    return {
        "models": {"Gemma 3 270M": str(dense)},
        "calibration": str(text / "calibration"),
        "methods": methods(),
        "sparsities": [SPARSITY],
        "seeds": [SEED],
        "recipe": {"window_length": LENGTH},
        "evaluation": {"text": str(text / "scored")},
        "run": {"allow_short": True},
        "keep": True,
    }


def write_texts(folder: Path, tokenizer: Any) -> None:
    """Write ``calibration`` and ``scored``, one ``.jsonl`` file a language.

    Scored is one paragraph a language, the shortest of ``SCORED_TOKENS`` tokens or more, and none
    that the calibrating articles have word for word.
    """
    from mwanda.text.shared_sentences import overlap, text_hashes
    from mwanda.text.sources import open_source

    source = open_source(TEXT)
    for tag in (*SEEN, *UNSEEN):
        documents = list(source.documents(tag))
        first = [d.text for d in documents if int(d.id or 0) // 100 <= CALIBRATED]
        texts = [d.text for d in documents if int(d.id or 0) // 100 > CALIBRATED]
        repeated = set(overlap(texts, {h for text in first for h in text_hashes(text)}))
        fresh = [text for number, text in enumerate(texts) if number not in repeated]
        counts = {
            text: len(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in fresh
        }
        enough = [text for text in fresh if counts[text] >= SCORED_TOKENS]
        scored = [min(enough or fresh, key=lambda text: abs(counts[text] - SCORED_TOKENS))]
        for name, chosen in {"calibration": first, "scored": scored}.items():
            file = folder / name / f"{tag}.jsonl"
            file.parent.mkdir(parents=True, exist_ok=True)
            rows = (json.dumps({"text": text}, ensure_ascii=False) for text in chosen)
            file.write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")


def told(results: Any, minutes: float) -> str:
    """What was measured, as a table of 80 columns for a terminal.

    Args:
        minutes: that the recovery took.
    """
    from mwanda.study.report.side_by_side import evaluation_of, method_rows
    from mwanda.system.text_tables import plain

    (model,) = results.models
    pruned = {group.method: evaluation_of(results, group) for group in model.in_order}
    _, rows = method_rows(evaluation_of(results, None), pruned, SEEN)
    *rows, worst = [[row[0], *row[3:]] for row in rows]
    tags, highest = zip(*(cell.split() for cell in worst[1:]), strict=True)
    table = plain(["language", *pruned], [*rows, ["worst", *highest], ["which that is", *tags]])
    tokens = {group.method: f"{group.first['tokens']:,}" for group in model.in_order}
    return (
        f"\nGemma 3 270M with {SPARSITY:.0%} of the weights of every linear removed. How much\n"
        "worse the model predicts articles 28 to 30 of the Universal Declaration: rise of the\n"
        "negative log-likelihood over the dense model. Articles 1 to 27 calibrate.\n"
        f"  wanda: on {tokens['wanda, English']} tokens of English, or of {len(SEEN)} languages\n"
        "  m-wanda: mwanda's defaults on the same of these languages\n"
        f"  recovered: the same on {tokens[RECOVERED]} tokens, and what is kept learns from the\n"
        f"  dense model in {STEPS} steps, {minutes:.1f} minutes\n\n{table}"
    )


def continued(folder: Path) -> str:
    """What the model writes after ``PROMPT``."""
    import torch
    from transformers import AutoModelForCausalLM

    from mwanda.evaluation.decode import endings, greedy
    from mwanda.model.source import load_tokenizer

    model = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True).eval()
    tokenizer = load_tokenizer(folder)
    ids = tokenizer(PROMPT, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        made = greedy(
            model,
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=24,
            pad_token_id=endings(model)[1],
            no_repeat_ngram_size=3,
        )
    return " ".join(tokenizer.decode(made[0, ids.shape[1] :], skip_special_tokens=True).split())


if __name__ == "__main__":
    main()
