"""Wall time and peak memory of pruning Gemma 3 270M, side by side with what one would run instead.

Every round runs every tool once, one process after the other, on the same dense folder and the same
token windows: mwanda (wanda with uniform sparsity, m-wanda with cwl; dense and sequential
statistics), llm-compressor's WandaPruningModifier in its own environment, wanda as its authors
describe it, and one plain forward through the decoder. Ratios are taken round by round.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from harness import Bar, Table, bar, mask_difference, options_of, pairwise, parsed, save, spread
from processes import MWANDA, environment, mwanda_split, run
from real_models import dense_folder, windows_file

PLAIN, PEER, AUTHORS = "plain forward", "llm-compressor", "authors' algorithm"
METHODS = {
    "wanda dense": ("wanda", "uniform", "dense"),
    "wanda sequential": ("wanda", "uniform", "sequential"),
    "m-wanda + cwl dense": ("m-wanda", "cwl", "dense"),
    "m-wanda + cwl sequential": ("m-wanda", "cwl", "sequential"),
}
HERE = Path(__file__).parent / "runners"
RUNNERS = {
    PLAIN: HERE / "plain_forward.py",
    PEER: HERE / "llmcompressor_wanda.py",
    AUTHORS: HERE / "wanda_reference.py",
}
STAGES = ("import", "load", "prune", "forward", "save")
MEMORY = ("resident", "anonymous")
TOOLS = (PLAIN, *METHODS, PEER, AUTHORS)
AGAINST_PEERS = {"wanda dense": 0.5, "wanda sequential": 0.8}
AGAINST_FORWARD = {"wanda dense": 1.25, "wanda sequential": 2.2}


def command(tool: str, given: argparse.Namespace, model: Path, windows: Path) -> list[str | Path]:
    """The command line of one tool, without the folder it writes."""
    if tool in METHODS:
        criterion, allocation, mode = METHODS[tool]
        return [*MWANDA, "prune", model, "--calibration", windows,
                "--sparsity", "0.5", "--criterion", criterion, "--allocation", allocation,
                "--mode", mode, "--compute-dtype", "float32", "--json"]  # fmt: skip
    python = given.peer_python if tool == PEER else sys.executable
    return [python, RUNNERS[tool], "--model", model, "--windows", windows,
            "--threads", str(given.threads)]  # fmt: skip


def folder_of(tool: str, work: Path) -> Path:
    return work / tool.replace("'", "").replace(" + ", "-").replace(" ", "-")


def measure(tool: str, given: argparse.Namespace, model: Path, windows: Path) -> dict[str, Any]:
    """One run of one tool: the process, and its time as import, load, prune or forward, save."""
    line = command(tool, given, model, windows)
    if tool != PLAIN:
        out = folder_of(tool, given.work)
        shutil.rmtree(out, ignore_errors=True)
        line += ["--out", out]
    process = run(line, env=environment(given.threads))
    stages = process.output["seconds"]
    if tool in METHODS:
        split = mwanda_split(process)
    else:
        known = sum(seconds for stage, seconds in stages.items() if stage != "import")
        split = stages | {"import": process.seconds - known}
    dropped = ("folder", "recipe", "signals")
    output = {name: value for name, value in process.output.items() if name not in dropped}
    return vars(process) | {"split": split, "own": sum(stages.values()), "output": output}


def values(rounds: list[dict[str, Any]], tool: str, kind: str) -> list[float]:
    """A figure of a tool, or of its split, in every round."""
    return [{**one[tool]["split"], **one[tool]}[kind] for one in rounds]


def ratios(rounds: list[dict[str, Any]]) -> tuple[dict[str, Any], list[Bar]]:
    """Every ratio the tools that ran allow, and the bars among them."""
    ran = rounds[0].keys()
    found: dict[str, Any] = {}
    bars: list[Bar] = []

    def add(claim: str, first: Sequence[str], second: Sequence[str], most: float | None) -> None:
        """Of two tools, and what of each."""
        if ran >= {first[0], second[0]}:
            found[claim] = pairwise(values(rounds, *first), values(rounds, *second))
            if most is not None:
                bars.append(bar(claim, found[claim], most=most))

    for tool in METHODS:
        for peer in (PEER, AUTHORS):
            add(f"whole process, {tool} / {peer}", (tool, "seconds"), (peer, "seconds"),
                AGAINST_PEERS.get(tool))  # fmt: skip
            for kind in MEMORY:
                limit = 0.5 if peer == PEER and tool in AGAINST_PEERS else None
                add(f"peak {kind} memory, {tool} / {peer}", (tool, kind), (peer, kind), limit)
        add(f"prune's own time, {tool} / plain forward", (tool, "own"), (PLAIN, "forward"),
            AGAINST_FORWARD.get(tool))  # fmt: skip
    for mode, limit in (("dense", 1.05), ("sequential", None)):
        add(f"prune's own time, m-wanda + cwl / wanda, {mode}", (f"m-wanda + cwl {mode}", "own"),
            (f"wanda {mode}", "own"), limit)  # fmt: skip
    return found, bars


def limits(
    rounds: list[dict[str, Any]], given: argparse.Namespace, model: Path, windows: Path
) -> Table:
    """What each prune had to do, and the share of its own time that takes at the machine's rates:
    both as mwanda itself reports them."""
    rows = []
    for tool in (name for name in METHODS if name in rounds[0]):
        line = command(tool, given, model, windows)
        line[line.index("prune")] = "plan"
        passes = run(line, env=environment(given.threads)).output["passes"]
        every = [one[tool]["output"]["limit"] for one in rounds]
        share, rate = (spread([one[key] for one in every]) for key in ("share", "matmul_rate"))
        rows.append([
            tool, f"{passes}", f"{every[0]['flops'] / 1e12:.2f}", f"{rate['median'] / 1e9:.0f}",
            *(f"{every[0][key] / 1e9:.2f}" for key in ("bytes_read", "bytes_written")),
            f"{share['median']:.0%}",
        ])  # fmt: skip
    header = ["what must be done", "block passes", "TFLOP", "at GFLOP/s", "GB read",
              "GB written", "share of own time"]  # fmt: skip
    return Table(header, rows)


def agreement(ran: tuple[str, ...], work: Path) -> dict[str, Any]:
    """Masks compared, over every linear: both modes of mwanda, and each peer, with each other."""
    pairs = [("wanda sequential", PEER), ("wanda sequential", AUTHORS), (PEER, AUTHORS),
             ("wanda dense", "wanda sequential")]  # fmt: skip
    return {
        f"{first} and {second}": mask_difference(folder_of(first, work), folder_of(second, work))
        for first, second in pairs
        if first in ran and second in ran
    }


def main() -> None:
    parser = options_of(__doc__, "speed", "gnome/")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tools", nargs="+", choices=TOOLS, default=list(TOOLS))
    parser.add_argument("--peer-python", help="interpreter that has llmcompressor")
    given = parsed(parser)
    if PEER in given.tools and given.peer_python is None:
        parser.error("--peer-python is needed for llm-compressor; benchmarks/README.md says how")
    model = dense_folder(given)
    windows = windows_file(given, model)
    tools = tuple(tool for tool in TOOLS if tool in given.tools)
    rounds: list[dict[str, Any]] = []
    for number in range(given.rounds):
        rounds.append({})
        for tool in tools:
            rounds[-1][tool] = one = measure(tool, given, model, windows)
            print(f"round {number + 1}, {tool}: {one['seconds']:.1f} s", flush=True)
    found, bars = ratios(rounds)

    def shown(tool: str, kind: str) -> str:
        """A median, in seconds or GB; nothing for a stage that a tool has not."""
        if kind in STAGES and kind not in rounds[0][tool]["split"]:
            return ""
        found = median(values(rounds, tool, kind))
        return f"{found / 1e9:.2f}" if kind in MEMORY else f"{found:.1f}"

    rows = [[tool, *(shown(tool, kind) for kind in ("seconds", *STAGES, *MEMORY))]
            for tool in tools]  # fmt: skip
    masks = agreement(tools, given.work)
    differing = [
        [pair, f"{one['linears']}", f"{one['weights']:,}", f"{one['differing']:,}",
         f"{one['share']:.2e}", " / ".join(f"{x:.4%}" for x in one["sparsity"])]
        for pair, one in masks.items()
    ]  # fmt: skip
    ratio_rows = [
        [claim, *(f"{one[key]:.3f}" for key in ("median", "min", "max"))]
        for claim, one in found.items()
    ]
    save(
        given.results,
        {"threads": given.threads, "ratios": found, "masks": masks, "rounds": rounds},
        tables=[
            Table(["whole process", "seconds", *STAGES, "resident GB", "anonymous GB"], rows),
            limits(rounds, given, model, windows),
            Table(["ratio, round by round", "median", "min", "max"], ratio_rows),
            Table(["masks of", "linears", "weights", "differing", "share", "sparsity"], differing),
        ],
        bars=bars,
    )


if __name__ == "__main__":
    main()
