"""What trimming a vocabulary gives, and that it loses nothing: rows, parameters, tokens, nats,
load time, memory and speed of decoding, for sets of languages.

``python benchmarks/trimming.py --data DATA`` needs the folder of a dense model (made from its GGUF
where none is given). Text is FLORES from id 1000, which chose nothing. Whole and trimmed models are
timed in turn, one thread each.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import mwanda
from harness import Table, kept, options_of, parsed, save, spread
from mwanda.evaluation.results import Comparison
from real_models import dense_folder

SETS: dict[str, dict[str, Any]] = {
    "de fr sw": {"languages": "de,fr,sw"},
    "en hi bn ta te gu": {"languages": "en,hi,bn,ta,te,gu"},
    "zh ja ko": {"languages": "zh,ja,ko"},
    "fifteen": {"languages": "en,de,fr,es,ru,zh,ja,ko,id,vi,fi,ta,te,gu,fa"},
    "de fr sw, 64k": {"languages": "de,fr,sw", "by": "text", "budget": 65536, "allow_loss": True},
}
"""Languages, and how their rows are chosen."""

PROMPT, NEW = 16, 64
"""Tokens of the decoding that is timed."""

ROUNDS = 3


def measure(given: argparse.Namespace, name: str) -> dict[str, Any]:
    """One set of languages: trimmed, scored and timed beside the whole model."""
    dense, folder = dense_folder(given), given.work / name.replace(" ", "-").replace(",", "")
    ask = dict(SETS[name])
    if ask.get("by") == "text":
        ask["text"] = given.small_text
    start = time.perf_counter()
    made = mwanda.trim(dense, folder, options=mwanda.RunOptions(overwrite=True), **ask)
    seconds = time.perf_counter() - start
    text, tags = given.data / "flores", ask["languages"].split(",")
    found: dict[str, Any] = {
        **made.plan.as_dict(), "seconds": seconds, "peak_gb": peak_gb(), "checked": made.checked,
        "same": same_tokens(dense, folder, text, tags),
    }  # fmt: skip
    if made.plan.by != "text":
        one, two = (
            mwanda.evaluate(path, text, languages=tags, ids=(1000, 10**9),
                            sentences=given.sentences, cache=given.work / "scores")
            for path in (dense, folder)
        )  # fmt: skip
        rises = Comparison.of(one, two).rises
        found["nats"] = sum(rise.rise for rise in rises) / len(rises)
    rounds: dict[str, list[dict[str, float]]] = {"whole": [], "trimmed": []}
    for _ in range(ROUNDS):
        for key, path in (("whole", dense), ("trimmed", folder)):
            rounds[key].append(decoded(path))
    if given.llama is not None and given.gguf is not None:
        found["llama"] = in_llama(given, ask, folder.with_suffix(".gguf"), text, tags)
    found["decoding"] = {
        key: {what: spread([one[what] for one in values]) for what in values[0]}
        for key, values in rounds.items()
    }
    return found


def in_llama(
    given: argparse.Namespace, ask: dict[str, Any], out: Path, text: Path, tags: list[str]
) -> dict[str, Any]:
    """The same choice in the GGUF file, read by llama.cpp."""
    made = mwanda.trim(given.gguf, out, options=mwanda.RunOptions(overwrite=True), **ask)
    asked = {"rows": made.old_ids, "sentences": {tag: sentences_of(text, tag)[:40] for tag in tags}}
    (given.work / "llama.json").write_text(json.dumps(asked))
    runner = Path(__file__).parent / "runners" / "llama_trim.py"
    words = [given.llama, str(runner), str(given.gguf), str(out), str(given.work / "llama.json")]
    told = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    found: dict[str, Any] = json.loads(told.splitlines()[-1])
    return {"bytes": made.plan.bytes, "kept_bytes": made.plan.kept_bytes, **found}


def sentences_of(text: Path, tag: str) -> list[str]:
    """Those of FLORES that chose nothing."""
    lines = [json.loads(line) for line in (text / f"{tag}.jsonl").read_text().splitlines()]
    return [line["text"] for line in lines if line["id"] >= 1000]


def same_tokens(dense: Path, folder: Path, text: Path, tags: list[str]) -> dict[str, float]:
    """Language -> share of its sentences that have the tokens they had."""
    from mwanda.model.source import load_tokenizer
    from mwanda.pruning.folder.manifest import read_manifest
    from mwanda.text.tokens import token_ids

    before, after = load_tokenizer(dense), load_tokenizer(folder)
    rows = read_manifest(folder).trims[-1].old_ids
    found = {}
    for tag in tags:
        sentences = sentences_of(text, tag)
        same = [
            token_ids(before, one) == [rows[new] for new in token_ids(after, one)]
            for one in sentences
        ]
        found[tag] = sum(same) / len(same)
    return found


def decoded(folder: Path) -> dict[str, float]:
    """Seconds to load, tokens a second and peak gigabytes of a process of its own."""
    made = subprocess.run(
        [sys.executable, __file__, "--decode", str(folder)], check=True, capture_output=True
    )
    found: dict[str, float] = json.loads(made.stdout.splitlines()[-1])
    return found


def decode(folder: str) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(1)
    start = time.perf_counter()
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    loaded = time.perf_counter() - start
    prompt = torch.arange(100, 100 + PROMPT)[None]
    model.generate(prompt, max_new_tokens=4, do_sample=False)
    start = time.perf_counter()
    model.generate(prompt, min_new_tokens=NEW, max_new_tokens=NEW, do_sample=False)
    speed = NEW / (time.perf_counter() - start)
    print(json.dumps({"load": loaded, "tokens": speed, "peak_gb": peak_gb()}))


def peak_gb() -> float:
    """Of this process alone: what getrusage says begins with its parent's peak."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024 / 1e9


