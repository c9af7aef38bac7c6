"""Peak memory of pruning a made-up model of 24 and of 96 blocks, each in a process of its own.

The models are Llama-shaped, float32, one width; each checkpoint is at least five times the peak.
With ``--experts`` they are mixtures, and few blocks are enough: one block's size is what counts.
Two figures are reported: anonymous memory, sampled every 20 ms, and the high-water mark of resident
memory, both against what ``mwanda plan`` said before.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path
from typing import Any

from harness import mwanda, run
from made_up import llama, make_model, mixture, write_text
from mwanda.report.tables import plain


def measure(blocks: int, given: argparse.Namespace) -> dict[str, Any]:
    """Make a model, plan, prune, and throw both away."""
    folder, out = given.work / f"model-{blocks}", given.work / f"pruned-{blocks}"
    for old in (folder, out):
        shutil.rmtree(old, ignore_errors=True)
    config = llama(blocks, given.width, given.dtype)
    if given.experts:
        config = mixture(blocks, given.width, given.dtype, given.experts)
    size = make_model(folder, config, given.dtype)
    options = ["--calibration", str(given.work / "text"), "--criterion", given.criterion,
               "--windows", str(given.windows), "--window-length", str(given.length),
               "--compute-dtype", given.compute_dtype, "--json"]  # fmt: skip
    program = mwanda(sys.executable)
    planned = run([*program, "plan", folder, *options]).output
    process = run([*program, "prune", folder, "--out", out, *options])
    for old in (folder, out):
        shutil.rmtree(old)
    return {
        "blocks": blocks,
        "experts": given.experts,
        "checkpoint": size,
        "anonymous": process.anonymous,
        "high_water": process.resident,
        "planned_anonymous": planned["anonymous"],
        "planned_high_water": planned["high_water"],
        "seconds": process.seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("out/memory"))
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results/memory.json"))
    parser.add_argument("--blocks", type=int, nargs="+", default=[24, 96])
    parser.add_argument("--width", type=int, default=2048)
    parser.add_argument("--experts", type=int, default=0, help="in every block; 0: a dense model")
    parser.add_argument("--dtype", default="float32", help="of the checkpoint")
    parser.add_argument("--compute-dtype", default="auto")
    parser.add_argument("--criterion", default="m-wanda")
    parser.add_argument("--windows", type=int, default=2)
    parser.add_argument("--length", type=int, default=128)
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    write_text(given.work / "text", ("de", "sw"), given.windows * given.length)
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
