"""Wall time and peak memory of pruning Gemma 3 270M, side by side with what one would run instead.

Every round runs every tool once, one process after the other, on the same dense folder and the same
token windows: mwanda (wanda with uniform sparsity, m-wanda with cwl; dense and sequential
statistics), llm-compressor's WandaPruningModifier in its own environment, wanda as its authors
describe it, and one plain forward through the decoder. Ratios are taken round by round.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from typing import Any

from harness import Bar, Table, bar, mask_difference, options_of, pairwise, parsed, save, spread
from processes import Process, environment, mwanda, mwanda_split, run
from real_models import dense_folder, windows_file

RUNNERS = Path(__file__).parent / "runners"
PLAIN, PEER, AUTHORS = "plain forward", "llm-compressor", "authors' algorithm"
METHODS = {
    "wanda dense": ("wanda", "uniform", "dense"),
    "wanda sequential": ("wanda", "uniform", "sequential"),
    "m-wanda + cwl dense": ("m-wanda", "cwl", "dense"),
    "m-wanda + cwl sequential": ("m-wanda", "cwl", "sequential"),
}
TOOLS = (PLAIN, *METHODS, PEER, AUTHORS)
AGAINST_PEERS = {"wanda dense": 0.5, "wanda sequential": 0.8}
AGAINST_FORWARD = {"wanda dense": 1.25, "wanda sequential": 2.2}


def command(tool: str, given: argparse.Namespace, model: Path, windows: Path) -> list[str | Path]:
    """The command line of one tool, without the folder it writes."""
    if tool in METHODS:
        criterion, allocation, mode = METHODS[tool]
        return [*mwanda(given.python), "prune", model, "--calibration", windows,
                "--sparsity", str(given.sparsity), "--criterion", criterion,
                "--allocation", allocation, "--mode", mode,
                "--compute-dtype", "float32", "--json"]  # fmt: skip
    script = RUNNERS / {
        PLAIN: "plain_forward.py", PEER: "llmcompressor_wanda.py", AUTHORS: "wanda_reference.py"
    }[tool]  # fmt: skip
    python = given.peer_python if tool == PEER else given.python
    line: list[str | Path] = [python, script, "--model", model, "--windows", windows,
                              "--threads", str(given.threads)]  # fmt: skip
    return line if tool == PLAIN else [*line, "--sparsity", str(given.sparsity)]


def folder_of(tool: str, work: Path) -> Path:
    return work / tool.replace("'", "").replace(" + ", "-").replace(" ", "-")


def measure(
    tool: str, given: argparse.Namespace, model: Path, windows: Path
) -> tuple[Process, dict[str, float]]:
    """One run of one tool: the process, and its time as import, load, prune or forward, save."""
    line = command(tool, given, model, windows)
    if tool != PLAIN:
        out = folder_of(tool, given.work)
        shutil.rmtree(out, ignore_errors=True)
        line += ["--out", out]
    process = run(line, env=environment(given.threads))
    if tool in METHODS:
        return process, mwanda_split(process)
    split = dict(process.output["seconds"])
    known = sum(seconds for stage, seconds in split.items() if stage != "import")
    return process, split | {"import": process.seconds - known}


def whole(rounds: list[dict[str, Any]], tool: str) -> list[float]:
    return [one[tool]["seconds"] for one in rounds]


def ratios(rounds: list[dict[str, Any]], *, memory_only: bool) -> tuple[dict[str, Any], list[Bar]]:
    """Every ratio the tools that ran allow, and the bars among them."""
    ran = rounds[0].keys()
    found: dict[str, Any] = {}
    bars: list[Bar] = []

    def add(claim: str, ratio: dict[str, Any], most: float | None) -> None:
        if memory_only and "memory" not in claim:
            return
        found[claim] = ratio
        if most is not None:
            bars.append(bar(claim, ratio, most=most))

    for tool in (name for name in METHODS if name in ran):
        for peer in (name for name in (PEER, AUTHORS) if name in ran):
            add(f"whole process, {tool} / {peer}",
                pairwise(whole(rounds, tool), whole(rounds, peer)),
                AGAINST_PEERS.get(tool))  # fmt: skip
            for kind in ("resident", "anonymous"):
                values = [[one[name][kind] for one in rounds] for name in (tool, peer)]
                limit = 0.5 if peer == PEER and tool in AGAINST_PEERS else None
                add(f"peak {kind} memory, {tool} / {peer}", pairwise(*values), limit)
        if PLAIN in ran:
            own = [sum(one[tool]["stages"].values()) for one in rounds]
            forward = [one[PLAIN]["split"]["forward"] for one in rounds]
            add(f"prune's own time, {tool} / plain forward",
                pairwise(own, forward), AGAINST_FORWARD.get(tool))  # fmt: skip
    for mode, limit in (("dense", 1.05), ("sequential", None)):
        pair = (f"m-wanda + cwl {mode}", f"wanda {mode}")
        if ran >= set(pair):
            own_times = [[sum(one[name]["stages"].values()) for one in rounds] for name in pair]
            add(f"prune's own time, m-wanda + cwl / wanda, {mode}", pairwise(*own_times), limit)
    return found, bars


def limits(
    rounds: list[dict[str, Any]], given: argparse.Namespace, model: Path, windows: Path
) -> tuple[dict[str, Any], Table]:
    """What each prune had to do, and the share of its own time that takes at the machine's rates:
    both as mwanda itself reports them."""
    found: dict[str, Any] = {}
    rows = []
    for tool in (name for name in METHODS if name in rounds[0]):
        line = command(tool, given, model, windows)
        line[line.index("prune")] = "plan"
        passes = run(line, env=environment(given.threads)).output["passes"]
        every = [one[tool]["output"]["limit"] for one in rounds]
        share, rate = (spread([one[key] for one in every]) for key in ("share", "matmul_rate"))
        work = {key: every[0][key] for key in ("flops", "bytes_read", "bytes_written")}
        found[tool] = {"passes": passes, **work, "share": share, "matmul_rate": rate}
        rows.append([
            tool, f"{passes}", f"{work['flops'] / 1e12:.2f}", f"{rate['median'] / 1e9:.0f}",
            f"{work['bytes_read'] / 1e9:.2f}", f"{work['bytes_written'] / 1e9:.2f}",
            f"{share['median']:.0%}",
        ])  # fmt: skip
    header = ["what must be done", "block passes", "TFLOP", "at GFLOP/s", "GB read",
              "GB written", "share of own time"]  # fmt: skip
    return found, Table(header, rows)


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
    parser = options_of(__doc__, "speed")
    parser.add_argument("--data", type=Path, required=True, help="folder with gnome/")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tools", nargs="+", choices=TOOLS, default=list(TOOLS))
    parser.add_argument("--sparsity", type=float, default=0.5)
    parser.add_argument("--windows", type=int, default=8, help="a language; there are fifteen")
    parser.add_argument("--length", type=int, default=256)
    parser.add_argument(
        "--memory-only", action="store_true", help="no ratios of times: for a machine in use"
    )
    parser.add_argument("--peer-python", help="interpreter that has llmcompressor")
    given = parsed(parser)
    if PEER in given.tools and given.peer_python is None:
        parser.error("--peer-python is needed for llm-compressor; benchmarks/README.md says how")
    model, windows = dense_folder(given), windows_file(given)
    tools = tuple(tool for tool in TOOLS if tool in given.tools)
    rounds: list[dict[str, Any]] = []
    for number in range(given.rounds):
        rounds.append({})
        for tool in tools:
            process, split = measure(tool, given, model, windows)
            output = process.output
            rounds[-1][tool] = process.as_dict() | {
                "split": split,
                "stages": output["seconds"],
                "output": {
                    name: output[name] for name in output.keys() - {"folder", "recipe", "signals"}
                },
            }
            print(f"round {number + 1}, {tool}: {process.seconds:.1f} s", flush=True)
    found, bars = ratios(rounds, memory_only=given.memory_only)
    summary = {
        tool: {
            **{
                kind: spread([one[tool][kind] for one in rounds])
                for kind in ("seconds", "resident", "anonymous")
            },
            "split": {
                stage: spread([one[tool]["split"][stage] for one in rounds])
                for stage in rounds[0][tool]["split"]
            },
        }
        for tool in tools
    }
    stages = ("import", "load", "prune", "forward", "save")
    rows = [
        [tool, f"{data['seconds']['median']:.1f}",
         *(f"{data['split'][s]['median']:.1f}" if s in data["split"] else "" for s in stages),
         *(f"{data[kind]['median'] / 1e9:.2f}" for kind in ("resident", "anonymous"))]
        for tool, data in summary.items()
    ]  # fmt: skip
    header = ["whole process", "seconds", *stages, "resident GB", "anonymous GB"]
    masks = agreement(tools, given.work)
    work, work_table = limits(rounds, given, model, windows)
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
        {
            "windows_per_language": given.windows, "window_length": given.length,
            "sparsity": given.sparsity, "threads": given.threads, "tools": summary,
            "ratios": found, "masks": masks, "work": work, "rounds": rounds,
        },
        tables=[
            Table(header, rows),
            work_table,
            Table(["ratio, round by round", "median", "min", "max"], ratio_rows),
            Table(["masks of", "linears", "weights", "differing", "share", "sparsity"], differing),
        ],
        bars=bars,
    )  # fmt: skip


if __name__ == "__main__":
    main()
