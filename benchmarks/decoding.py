"""Is decoding faster from masks and kept values than from dense weights?

Batch-1 decoding is bound by reading weights, and a bf16 matrix at 50 % is 0.56 of its bytes as a
bit mask and the values kept. ``mwanda.MaskedLinear`` multiplies that form with up to four vectors;
here it is timed against ``torch.nn.functional.linear`` on one layer, on all pruned linears of Gemma
3 270M one after the other, and in the decoding of that model, with dense bf16 and float32 weights.
Rounds alternate. A C++ compiler is needed.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import linear
from transformers import AutoModelForCausalLM

from harness import Bar, Table, bar, options_of, pairwise, parsed, save, spread
from mwanda import MaskedLinear, mask_linears
from mwanda.model.run.discovery import find_structure
from mwanda.pruned.kernel.build import available_paths
from real_models import pruned_folder

LAYER = (4096, 14336)
BATCHES = (1, 2, 4)
SPARSITY = 0.5
GOAL = 1.4
"""Times dense bf16, asked for before measuring."""

ROUNDS, DECODINGS = 15, 5
PROMPT, TOKENS = 16, 32
"""Tokens before the first one that is timed, and those that are."""


def alternate(ways: Mapping[str, Callable[[], Any]]) -> dict[str, dict[str, Any]]:
    """Seconds of each way, every round all of them."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    for way in ways.values():
        way()
    for _ in range(ROUNDS):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            found[name].append(time.perf_counter() - start)
    return {name: spread(values) for name, values in found.items()}


def bandwidth() -> float:
    """Bytes a second of a pass that only reads."""
    data = torch.ones(1 << 27)
    return data.nbytes / float(alternate({"read": data.sum})["read"]["median"])


def error(found: torch.Tensor, exact: torch.Tensor) -> float:
    """Root mean square of the difference, over that of what is exact."""
    return float((found.double() - exact).norm() / exact.norm())


def layer() -> dict[str, Any]:
    """One layer by batch: seconds of every way, and how far each is from float64."""
    weight = torch.randn(LAYER) / LAYER[1] ** 0.5
    weight = weight.masked_fill_(torch.rand(LAYER) < SPARSITY, 0).bfloat16()
    wide = weight.float()
    packed = {f"packed, {path}": MaskedLinear(weight, path=path) for path in available_paths()}
    stored = {"dense bf16": weight, "dense float32": wide, **packed}
    found: dict[str, Any] = {"bytes": {name: one.nbytes for name, one in stored.items()}}
    found["batches"] = {}
    for batch in BATCHES:
        x = torch.randn(batch, LAYER[1]).bfloat16()
        ways: dict[str, Callable[[], torch.Tensor]] = {
            "dense bf16": partial(linear, x, weight),
            "dense float32": partial(linear, x.float(), wide),
            **{name: partial(one, x) for name, one in packed.items()},
        }
        exact = x.double() @ wide.double().t()
        found["batches"][str(batch)] = {
            "seconds": alternate(ways),
            "error": {name: error(way(), exact) for name, way in ways.items()},
        }
    return found


def one_by_one(modules: list[Any], inputs: list[torch.Tensor]) -> None:
    for module, x in zip(modules, inputs, strict=True):
        module(x)


def linears_alone(models: Mapping[str, Any], names: list[str]) -> Any:
    """All pruned linears one after another, on one token."""
    ways: dict[str, Callable[[], None]] = {}
    for way, model in models.items():
        modules = [model.get_submodule(name) for name in names]
        dtype = torch.float32 if way == "dense float32" else torch.bfloat16
        inputs = [torch.randn(1, m.in_features).to(dtype) for m in modules]
        ways[way] = partial(one_by_one, modules, inputs)
    return alternate(ways)


def decode(model: Any, ids: torch.Tensor) -> tuple[float, torch.Tensor]:
    """Seconds a token after the prompt, and logits ``[TOKENS, vocabulary]`` under given tokens."""
    seen = model(ids[:, :PROMPT], use_cache=True)
    cache, logits = seen.past_key_values, []
    start = time.perf_counter()
    for place in range(PROMPT, PROMPT + TOKENS):
        seen = model(ids[:, place : place + 1], past_key_values=cache, use_cache=True)
        logits.append(seen.logits[0, -1])
    return (time.perf_counter() - start) / TOKENS, torch.stack(logits)


