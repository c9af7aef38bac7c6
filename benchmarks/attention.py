"""Memory that ``mwanda plan`` says and a prune takes, over every class, where attention counts.

Every causal class of transformers as the tests make it tiny, but with windows of 2,048 tokens: its
attention scores are then most of what it holds. Plan and prune run in a process of their own each.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

from harness import Bar, Table, bar, options_of, parsed, save
from processes import call

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.support.models import tiny_tokenizer
from tests.support.shrink import tiny_config
from tests.support.walk import UNTRIED, classes

CONTEXTS = ("max_position_embeddings", "n_positions", "max_seq_len", "n_ctx",
            "max_target_positions", "context_length")  # fmt: skip


def make(model_type: str, folder: Path, length: int) -> str:
    """Save a tiny model of a type with room for so many tokens; its attention's implementation."""
    config: Any = tiny_config(model_type)
    text = config.get_text_config(decoder=True)
    for part in (config, text):
        for name in CONTEXTS:
            if isinstance(getattr(part, name, None), int):
                setattr(part, name, 2 * length)
    model: Any = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return str(model.config.get_text_config(decoder=True)._attn_implementation)


def measure(name: str, model_type: str, given: argparse.Namespace) -> dict[str, Any]:
    """Make a model, plan, prune, and throw both away."""
    folder, out = given.work / "model", given.work / "pruned"
    for old in (folder, out):
        shutil.rmtree(old, ignore_errors=True)
    implementation = make(model_type, folder, given.length)
    options = ["--calibration", given.work / "windows.safetensors", "--criterion", "wanda",
               "--allocation", "uniform", "--compute-dtype", given.compute_dtype,
               "--batch-tokens", str(given.length), "--json"]  # fmt: skip
    planned = call(given, "plan", folder, *options).output
    process = call(given, "prune", folder, "--out", out, *options)
    return {
        "class": name,
        "attention": implementation,
        "said": planned["anonymous"],
        "used": process.anonymous,
    }


def bars_of(found: list[dict[str, Any]]) -> list[Bar]:
    return [
        bar(f"plan's error, {one['class']}", abs(one["said"] / one["used"] - 1), most=0.25)
        for one in found
        if "used" in one
    ]


def main() -> None:
    parser = options_of(__doc__, "attention")
    parser.add_argument("--classes", nargs="+", help="by name; all of them without")
    parser.add_argument("--length", type=int, default=2048)
    parser.add_argument("--compute-dtype", default="float32")
    given = parsed(parser)
    tokens = torch.randint(3, 300, (2, given.length), generator=torch.Generator().manual_seed(0))
    save_file({"de": tokens}, given.work / "windows.safetensors")
    found: list[dict[str, Any]] = []
    for name, model_type in classes().items():
        if name in UNTRIED or (given.classes and name not in given.classes):
            continue
        try:
            found.append(measure(name, model_type, given))
        except (RuntimeError, ValueError) as error:  # a class that is refused, or not made tiny
            found.append({"class": name, "refused": str(error).splitlines()[-1][:200]})
        print(found[-1], flush=True)
    rows = [
        [one["class"], one["attention"], f"{one['said'] / 1e9:.3f}", f"{one['used'] / 1e9:.3f}",
         f"{one['said'] / one['used']:.2f}"]
        for one in found if "used" in one
    ]  # fmt: skip
    header = ["class", "attention", "said GB", "used GB", "said / used"]
    settings = {key: getattr(given, key) for key in ("length", "compute_dtype", "threads")}
    save(given.results, {**settings, "runs": found}, tables=[Table(header, rows)],
         bars=bars_of(found))  # fmt: skip


if __name__ == "__main__":
    main()
