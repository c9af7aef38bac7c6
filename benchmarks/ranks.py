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
from processes import environment, mwanda, run
from real_models import dense_folder, windows_file

SINGLE = "one process"
MODES = ("dense", "sequential")


def launch(ranks: int | None, given: argparse.Namespace) -> list[str]:
    """The program: plain, or under torchrun with so many processes."""
    program = mwanda(given.python)
    if ranks is None:
        return program
    return [program[0], "-m", "torch.distributed.run", "--standalone",
            "--nproc-per-node", str(ranks), *program[1:]]  # fmt: skip


def measure(
    model: Path, calibration: list[str | Path], mode: str, given: argparse.Namespace
) -> dict[str, Any]:
    """Every number of processes in every round, and the last round's masks compared."""
    names = {SINGLE: None, **{f"torchrun, {n}": n for n in given.ranks}}
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    folders = {name: given.work / f"{mode}-{ranks or 0}" for name, ranks in names.items()}
    for number in range(given.rounds):
        for name, ranks in names.items():
            shutil.rmtree(folders[name], ignore_errors=True)
            process = run(
                [*launch(ranks, given), "prune", model, "--out", folders[name], *calibration,
                 "--criterion", "m-wanda", "--allocation", "cwl", "--mode", mode,
                 "--compute-dtype", "float32", "--json"],
                env=environment(max(1, given.threads // (ranks or 1))),
            )  # fmt: skip
            runs[name].append(process.as_dict())
            print(f"{mode}, round {number + 1}, {name}: {process.seconds:.1f} s", flush=True)
    seconds = {name: [one["seconds"] for one in some] for name, some in runs.items()}
    found = {
        name: {
            "seconds": spread(seconds[name]),
            "over_one_process": pairwise(seconds[name], seconds[SINGLE]),
            "anonymous": spread([one["anonymous"] for one in some]),
            "stages": some[-1]["output"]["seconds"] if some[-1]["output"] else None,
            "masks": mask_difference(folders[SINGLE], folders[name]),
        }
        for name, some in runs.items()
    }
    for folder in folders.values():
        shutil.rmtree(folder)
    return found


def main() -> None:
    parser = options_of(__doc__, "ranks")
    parser.add_argument("--data", type=Path, help="folder with gnome/; else only the tiny model")
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--windows", type=int, default=8, help="a language, of real text")
    parser.add_argument("--length", type=int, default=256)
    given = parsed(parser)
    tiny, text = given.work / "tiny", given.work / "text"
    shutil.rmtree(tiny, ignore_errors=True)
    make_model(tiny, llama(4, 256, "float32"), "float32")
    write_text(text, ("de", "sw", "fi"), 8 * 64)
    models: dict[str, tuple[Path, list[str | Path], float]] = {
        "tiny": (tiny, ["--calibration", text, "--windows", "8", "--window-length", "64"], 0.0)
    }
    if given.data is not None:
        models["Gemma 3 270M"] = (dense_folder(given), ["--calibration", windows_file(given)], 1e-5)
    found: dict[str, Any] = {}
    bars, rows = [], []
    for model, (folder, calibration, most) in models.items():
        found[model] = {}
        for mode in given.modes:
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
