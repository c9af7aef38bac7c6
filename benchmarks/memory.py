"""Peak memory of pruning a made-up model of 24 and of 96 blocks, each in a process of its own.

The models are Llama-shaped, float32, one width. With ``--experts`` they are mixtures, and few
blocks are enough: one block's size is what counts. Two figures are reported: anonymous memory,
sampled every 20 ms, and the high-water mark of resident memory, both against what ``mwanda plan``
said before.
"""

from __future__ import annotations

import argparse
import shutil
from typing import Any

from harness import Bar, Table, bar, options_of, parsed, save
from made_up import llama, make_model, mixture, write_text
from processes import call

KINDS = {"anonymous": "anonymous", "resident": "high_water"}
"""What a process is seen to take -> what ``plan`` calls it."""

WINDOWS, LENGTH = 2, 128
"""Of each of two languages, and tokens of each."""


def measure(blocks: int, given: argparse.Namespace) -> dict[str, Any]:
    """Make a model, plan, prune, and throw both away."""
    folder, out = given.work / f"model-{blocks}", given.work / f"pruned-{blocks}"
    for old in (folder, out):
        shutil.rmtree(old, ignore_errors=True)
    config = llama(blocks, given.width, "float32")
    if given.experts:
        config = mixture(blocks, given.width, "float32", given.experts)
    size = make_model(folder, config)
    options = ["--calibration", given.work / "text", "--criterion", "m-wanda",
               "--allocation", "cwl", "--windows", WINDOWS, "--window-length", LENGTH,
               "--json"]  # fmt: skip
    planned = call(given, "plan", folder, *options).output
    process = call(given, "prune", folder, "--out", out, *options)
    for old in (folder, out):
        shutil.rmtree(old)
    return {
        "blocks": blocks,
        "checkpoint": size,
        "seconds": process.seconds,
        **{kind: getattr(process, kind) for kind in KINDS},
        **{f"planned_{kind}": planned[name] for kind, name in KINDS.items()},
    }


def bars_of(found: list[dict[str, Any]]) -> list[Bar]:
    """The plan against every measurement, and the largest model against the smallest."""
    bars = []
    for kind in KINDS:
        for one in found:
            error = abs(one[f"planned_{kind}"] / one[kind] - 1)
            bars.append(bar(f"plan's error, {kind}, {one['blocks']} blocks", error, most=0.25))
        if len(found) > 1:
            peaks = [one[kind] for one in found]
            claim = f"peak {kind} memory, largest / smallest"
            bars.append(bar(claim, max(peaks) / min(peaks), most=1.10))
            size = min(one["checkpoint"] / one[kind] for one in found)
            bars.append(bar(f"checkpoint / peak {kind} memory", size, least=5.0))
    return bars


def main() -> None:
    parser = options_of(__doc__, "memory")
    parser.add_argument("--blocks", type=int, nargs="+", default=[24, 96])
    parser.add_argument("--width", type=int, default=2048)
    parser.add_argument("--experts", type=int, default=0, help="in every block; 0: a dense model")
    given = parsed(parser)
    write_text(given.work / "text", ("de", "sw"), WINDOWS * LENGTH)
    found = [measure(blocks, given) for blocks in given.blocks]
    header = ["blocks", "checkpoint GB", "anonymous GB", "planned", "resident GB", "planned",
              "seconds"]  # fmt: skip
    keys = ["anonymous", "planned_anonymous", "resident", "planned_resident"]
    rows = [
        [str(one["blocks"]), f"{one['checkpoint'] / 1e9:.2f}",
         *(f"{one[key] / 1e9:.3f}" for key in keys), f"{one['seconds']:.0f}"]
        for one in found
    ]  # fmt: skip
    settings = {key: getattr(given, key) for key in ("width", "experts", "threads")}
    save(given.results, {**settings, "runs": found}, tables=[Table(header, rows)],
         bars=bars_of(found))  # fmt: skip


if __name__ == "__main__":
    main()
