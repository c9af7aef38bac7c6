"""Time and peak memory against windows, blocks and languages, one grown while the others stay.

Made-up Llamas, m-wanda with cwl, dense and sequential, every prune in a process of its own. The
share of a language stays the same number of windows, so languages grow the text too; ``languages,
same text`` divides one amount of text among them instead. A batch is one window everywhere, so that
more windows are not larger batches too.
"""

from __future__ import annotations

import argparse
import json
import shutil
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from harness import Table, bar, options_of, pyplot, save, save_figure, spread
from made_up import TAGS, llama, make_model, write_text
from processes import call, mwanda_split

MODES = ("dense", "sequential")


@dataclass(frozen=True)
class Point:
    """One size: windows are a language's."""

    windows: int
    blocks: int
    languages: int


def points(sizes: list[int], base: Point) -> dict[str, list[Point]]:
    """Axis to its points, growing along it."""
    most = max(sizes)
    return {
        "windows": [replace(base, windows=size) for size in sizes],
        "blocks": [replace(base, blocks=size) for size in sizes],
        "languages": [replace(base, languages=size) for size in sizes],
        "languages, same text": [
            replace(base, languages=size, windows=most // size) for size in sizes
        ],
    }


def fit(sizes: list[int], values: list[float]) -> dict[str, float]:
    """Least-squares line through the points and the largest deviation from it, over the largest
    value: near 0 where growth is linear or flat."""
    count = len(sizes)
    mean_x, mean_y = sum(sizes) / count, sum(values) / count
    spread_x = sum((x - mean_x) ** 2 for x in sizes)
    pairs = list(zip(sizes, values, strict=True))
    slope = sum((x - mean_x) * (y - mean_y) for x, y in pairs) / spread_x if spread_x else 0.0
    start = mean_y - slope * mean_x
    worst = max(abs(y - start - slope * x) for x, y in pairs)
    return {"slope": slope, "intercept": start, "deviation": worst / max(values)}


def measure(point: Point, mode: str, model: Path, given: argparse.Namespace) -> dict[str, Any]:
    """One prune."""
    out = given.work / "pruned"
    shutil.rmtree(out, ignore_errors=True)
    tags = ",".join(TAGS[: point.languages])
    process = call(
        given, "prune", model, "--out", out,
        "--calibration", given.work / "text", "--languages", tags,
        "--windows", point.windows, "--window-length", given.length,
        "--criterion", "m-wanda", "--allocation", "cwl", "--mode", mode,
        "--compute-dtype", "float32", "--batch-tokens", given.length,
        "--activation-memory", given.activation_memory, "--json",
    )  # fmt: skip
    shutil.rmtree(out)
    split = mwanda_split(process)
    return {
        "seconds": process.seconds,
        "own": process.seconds - split["import"],
        "prune": split["prune"],
        "anonymous": process.anonymous,
        "resident": process.resident,
    }


def draw(data: dict[str, Any], target: Path) -> None:
    """The figure: time above, memory below, one column an axis."""
    axes_of = data["axes"]
    figure, axes = pyplot().subplots(
        2, len(axes_of), figsize=(3 * len(axes_of), 5), layout="constrained", squeeze=False
    )
    for column, (name, modes) in enumerate(axes_of.items()):
        for mode, colour in zip(MODES, ("#1f4e79", "#b0533c"), strict=True):
            found = modes[mode]
            axes[0, column].plot(
                found["sizes"], found["seconds"], "o-", label=mode, color=colour, markersize=4
            )
            memory = [value / 1e9 for value in found["anonymous"]]
            axes[1, column].plot(found["sizes"], memory, "o-", color=colour, markersize=4)
        axes[1, column].set_xlabel(name)
        for row in (0, 1):
            axes[row, column].set_ylim(bottom=0)
            axes[row, column].set_xticks(found["sizes"])
            axes[row, column].tick_params(labelsize=8)
    axes[0, 0].set_ylabel("prune, seconds")
    axes[1, 0].set_ylabel("peak anonymous memory, GB")
    axes[0, 0].legend(frameon=False, fontsize=8)
    save_figure(figure, axes.flat, target)


def main() -> None:
    parser = options_of(__doc__, "growth")
    parser.add_argument("--figure", type=Path, default=Path("docs/images/growth.svg"))
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 4, 16, 64])
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--base", type=int, nargs=3, default=[4, 4, 4], help="where they stay",
                        metavar=("WINDOWS", "BLOCKS", "LANGUAGES"))  # fmt: skip
    parser.add_argument("--activation-memory", default="8MiB", help="past it, states are on disk")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--draw", action="store_true", help="only the figure, from the results")
    given = parser.parse_args()
    if given.draw:
        draw(json.loads(given.results.read_text()), given.figure)
        return
    shutil.rmtree(given.work, ignore_errors=True)
    given.work.mkdir(parents=True)
    base = Point(*given.base)
    planned = points(given.sizes, base)
    most = max(point.windows for axis in planned.values() for point in axis)
    write_text(given.work / "text", TAGS[: max(*given.sizes, base.languages)], most * given.length)
    models: dict[int, Path] = {}
    for blocks in sorted({point.blocks for axis in planned.values() for point in axis}):
        models[blocks] = given.work / f"model-{blocks}"
        make_model(models[blocks], llama(blocks, given.width, "float32"), "float32")
    every = list(dict.fromkeys(point for axis in planned.values() for point in axis))
    found: dict[tuple[Point, str], list[dict[str, Any]]] = {}
    for number in range(given.rounds):
        for point in every:
            for mode in MODES:
                one = measure(point, mode, models[point.blocks], given)
                found.setdefault((point, mode), []).append(one)
        print(f"round {number + 1} of {given.rounds}", flush=True)
    data, table = summarise(given.sizes, planned, found)
    shutil.rmtree(given.work)
    bars = []
    for name, modes in data["axes"].items():
        for mode in MODES:
            one = modes[mode]
            label = f"{name}, {mode}"
            off = one["time"]["deviation"]
            bars.append(bar(f"time linear or flat in {label}: deviation", off, most=0.1))
            grown = max(one["anonymous"]) / min(one["anonymous"])
            bars.append(bar(f"memory flat in {label}: largest / smallest", grown, most=1.25))
    data |= {"activation_memory": given.activation_memory, "rounds": given.rounds}
    data |= {"width": given.width, "window_length": given.length, "base": asdict(base)}
    save(given.results, data, tables=[table], bars=bars)
    draw(data, given.figure)


