"""What a recovery gives back: rises over dense of pruned models before and after, as a share of
Wanda's, in languages that were learnt from and in others.

``python benchmarks/recovery.py --data DATA`` needs the folder of a dense model (made from its GGUF
where none is given). Pruned at 50 % on the first windows of GNOME in fifteen languages; learnt from
the same windows, the next ones held out. Scored on FLORES ids below 1000, the first sentences of a
seeded draw. Seconds are the processor's, of one thread each, as other work may share the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import mwanda
from harness import Table, kept, options_of, parsed, save
from mwanda.evaluation.results import Comparison
from real_models import dense_folder
from studies import SEEN

SCORED = {"seen": ("de", "ru", "ja", "fi"), "unseen": ("ar", "sw", "th", "pl")}
"""Languages that are scored: some that were learnt from, and others."""

PRUNES: dict[str, list[str]] = {
    "wanda": ["--criterion", "wanda", "--allocation", "uniform"],
    "m-wanda": [],
    "best-quality": ["--recipe", "best-quality"],
}


def run(given: argparse.Namespace, *words: Any) -> dict[str, Any]:
    """A command of mwanda's: its JSON, and the seconds it took the processor."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    made = subprocess.run(
        [given.python, "-m", "mwanda", *map(str, words), "--json"],
        check=True, stdout=subprocess.PIPE, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {**json.loads(made.stdout), "processor": seconds}


def text(given: argparse.Namespace, windows: int) -> list[Any]:
    return ["--calibration", given.data / "gnome", "--languages", ",".join(SEEN),
            "--windows", windows, "--window-length", given.length]  # fmt: skip


def pruned(given: argparse.Namespace, dense: Path, name: str) -> dict[str, Any]:
    """Pruned and scored."""
    folder = given.work / name
    words = ["prune", dense, "--out", folder, "--sparsity", "0.5", *text(given, given.windows)]
    made = run(given, *words, *PRUNES[name], "--overwrite")
    return {"processor": made["processor"], "rises": rises(given, dense, folder)}


def recovered(given: argparse.Namespace, dense: Path, name: str, steps: int) -> dict[str, Any]:
    """Recovered and scored."""
    folder = given.work / f"{name}-{steps}"
    words = ["recover", given.work / name, "--dense", dense, "--out", folder, "--steps", steps]
    how = ["--held-out", given.held_out, *text(given, given.windows + given.held_out)]
    made = run(given, *words, *how, "--overwrite")
    held_out = {
        when: sum(one[when] for one in made["held_out"].values()) / len(made["held_out"])
        for when in ("before", "after")
    }
    return {
        "processor": made["processor"], "held_out": held_out, "best_step": made["best_step"],
        "rises": rises(given, dense, folder),
    }  # fmt: skip


def rises(given: argparse.Namespace, dense: Path, folder: Path) -> dict[str, float]:
    """Language -> nats a sentence over dense."""
    found = [
        mwanda.evaluate(
            path, given.data / "flores", languages=[*SCORED["seen"], *SCORED["unseen"]],
            ids=(0, 999), sentences=given.sentences, cache=given.work / "scores",
        )
        for path in (dense, folder)
    ]  # fmt: skip
    return {rise.language: rise.rise for rise in Comparison.of(*found).rises}


def share(one: dict[str, float], other: dict[str, float], tags: Sequence[str]) -> float:
    """Of a sum of rises in another's."""
    return sum(one[tag] for tag in tags) / sum(other[tag] for tag in tags)


def table(found: dict[str, dict[str, Any]]) -> Table:
    wanda, rows = found["wanda"]["rises"], []
    for name, one in found.items():
        held = one.get("held_out", {})
        rows.append([
            name,
            *(f"{share(one['rises'], wanda, tags):.3f}" for tags in SCORED.values()),
            f"{held['before']:.3f} to {held['after']:.3f}" if held else "",
            f"{one['processor']:,.0f}",
        ])  # fmt: skip
    return Table(["", *SCORED, "held out, nats a token", "processor seconds"], rows)


def main() -> None:
    parser = options_of(__doc__, "recovery")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--dense", type=Path)
    parser.add_argument(
        "--prunes", nargs="+", choices=list(PRUNES), default=list(PRUNES), help="to recover"
    )
    parser.add_argument("--steps", nargs="+", type=int, default=[84])
    parser.add_argument("--windows", type=int, default=12)
    parser.add_argument("--held-out", type=int, default=2)
    parser.add_argument("--length", type=int, default=256)
    parser.add_argument("--sentences", type=int, default=8)
    given = parsed(parser)
    dense = dense_folder(given)
    found: dict[str, dict[str, Any]] = {}
    for name in dict.fromkeys(["wanda", *given.prunes]):
        found[name] = kept(given.work / f"{name}.json", partial(pruned, given, dense, name))
        for steps in given.steps if name in given.prunes else ():
            key = f"{name}, recovered in {steps} steps"
            measure = partial(recovered, given, dense, name, steps)
            found[key] = kept(given.work / f"{name}-{steps}.json", measure)
    save(given.results, {"models": found}, tables=[table(found)])


if __name__ == "__main__":
    main()
