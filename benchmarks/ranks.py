"""torchrun with 1, 2 and 4 processes over gloo against one plain process: time, and the masks.

Gemma 3 270M with real text, and a made-up tiny model whose masks must be identical. The threads
are divided among the processes.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from typing import Any

from harness import Table, bar, mask_difference, options_of, pairwise, parsed, save, spread
from made_up import llama, make_model, write_text
from processes import MWANDA, environment, run
from real_models import dense_folder, windows_file

SINGLE = "one process"
RANKS = {SINGLE: 0, "torchrun, 1": 1, "torchrun, 2": 2, "torchrun, 4": 4}
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node")


def measure(
    model: Path, calibration: list[str | Path], mode: str, given: argparse.Namespace
) -> dict[str, Any]:
    """Every number of processes in every round, and the last round's masks compared."""
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in RANKS}
    folders = {name: given.work / f"{mode}-{ranks}" for name, ranks in RANKS.items()}
    for number in range(given.rounds):
        for name, ranks in RANKS.items():
            shutil.rmtree(folders[name], ignore_errors=True)
            launcher = [*TORCHRUN, str(ranks)] if ranks else []
            process = run(
                [MWANDA[0], *launcher, *MWANDA[1:], "prune", model, "--out", folders[name],
                 *calibration,
                 "--criterion", "m-wanda", "--allocation", "cwl", "--mode", mode,
                 "--compute-dtype", "float32", "--json"],
                env=environment(max(1, given.threads // max(1, ranks))),
            )  # fmt: skip
            runs[name].append(vars(process))
            print(f"{mode}, round {number + 1}, {name}: {process.seconds:.1f} s", flush=True)
    seconds = {name: [one["seconds"] for one in some] for name, some in runs.items()}
    found = {
        name: {
            "seconds": spread(seconds[name]),
            "over_one_process": pairwise(seconds[name], seconds[SINGLE]),
            "anonymous": spread([one["anonymous"] for one in some]),
            "masks": mask_difference(folders[SINGLE], folders[name]),
        }
        for name, some in runs.items()
    }
    for folder in folders.values():
        shutil.rmtree(folder)
    return found


def main() -> None:
    parser = options_of(__doc__, "ranks", "gnome/")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--windows", type=int, default=8, help="a language, of real text")
    given = parsed(parser)
    tiny, text = given.work / "tiny", given.work / "text"
    shutil.rmtree(tiny, ignore_errors=True)
    make_model(tiny, llama(4, 256, "float32"))
    write_text(text, ("de", "sw", "fi"), 8 * 64)
    gemma = dense_folder(given)
    real: list[str | Path] = ["--calibration", windows_file(given, gemma, given.windows)]
    models: dict[str, tuple[Path, list[str | Path], float]] = {
        "tiny": (tiny, ["--calibration", text, "--windows", "8", "--window-length", "64"], 0.0),
        "Gemma 3 270M": (gemma, real, 1e-5),
    }
    found: dict[str, Any] = {}
    bars, rows = [], []
    for model, (folder, calibration, most) in models.items():
        found[model] = {}
        for mode in ("dense", "sequential"):
            found[model][mode] = measure(folder, calibration, mode, given)
            for name, data in found[model][mode].items():
                label, masks = f"{model}, {mode}, {name}", data["masks"]
                rows.append([
                    label, f"{data['seconds']['median']:.1f}",
                    f"{data['over_one_process']['median']:.2f}",
                    f"{data['anonymous']['median'] / 1e9:.2f}",
                    f"{masks['differing']:,} of {masks['weights']:,}",
                ])  # fmt: skip
                if name != SINGLE:
                    claim = f"share of mask positions unlike one process, {label}"
                    bars.append(bar(claim, masks["share"], most=most))
    header = ["", "seconds", "over one process", "anonymous GB, all", "mask positions unlike"]
    whole = {"threads": given.threads, "rounds": given.rounds, "models": found}
    save(given.results, whole, tables=[Table(header, rows)], bars=bars)


if __name__ == "__main__":
    main()