def summarise(
    sizes: list[int],
    planned: dict[str, list[Point]],
    found: dict[tuple[Point, str], list[dict[str, Any]]],
) -> tuple[dict[str, Any], Table]:
    """Medians by axis and mode, with the line through the times; and as a table."""
    axes: dict[str, Any] = {}
    rows = []
    for name, line in planned.items():
        axes[name] = {}
        for mode in MODES:
            runs = [found[point, mode] for point in line]
            spreads = {
                key: [spread([one[key] for one in some]) for some in runs]
                for key in ("own", "anonymous", "resident")
            }
            seconds = [one["median"] for one in spreads["own"]]
            axes[name][mode] = {
                "sizes": sizes,
                "points": [asdict(point) for point in line],
                "seconds": seconds,
                "anonymous": [one["median"] for one in spreads["anonymous"]],
                "resident": [one["median"] for one in spreads["resident"]],
                "time": fit(sizes, seconds),
                "spreads": spreads,
            }
            cells = zip(seconds, axes[name][mode]["anonymous"], strict=True)
            rows.append([f"{name}, {mode}", *(f"{s:.1f} s {m / 1e9:.2f} GB" for s, m in cells)])
    return {"axes": axes}, Table(["grown to", *map(str, sizes)], rows)


if __name__ == "__main__":
    main()
