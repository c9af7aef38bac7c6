"""Peak memory of pruning a made-up model of 24 and of 96 blocks, each in a process of its own.

The models are Llama-shaped, float32, one width; each checkpoint is at least five times the peak.
Two figures are reported: anonymous memory, sampled every 20 ms, and the high-water mark of resident
memory, both against what ``mwanda plan`` said before.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

from mwanda.device import DTYPES
from mwanda.model.writer import ShardWriter, plan_shards
from mwanda.report.tables import plain

VOCABULARY = 512


def make_model(folder: Path, blocks: int, width: int, dtype: str) -> int:
    """Write a random Llama of so many blocks, tensor by tensor; returns its bytes."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    folder.mkdir(parents=True)
    config = LlamaConfig(
        hidden_size=width,
        intermediate_size=width * 11 // 4,
        num_hidden_layers=blocks,
        num_attention_heads=width // 128,
        num_key_value_heads=width // 128,
        vocab_size=VOCABULARY,
        max_position_embeddings=2048,
        tie_word_embeddings=False,
        architectures=["LlamaForCausalLM"],
        dtype=dtype,
    )
    with torch.device("meta"):
        model = LlamaForCausalLM(config)
    shapes = [(name, DTYPES[dtype], tuple(p.shape)) for name, p in model.named_parameters()]
    generator = torch.Generator().manual_seed(0)
    with ShardWriter(folder, plan_shards(shapes, 2_000_000_000)) as writer:
        for name, kind, shape in shapes:
            made = torch.ones(shape) if len(shape) == 1 else torch.empty(shape)
            if len(shape) > 1:
                made.normal_(std=0.02, generator=generator)
            writer.write(name, made.to(kind))
    config.save_pretrained(folder)
    words = {chr(33 + k) if k < 90 else f"w{k}": k for k in range(VOCABULARY)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="!"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="!").save_pretrained(folder)
    return sum(kind.itemsize * torch.Size(shape).numel() for _, kind, shape in shapes)


def write_text(folder: Path) -> None:
    """Two languages of words that the made-up tokenizer knows."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, tag in enumerate(("de", "sw")):
        lines = [
            " ".join(f"w{90 + (7 * line + 3 * k + number) % 420}" for k in range(200))
            for line in range(60)
        ]
        (folder / f"{tag}.txt").write_text("\n".join(lines))


def watch(command: list[str]) -> tuple[int, int, float]:
    """Run a command; peak anonymous bytes, high-water mark in bytes, seconds."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    anonymous = high = 0
    status = Path(f"/proc/{process.pid}/status")
    while process.poll() is None:
        try:
            text = status.read_text()
        except OSError:
            break
        for line in text.splitlines():
            if line.startswith("RssAnon:"):
                anonymous = max(anonymous, int(line.split()[1]) * 1024)
            elif line.startswith("VmHWM:"):
                high = max(high, int(line.split()[1]) * 1024)
        time.sleep(0.02)
    _, errors = process.communicate()
    if process.returncode:
        raise RuntimeError(
            f"{' '.join(command)} ended with {process.returncode}: {errors.decode()}"
        )
    return anonymous, high, time.perf_counter() - start


def measure(blocks: int, given: argparse.Namespace) -> dict[str, Any]:
    """Make a model, plan, prune, and throw both away."""
    folder, out = given.work / f"model-{blocks}", given.work / f"pruned-{blocks}"
    for old in (folder, out):
        shutil.rmtree(old, ignore_errors=True)
    size = make_model(folder, blocks, given.width, given.dtype)
    options = ["--calibration", str(given.work / "text"), "--criterion", given.criterion,
               "--windows", str(given.windows), "--window-length", str(given.length),
               "--compute-dtype", given.compute_dtype, "--json"]  # fmt: skip
    mwanda = [sys.executable, "-m", "mwanda"]
    planned = json.loads(subprocess.check_output([*mwanda, "plan", str(folder), *options]))
    anonymous, high, seconds = watch([*mwanda, "prune", str(folder), "--out", str(out), *options])
    for old in (folder, out):
        shutil.rmtree(old)
    return {
        "blocks": blocks,
        "checkpoint": size,
        "anonymous": anonymous,
        "high_water": high,
        "planned_anonymous": planned["anonymous"],
        "planned_high_water": planned["high_water"],
        "seconds": seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("out/memory"))
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results/memory.json"))
    parser.add_argument("--blocks", type=int, nargs="+", default=[24, 96])
    parser.add_argument("--width", type=int, default=2048)
    parser.add_argument("--dtype", default="float32", help="of the checkpoint")
    parser.add_argument("--compute-dtype", default="auto")
    parser.add_argument("--criterion", default="m-wanda")
    parser.add_argument("--windows", type=int, default=2)
    parser.add_argument("--length", type=int, default=128)
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    write_text(given.work / "text")
    found = [measure(blocks, given) for blocks in given.blocks]
    header = ["blocks", "checkpoint", "anonymous", "planned", "high-water", "planned", "seconds"]
    keys = ["checkpoint", "anonymous", "planned_anonymous", "high_water", "planned_high_water"]
    rows = [
        [str(f["blocks"]), *(f"{f[key] / 1e9:.3f} GB" for key in keys), f"{f['seconds']:.0f}"]
        for f in found
    ]
    print(plain(header, rows))
    given.results.parent.mkdir(parents=True, exist_ok=True)
    given.results.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
