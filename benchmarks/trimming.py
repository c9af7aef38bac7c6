"""What trimming a vocabulary gives, and that it loses nothing: rows, parameters, tokens and nats
for sets of languages, then load time, memory and tokens a second in transformers and llama.cpp.

``python benchmarks/trimming.py --data DATA --llama PYTHON`` does both parts, ``--part`` one. Text
is FLORES from id 1000, which chose nothing. Whole and trimmed models are timed in turn, one thread
and a process each.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import mwanda
from harness import Table, kept, options_of, pairwise, parsed, save, spread
from mwanda.cli.demo.__main__ import SEEN, UNSEEN
from mwanda.cli.demo.packages import assemble, find_weights
from mwanda.model.source import load_tokenizer
from mwanda.pruned.trim.promise import Trial
from mwanda.pruned.trim.trim import TrimResult
from mwanda.pruning.folder.manifest import read_manifest
from mwanda.text.tokens import token_ids
from processes import run
from real_models import dense_model, nats_of

GEMMA, SMOLLM2 = "gemma3-270m", "smollm2-135m"
SETS: dict[str, tuple[str, dict[str, Any]]] = {
    "de fr sw": (GEMMA, {"languages": "de,fr,sw"}),
    "zh ja ko": (GEMMA, {"languages": "zh,ja,ko"}),
    "en hi bn ta te gu": (GEMMA, {"languages": "en,hi,bn,ta,te,gu"}),
    "fifteen": (GEMMA, {"languages": "en,de,fr,es,ru,zh,ja,ko,id,vi,fi,ta,te,gu,fa"}),
    "the demo's 24": (GEMMA, {"languages": ",".join((*SEEN, *UNSEEN))}),
    "de fr sw, 64k": (GEMMA, {"languages": "de,fr,sw", "by": "text", "budget": 65536,
                              "allow_loss": True}),
    "SmolLM2, de fr sw": (SMOLLM2, {"languages": "de,fr,sw"}),
}  # fmt: skip
"""The model, its languages, and how rows are chosen."""

PROMPT, NEW, ROUNDS = 16, 32, 3
"""Tokens of the decoding that is timed, and how often it is."""
RUNNER = Path(__file__).parent / "runners" / "llama_trim.py"
TIMES = {"load": 1, "tokens": 1, "peak_gb": 2}
"""What a timed process tells, and its decimals."""


def whole_of(given: argparse.Namespace, model: str) -> tuple[Path, Path]:
    """Folder and GGUF file of a model."""
    weights, where = find_weights(model), given.models or given.work
    return dense_model(model, where), assemble(where / model / weights.file, weights)


def trimmed_of(given: argparse.Namespace, name: str) -> tuple[Path, Path]:
    folder = given.work / name.replace(" ", "-").translate({ord("'"): "", ord(","): ""})
    return folder, folder.with_suffix(".gguf")


def cut(given: argparse.Namespace, name: str) -> TrimResult:
    """The folder and the GGUF file of a set."""
    model, ask = SETS[name]
    if "budget" in ask:
        ask = ask | {"text": str(small_text(given, ask["languages"].split(",")))}
    whole, trimmed = whole_of(given, model), trimmed_of(given, name)
    options = mwanda.RunOptions(overwrite=True)
    made, _ = (mwanda.trim(*one, options=options, **ask)
               for one in zip(whole, trimmed, strict=True))  # fmt: skip
    return made


def measure(given: argparse.Namespace, name: str) -> dict[str, Any]:
    """One set of languages: trimmed, and its text scored beside the whole model."""
    (model, ask), made = SETS[name], cut(given, name)
    (dense, _), (folder, _) = whole_of(given, model), trimmed_of(given, name)
    tags, found = ask["languages"], {**made.plan.as_dict(), "checked": made.checked}
    read = partial(mwanda.read_texts, given.data / "flores", tags, ids=(1000, None))
    every, texts = read().texts, read(sentences=given.sentences // len(tags.split(",")))
    found["same"] = same_tokens(dense, folder, made.old_ids, every)
    one, two = (nats_of(path, texts, given.work) for path in (dense, folder))
    return {**found, "nats": (sum(two.values()) - sum(one.values())) / len(one)}


def in_llama(given: argparse.Namespace, name: str) -> dict[str, Any]:
    """Whether tokens and logits of the GGUF files are the same in llama.cpp."""
    (_, whole), (folder, file) = whole_of(given, SETS[name][0]), trimmed_of(given, name)
    tags, asked = SETS[name][1]["languages"], given.work / "llama.json"
    texts = mwanda.read_texts(given.data / "flores", tags, ids=(1000, None)).texts
    sentences = {tag: texts[tag][:40] for tag in texts}
    rows = read_manifest(folder).trims[-1].old_ids  # new id -> old id
    asked.write_text(json.dumps({"rows": rows, "sentences": sentences}))
    found: dict[str, Any] = run([given.llama, RUNNER, whole, file, asked]).output
    return found


def small_text(given: argparse.Namespace, tags: list[str]) -> Path:
    """All there is of a language but FLORES from id 1000: what a user may have to choose by."""
    folder: Path = given.work / "small-text"
    folder.mkdir(exist_ok=True)
    for tag in tags:
        flores = mwanda.read_texts(given.data / "flores", [tag], ids=(0, 999)).texts[tag]
        lines = [*flores, *(given.data / "udhr" / f"{tag}.txt").read_text().splitlines()]
        gnome = given.data / "gnome" / f"{tag}.jsonl"
        pages = gnome.read_text().splitlines() if gnome.is_file() else []
        lines += [line for page in pages for line in json.loads(page)["text"].splitlines()]
        (folder / f"{tag}.txt").write_text("\n".join(lines))
    return folder


def same_tokens(
    dense: Path, folder: Path, old_ids: tuple[int, ...], texts: dict[str, list[str]]
) -> dict[str, float]:
    """Language -> share of its sentences that have the tokens they had."""
    before = load_tokenizer(dense)
    split = {tag: [(one, token_ids(before, one)) for one in some] for tag, some in texts.items()}
    found = Trial(old_ids, {}, split).coverage(load_tokenizer(folder))
    return {tag: one.share for tag, one in found.items()}


def timed(given: argparse.Namespace) -> dict[str, Any]:
    """Runtime -> whole model or set -> what each round gave; every model once a round."""
    models = {model: whole_of(given, model) for model in (GEMMA, SMOLLM2)}
    models |= {name: trimmed_of(given, name) for name in SETS}
    for name in SETS:
        if not models[name][1].is_file():
            cut(given, name)
    found: dict[str, Any] = {}
    for _ in range(ROUNDS):
        for name, (folder, file) in models.items():
            lines: dict[str, list[str | Path]] = {
                "transformers": [sys.executable, __file__, "--decode", folder],
                "llama.cpp": [given.llama, RUNNER, file],
            }
            for runtime, line in lines.items():
                made = run(line)
                figures = {**made.output, "peak_gb": made.resident / 1e9}
                found.setdefault(runtime, {}).setdefault(name, []).append(figures)
    return found


def decode(folder: str) -> None:
    """Seconds to load and tokens a second of this process."""
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
    print(json.dumps({"load": loaded, "tokens": NEW / (time.perf_counter() - start)}))


def kept_table(found: dict[str, dict[str, Any]]) -> Table:
    rows = [
        [name, one["by"], f"{one['kept']:,} of {one['rows']:,}",
         f"-{1 - one['kept_weights'] / one['weights']:.1%}",
         f"{min(one['same'].values()):.3f}", f"{one['nats']:+.2f}",
         f"{one['llama']['same']} of {one['llama']['sentences']}, {one['llama']['logits']:.2g}"]
        for name, one in found.items()
    ]  # fmt: skip
    return Table(["languages", "by", "rows", "parameters", "same tokens", "nats a sentence",
                  "same in llama.cpp, logits apart by"], rows)  # fmt: skip


def times_table(runtime: str, found: dict[str, list[dict[str, float]]]) -> Table:
    """Medians, and the ratio to the whole model round by round."""
    rows = []
    for name, rounds in found.items():
        whole = found[SETS[name][0]] if name in SETS else rounds
        faster = pairwise(*([one["tokens"] for one in runs] for runs in (rounds, whole)))
        shown = {what: spread([one[what] for one in rounds])["median"] for what in TIMES}
        rows.append([
            name, *(f"{shown[what]:.{places}f}" for what, places in TIMES.items()),
            f"{faster['median']:.2f} ({faster['min']:.2f} to {faster['max']:.2f})",
        ])  # fmt: skip
    return Table([runtime, "load, s", "tokens/s", "peak, GB", "x whole (min to max)"], rows)


def main() -> None:
    parser = options_of(__doc__, "trimming", "flores/, udhr/ and gnome/")
    parser.add_argument("--models", type=Path, help="where dense models are; made where not")
    parser.add_argument("--llama", required=True, help="interpreter that has llama-cpp-python")
    parser.add_argument("--sentences", type=int, default=144, help="of a set, for the nats")
    parser.add_argument("--part", choices=("loss", "times"), help="only this")
    given = parsed(parser)
    if given.part != "times":
        loss = {}
        for name in SETS:
            loss[name] = kept(given.work / f"{name}.json", partial(measure, given, name))
            path = given.work / f"{name}, llama.cpp.json"
            loss[name]["llama"] = kept(path, partial(in_llama, given, name))
        save(given.results, {"sets": loss}, tables=[kept_table(loss)])
    if given.part != "loss":
        found = timed(given)
        save(given.results.with_stem(f"{given.results.stem}-times"), {"times": found},
             tables=[times_table(*one) for one in found.items()])  # fmt: skip


if __name__ == "__main__":
    if sys.argv[1:2] == ["--decode"]:
        decode(sys.argv[2])
    else:
        main()