def table(found: dict[str, dict[str, Any]]) -> Table:
    rows = []
    for name, one in found.items():
        whole, cut = one["decoding"]["whole"], one["decoding"]["trimmed"]
        faster = cut["tokens"]["median"] / whole["tokens"]["median"]
        rows.append([
            name, one["by"], f"{one['kept']:,}", f"-{one['saved']:.1%}",
            f"{min(one['same'].values()):.3f}",
            f"{one['nats']:+.2f}" if "nats" in one else "",
            f"{faster:.2f}", llama_of(one),
            f"{whole['load']['median']:.1f} / {cut['load']['median']:.1f}",
            f"{whole['peak_gb']['median']:.2f} / {cut['peak_gb']['median']:.2f}",
        ])  # fmt: skip
    return Table(
        ["languages", "by", "rows", "parameters", "same tokens", "nats a sentence",
         "decoding, x whole", "in llama.cpp", "load, s", "peak, GB"], rows,
    )  # fmt: skip


def llama_of(one: dict[str, Any]) -> str:
    """How much faster, where it was tried."""
    found = one.get("llama")
    return f"{found['tokens']['trimmed'] / found['tokens']['whole']:.2f}" if found else ""


def main() -> None:
    parser = options_of(__doc__, "trimming")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--dense", type=Path)
    parser.add_argument("--small-text", default="bundled:udhr", help="for the choice by text")
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=list(SETS))
    parser.add_argument("--gguf", type=Path, help="the model as a GGUF file, for llama.cpp")
    parser.add_argument("--llama", help="interpreter that has llama-cpp-python")
    parser.add_argument("--sentences", type=int, default=48)
    given = parsed(parser)
    found = {
        name: kept(given.work / f"{name}.json", partial(measure, given, name))
        for name in given.sets
    }
    save(given.results, {"sets": found}, tables=[table(found)])


if __name__ == "__main__":
    if sys.argv[1:2] == ["--decode"]:
        decode(sys.argv[2])
    else:
        main()
