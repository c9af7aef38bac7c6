"""A model larger than memory: about 8 billion parameters, pruned from shards to shards in 4 GB.

A random Llama-3-8B-shaped checkpoint in bfloat16 is written tensor by tensor; a child process whose
private writable memory the kernel limits (``RLIMIT_DATA``, set before it starts) prunes it, by
magnitude and by one short wanda calibration. Then ``mwanda verify`` runs under the same limit and
the folder is opened: by transformers on the meta device, with no tensor missing or left over; by
header, name, dtype and shape as the source's; and every tensor that is not pruned byte for byte.
"""

from __future__ import annotations

import argparse
import shutil
import time
from pathlib import Path
from typing import Any

import torch

from harness import Table, bar, options_of, parsed, save
from made_up import llama, make_model, write_text
from mwanda.model.stored.reader import Checkpoint
from processes import call

PRUNES = {
    "magnitude": ["--criterion", "magnitude", "--allocation", "uniform"],
    "wanda": ["--criterion", "wanda", "--allocation", "uniform"],
}
TAGS = ("de", "sw")


def make(given: argparse.Namespace, folder: Path) -> int:
    """The checkpoint; returns its bytes.

    Raises:
        SystemExit: too little disk for it and one pruned copy.
    """
    config = llama(
        given.blocks, given.width, "bfloat16", intermediate_size=given.width * 7 // 2,
        num_key_value_heads=max(1, given.width // 512), vocab_size=given.vocabulary,
        max_position_embeddings=8192,
        rope_parameters={"rope_type": "default", "rope_theta": 500_000.0},
    )  # fmt: skip
    block = given.width * given.width * 13  # attention 2.5, feed-forward 10.5
    expected = 2 * (given.blocks * block + 2 * given.vocabulary * given.width)
    free = shutil.disk_usage(given.work).free
    if free < 2 * expected + 2_000_000_000:
        raise SystemExit(
            f"{given.work}: {free / 1e9:.0f} GB free, {2 * expected / 1e9 + 2:.0f} GB needed"
        )
    return make_model(folder, config, "bfloat16", shard=given.shard)


def check(source: Path, pruned: Path) -> dict[str, Any]:
    """Open the pruned folder in every way that does not need its size in memory.

    Raises:
        ValueError: what is not as it should be.
    """
    from transformers import AutoModelForCausalLM

    model, loading = AutoModelForCausalLM.from_pretrained(
        pruned, device_map="meta", output_loading_info=True, local_files_only=True
    )
    problems = [f"{kind}: {names}" for kind, names in loading.items() if names]
    parameters = sum(p.numel() for p in model.parameters())
    equal = nonzero = 0
    with Checkpoint.open(source) as before, Checkpoint.open(pruned) as after:
        if list(before.tensors) != list(after.tensors):
            problems.append("other tensors than the source's")
        for name, info in after.tensors.items():
            was = before.tensors[name]
            if (info.dtype, tuple(info.shape)) != (was.dtype, tuple(was.shape)):
                problems.append(f"{name}: another dtype or shape")
            elif not name.endswith("_proj.weight"):
                equal += 1
                if not torch.equal(before.read(name), after.read(name)):
                    problems.append(f"{name}: changed")
            else:
                weight = after.read(name)
                kept = weight != 0
                nonzero += int(torch.count_nonzero(kept))
                # −0 equals 0, and what is not kept is 0 in both: no copy by positions.
                if not torch.equal(weight, before.read(name).masked_fill_(~kept, 0)):
                    problems.append(f"{name}: kept weights changed")
        shards = len(list(pruned.glob("*.safetensors")))
    if problems:
        raise ValueError(f"{pruned}: {problems[:5]}")
    return {
        "parameters": parameters,
        "shards": shards,
        "tensors_unchanged": equal,
        "kept_weights_unchanged": nonzero,
    }


def prune(name: str, model: Path, given: argparse.Namespace) -> dict[str, Any]:
    """One prune under the limit, its verification, and the folder opened."""
    out = given.work / f"pruned-{name}"
    shutil.rmtree(out, ignore_errors=True)
    line = ["prune", model, "--out", out, "--sparsity", "0.5", "--mode", given.mode,
            *PRUNES[name], "--json"]  # fmt: skip
    if name != "magnitude":
        line += ["--calibration", given.work / "text", "--windows", str(given.windows),
                 "--window-length", str(given.length)]  # fmt: skip
    process = call(given, *line, data_limit=given.limit)
    verified = call(given, "verify", out, "--json", data_limit=given.limit)
    start = time.perf_counter()
    opened = check(model, out)
    output = process.output
    found = {
        **process.as_dict(),
        "output": None,
        "stages": output["seconds"],
        **{key: output[key] for key in ("totals", "limit", "compute_dtype")},
        "verify": {
            "seconds": verified.seconds,
            "anonymous": verified.anonymous,
            "problems": verified.output["problems"],
        },
        "opened": {"seconds": time.perf_counter() - start, **opened},
    }
    if not given.keep:
        shutil.rmtree(out)
    return found


def main() -> None:
    parser = options_of(__doc__, "large")
    parser.add_argument("--prunes", nargs="+", choices=list(PRUNES), default=list(PRUNES))
    parser.add_argument("--mode", default="dense")
    parser.add_argument("--blocks", type=int, default=32)
    parser.add_argument("--width", type=int, default=4096, help="a multiple of 512")
    parser.add_argument("--vocabulary", type=int, default=128_256)
    parser.add_argument("--shard", type=int, default=5_000_000_000, help="bytes of a source shard")
    parser.add_argument("--windows", type=int, default=2, help="a language; there are two")
    parser.add_argument("--length", type=int, default=64)
    parser.add_argument("--limit", type=int, default=4_000_000_000, help="bytes, of each process")
    parser.add_argument("--keep", action="store_true", help="leave the folders where they are")
    parser.add_argument("--reuse", action="store_true", help="the model that --keep left")
    given = parsed(parser)
    model = given.work / "model"
    start = time.perf_counter()
    if given.reuse:
        size = sum(path.stat().st_size for path in model.glob("*.safetensors"))
    else:
        shutil.rmtree(model, ignore_errors=True)
        size = make(given, model)
    making = time.perf_counter() - start
    print(f"made {size / 1e9:.2f} GB in {making:.0f} s", flush=True)
    write_text(given.work / "text", TAGS, given.windows * given.length)
    found = {name: prune(name, model, given) for name in given.prunes}
    shards = len(list(model.glob("*.safetensors")))
    if not given.keep:
        shutil.rmtree(model)
        shutil.rmtree(given.work / "text")
    rows = [
        [name, f"{data['seconds']:.0f}",
         *(f"{data[kind] / 1e9:.2f}" for kind in ("anonymous", "mapped", "resident")),
         ", ".join(f"{stage} {seconds:.0f}" for stage, seconds in data["stages"].items()),
         f"{data['limit']['share']:.0%}", f"{data['verify']['seconds']:.0f}"]
        for name, data in found.items()
    ]  # fmt: skip
    header = ["prune", "seconds", "anonymous GB", "mapped GB", "resident GB", "stages, seconds",
              "work's share", "verify, seconds"]  # fmt: skip
    bars = []
    for name, data in found.items():
        claim = f"peak anonymous memory in GB, {name}"
        bars.append(bar(claim, data["anonymous"] / 1e9, most=given.limit / 1e9))
        bars.append(bar(f"problems verify finds, {name}", len(data["verify"]["problems"]), most=0))
    data = {
        "checkpoint": size, "source_shards": shards, "making_seconds": making,
        "limit": given.limit, "mode": given.mode, "windows": given.windows * len(TAGS),
        "window_length": given.length, "threads": given.threads, "prunes": found,
    }  # fmt: skip
    save(given.results, data, tables=[Table(header, rows)], bars=bars)


if __name__ == "__main__":
    main()