def decoding(folder: Path) -> dict[str, Any]:
    """Gemma 3 270M at 50 %, one token after another, the same tokens for all."""
    dense = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).eval()
    models = {"dense bf16": dense, "dense float32": copy.deepcopy(dense).float(),
              "packed": copy.deepcopy(dense)}  # fmt: skip
    names = mask_linears(models["packed"])
    if names != [one.name for one in find_structure(dense).linears()]:
        raise ValueError(f"{folder}: expected every linear to be pruned")
    ids = torch.randint(3, 20_000, (1, PROMPT + TOKENS))
    ids[0, 0] = dense.config.bos_token_id or 2
    seconds: dict[str, list[float]] = {name: [] for name in models}
    logits = {}
    for turn in range(DECODINGS + 1):
        for name, model in models.items():
            took, logits[name] = decode(model, ids)
            if turn:
                seconds[name].append(took)
    exact = logits["dense float32"].double()
    head = dense.get_output_embeddings().weight.numel()
    linears = sum(dense.get_submodule(name).weight.numel() for name in names)
    packed = sum(models["packed"].get_submodule(name).nbytes for name in names)
    return {
        "linears_seconds": linears_alone(models, names),
        "linears_bytes": {"dense bf16": 2 * linears, "dense float32": 4 * linears,
                          "packed": packed},
        "bytes": {"dense bf16": 2 * (linears + head), "dense float32": 4 * (linears + head),
                  "packed": packed + 2 * head},
        "token_seconds": {name: spread(values) for name, values in seconds.items()},
        "logit_error": {name: error(one, exact) for name, one in logits.items()},
    }  # fmt: skip


def tables(found: Mapping[str, Any]) -> list[Table]:
    """Layer, linears alone, decoding."""
    most, one, gemma = found["bandwidth"], found["layer"], found["gemma"]
    rows = []
    for batch, row in one["batches"].items():
        base = row["seconds"]["dense bf16"]["median"]
        for name, taken in row["seconds"].items():
            seconds, size = taken["median"], one["bytes"][name]
            rows.append([
                batch, name, f"{size / 1e6:.1f}", f"{seconds * 1e3:.2f}",
                f"{size / seconds / 1e9:.1f}", f"{size / seconds / most:.2f}",
                f"{base / seconds:.2f}", f"{row['error'][name]:.1e}",
            ])  # fmt: skip
    models = []
    for name, taken in gemma["token_seconds"].items():
        seconds, size = taken["median"], gemma["bytes"][name]
        own = gemma["linears_seconds"][name]["median"]
        models.append([
            name, f"{1 / seconds:.1f}", f"{size / 1e6:.0f}", f"{size / seconds / 1e9:.1f}",
            f"{gemma['token_seconds']['dense bf16']['median'] / seconds:.2f}",
            f"{own * 1e3:.2f}", f"{gemma['linears_bytes'][name] / own / 1e9:.1f}",
            f"{gemma['logit_error'][name]:.1e}",
        ])  # fmt: skip
    return [
        Table(["memory, read only, GB/s"], [[f"{most / 1e9:.1f}"]]),
        Table(["batch", f"{LAYER[0]} × {LAYER[1]}", "MB", "ms", "GB/s", "of the memory's",
               "times dense bf16", "error to float64"], rows),
        Table(["Gemma 3 270M, batch 1", "tokens/s", "MB a token", "GB/s", "times dense bf16",
               "linears alone, ms", "linears alone, GB/s", "logits' error to float32"], models),
    ]  # fmt: skip


def bars(found: Mapping[str, Any]) -> list[Bar]:
    """Packed against dense, round by round."""
    made = []
    one = found["layer"]["batches"]["1"]["seconds"]
    fastest = min((n for n in one if n.startswith("packed")), key=lambda n: one[n]["median"])
    gemma = found["gemma"]["token_seconds"]
    for what, rows, packed in (("layer, batch 1", one, fastest),
                               ("Gemma decoding", gemma, "packed")):  # fmt: skip
        for dense, least in (("dense bf16", GOAL), ("dense bf16", 1.0), ("dense float32", 1.0)):
            ratios = pairwise(rows[dense]["values"], rows[packed]["values"])
            made.append(bar(f"{what}: times {dense}", ratios, least=least))
    return made


def main() -> None:
    parser = options_of(__doc__, "decoding")
    parser.add_argument("--folder", type=Path, help="a pruned Gemma 3 270M; made if absent")
    given = parsed(parser)
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    folder = given.folder or pruned_folder(given)
    with torch.inference_mode():
        found: dict[str, Any] = {
            "threads": given.threads,
            "bandwidth": bandwidth(),
            "layer": layer(),
            "gemma": decoding(folder),
        }
    save(given.results, found, tables=tables(found), bars=bars(found))


if __name__ == "__main__":
    main()
