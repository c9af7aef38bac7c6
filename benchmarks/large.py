"""A model larger than memory: about 8 billion parameters, pruned from shards to shards in 4 GB.

A random Llama-3-8B-shaped checkpoint in bfloat16 is written tensor by tensor; a child process whose
private writable memory the kernel limits (``RLIMIT_DATA``, set before it starts) prunes it, by
magnitude and by one short wanda calibration. Then ``mwanda verify`` runs under the same limit, and
without it against the source: every tensor has its name, dtype and shape, and every weight that was
not pruned its value. And transformers opens the folder on the meta device.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from typing import Any

from harness import Table, bar, options_of, parsed, save
from made_up import llama, make_model, write_text
from mwanda.system.files import check_disk_space
from processes import call

CRITERIA = ("magnitude", "wanda")
WINDOWS, LENGTH = 2, 64
"""Of each of two languages, and tokens of each."""
LIMIT = 4_000_000_000
"""Bytes, of each process."""


def make(work: Path, *, blocks: int = 32, vocabulary: int = 128_256) -> int:
    """The checkpoint ``work/model``; returns its bytes, or refuses where the disk has no room for
    it and one pruned copy."""
    folder, width = work / "model", 4096
    shutil.rmtree(folder, ignore_errors=True)
    config = llama(
        blocks, width, "bfloat16", intermediate_size=width * 7 // 2,
        num_key_value_heads=width // 512, vocab_size=vocabulary, max_position_embeddings=8192,
        rope_parameters={"rope_type": "default", "rope_theta": 500_000.0},
    )  # fmt: skip
    block = width * width * 13  # attention 2.5, feed-forward 10.5
    size = 2 * (blocks * block + 2 * vocabulary * width)
    check_disk_space(work, 2 * size + 2_000_000_000, "a model and a pruned copy")
    return make_model(folder, config, shard=5_000_000_000)


def opened(folder: Path) -> int:
    """Parameters of a folder that transformers opens on the meta device; no tensor may be missing
    or left over."""
    from transformers import AutoModelForCausalLM

    model, loading = AutoModelForCausalLM.from_pretrained(
        folder, device_map="meta", output_loading_info=True, local_files_only=True
    )
    if problems := {kind: names for kind, names in loading.items() if names}:
        raise ValueError(f"{folder}: {problems}")
    return sum(p.numel() for p in model.parameters())


def prune(criterion: str, given: argparse.Namespace) -> dict[str, Any]:
    """One prune under the limit, its verification, and the folder opened."""
    model, out = given.work / "model", given.work / f"pruned-{criterion}"
    shutil.rmtree(out, ignore_errors=True)
    line = ["prune", model, "--out", out, "--sparsity", "0.5", "--mode", "dense",
            "--criterion", criterion, "--allocation", "uniform", "--json"]  # fmt: skip
    if criterion != "magnitude":
        line += ["--calibration", given.work / "text", "--windows", WINDOWS,
                 "--window-length", LENGTH]  # fmt: skip
    process = call(given, *line, data_limit=LIMIT)
    verified = call(given, "verify", out, "--json", data_limit=LIMIT)
    compared = call(given, "verify", out, "--against", model, "--json")
    found = {
        **vars(process),
        "verify": {"seconds": verified.seconds, "anonymous": verified.anonymous},
        "problems": verified.output["problems"] + compared.output["problems"],
        "parameters": opened(out),
        "shards": len(list(out.glob("*.safetensors"))),
    }
    shutil.rmtree(out)
    return found


def main() -> None:
    given = parsed(options_of(__doc__, "large"))
    size = make(given.work)
    print(f"made {size / 1e9:.2f} GB", flush=True)
    write_text(given.work / "text", ("de", "sw"), WINDOWS * LENGTH)
    found = {criterion: prune(criterion, given) for criterion in CRITERIA}
    for folder in ("model", "text"):
        shutil.rmtree(given.work / folder)
    rows = [
        [name, f"{data['seconds']:.0f}",
         *(f"{data[kind] / 1e9:.2f}" for kind in ("anonymous", "mapped", "resident")),
         ", ".join(f"{stage} {spent:.0f}" for stage, spent in data["output"]["seconds"].items()),
         f"{data['output']['limit']['share']:.0%}", f"{data['verify']['seconds']:.0f}"]
        for name, data in found.items()
    ]  # fmt: skip
    header = ["prune", "seconds", "anonymous GB", "mapped GB", "resident GB", "stages, seconds",
              "work's share", "verify, seconds"]  # fmt: skip
    bars = []
    for name, data in found.items():
        claim = f"peak anonymous memory in GB, {name}"
        bars.append(bar(claim, data["anonymous"] / 1e9, most=LIMIT / 1e9))
        bars.append(bar(f"problems verify finds, {name}", len(data["problems"]), most=0))
    data = {"checkpoint": size, "limit": LIMIT, "threads": given.threads, "prunes": found}
    save(given.results, data, tables=[Table(header, rows)], bars=bars)


if __name__ == "__main__":
    main()
