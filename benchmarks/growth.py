"""Time and peak memory against windows, blocks and languages, one grown while the others stay.

Made-up Llamas, m-wanda with cwl, dense and sequential, every prune in a process of its own. The
share of a language stays the same number of windows, so languages grow the text too; ``languages,
same text`` divides one amount of text among them instead. A batch is one window everywhere, so that
more windows are not larger batches too.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np

from harness import Table, bar, options_of, save, svg_plots
from made_up import TAGS, llama, make_model, write_text
from processes import call, mwanda_split

MODES = ("dense", "sequential")
SIZES = (1, 4, 16, 64)
WIDTH, LENGTH = 512, 128
"""Of the models, and of a window in tokens."""


class Point(NamedTuple):
    """One size, and where each stays while another grows; windows are a language's."""

    windows: int = 4
    blocks: int = 4
    languages: int = 4


AXES = {
    "windows": [Point(windows=size) for size in SIZES],
    "blocks": [Point(blocks=size) for size in SIZES],
    "languages": [Point(languages=size) for size in SIZES],
    "languages, same text": [Point(languages=n, windows=max(SIZES) // n) for n in SIZES],
}


def deviation(values: Sequence[float]) -> float:
    """The largest distance from the least-squares line, over the largest value: near 0 where growth
    is linear or flat."""
    line = np.polyval(np.polyfit(SIZES, values, 1), SIZES)
    return float(np.abs(line - values).max() / max(values))


def measure(point: Point, mode: str, given: argparse.Namespace) -> dict[str, float]:
    """One prune: its own seconds, without imports, and its memory."""
    out = given.work / "pruned"
    process = call(
        given, "prune", given.work / f"model-{point.blocks}", "--out", out,
        "--calibration", given.work / "text", "--languages", ",".join(TAGS[: point.languages]),
        "--windows", point.windows, "--window-length", LENGTH,
        "--criterion", "m-wanda", "--allocation", "cwl", "--mode", mode,
        "--compute-dtype", "float32", "--batch-tokens", LENGTH,
        "--activation-memory", "8MiB", "--json",
    )  # fmt: skip
    shutil.rmtree(out)
    return {
        "seconds": process.seconds - mwanda_split(process)["import"],
        "anonymous": process.anonymous,
        "resident": process.resident,
    }


def draw(axes_of: Mapping[str, Any], target: Path) -> None:
    """The figure: time above, memory below, one column an axis; the same every time."""
    figure, axes = svg_plots().subplots(2, len(axes_of), figsize=(12, 5), layout="constrained")
    for column, (name, modes) in enumerate(axes_of.items()):
        for mode, colour in zip(MODES, ("#1f4e79", "#b0533c"), strict=True):
            memory = [value / 1e9 for value in modes[mode]["anonymous"]]
            for row, values in enumerate((modes[mode]["seconds"], memory)):
                axes[row, column].plot(SIZES, values, "o-", label=mode, color=colour, markersize=4)
        axes[1, column].set_xlabel(name)
    for one in axes.flat:
        one.set_ylim(bottom=0)
        one.set_xticks(SIZES)
        one.tick_params(labelsize=8)
        one.spines[["top", "right"]].set_visible(False)
    axes[0, 0].set_ylabel("prune, seconds")
    axes[1, 0].set_ylabel("peak anonymous memory, GB")
    axes[0, 0].legend(frameon=False, fontsize=8)
    figure.savefig(target, metadata={"Date": None})


def main() -> None:
    parser = options_of(__doc__, "growth")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    shutil.rmtree(given.work, ignore_errors=True)
    given.work.mkdir(parents=True)
    every = list(dict.fromkeys(point for axis in AXES.values() for point in axis))
    write_text(given.work / "text", TAGS, max(point.windows for point in every) * LENGTH)
    for blocks in SIZES:
        folder = given.work / f"model-{blocks}"
        make_model(folder, llama(blocks, WIDTH, "float32"))
    runs: dict[tuple[Point, str], list[dict[str, float]]] = {}
    for number in range(given.rounds):
        for point in every:
            for mode in MODES:
                runs.setdefault((point, mode), []).append(measure(point, mode, given))
        print(f"round {number + 1} of {given.rounds}", flush=True)
    shutil.rmtree(given.work)
    axes: dict[str, Any] = {}
    rows, bars = [], []
    for name, points in AXES.items():
        axes[name] = {}
        for mode in MODES:
            some = [runs[point, mode] for point in points]
            one = {
                what: [median(run[what] for run in of_size) for of_size in some]
                for what in ("seconds", "anonymous", "resident")
            }
            axes[name][mode] = {**one, "rounds": some}
            label, cells = f"{name}, {mode}", zip(one["seconds"], one["anonymous"], strict=True)
            rows.append([label, *(f"{s:.1f} s {m / 1e9:.2f} GB" for s, m in cells)])
            off, grown = deviation(one["seconds"]), max(one["anonymous"]) / min(one["anonymous"])
            bars.append(bar(f"time linear or flat in {label}: deviation", off, most=0.1))
            bars.append(bar(f"memory flat in {label}: largest / smallest", grown, most=1.25))
    table = Table(["grown to", *map(str, SIZES)], rows)
    save(given.results, {"sizes": SIZES, "axes": axes}, tables=[table], bars=bars)
    draw(axes, Path("docs/images/growth.svg"))


if __name__ == "__main__":
    main()
