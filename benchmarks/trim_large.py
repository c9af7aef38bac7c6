"""A trim of 8 billion parameters: how long beside a plain copy of the same shards, in what memory.

``python benchmarks/trim_large.py --tokenizer FOLDER`` makes a random Llama of 32 blocks with a row
for every token of a real tokenizer, copies its shards with ``cp`` and trims it, each with none of
its files in memory and until all is on the disk. What was measured is kept in ``--work``.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import time
from functools import partial
from pathlib import Path
from typing import Any

from harness import Table, bar, kept, options_of, parsed, save
from large import make
from processes import call


def shards_of(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.safetensors"))


def forget(paths: list[Path]) -> None:
    """See the files on the disk, and no longer in memory."""
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def make_model(given: argparse.Namespace) -> dict[str, Any]:
    """The model, with the tokenizer instead of a made-up one."""
    folder = given.work / "model"
    size = make(given.work, blocks=given.blocks, vocabulary=given.vocabulary)
    for path in folder.glob("*token*"):
        path.unlink()
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(given.tokenizer / name, folder / name)
    forget(shards_of(folder))
    return {"bytes": size}


def copied(given: argparse.Namespace) -> dict[str, Any]:
    """``cp`` of the shards, until they are on the disk."""
    shards, target = shards_of(given.work / "model"), given.work / "copy"
    target.mkdir()
    start = time.perf_counter()
    subprocess.run(["cp", *shards, target], check=True)
    forget(shards_of(target))
    seconds = time.perf_counter() - start
    shutil.rmtree(target)
    forget(shards)
    return {"seconds": seconds}


def trimmed(given: argparse.Namespace) -> dict[str, Any]:
    model, out = given.work / "model", given.work / "trimmed"
    shutil.rmtree(out, ignore_errors=True)
    process = call(given, "trim", model, "--languages", "de,fr,sw", "--out", out, "--json")
    forget([*shards_of(model), *shards_of(out)])
    shutil.rmtree(out)
    return vars(process)


def main() -> None:
    parser = options_of(__doc__, "trim_large")
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--blocks", type=int, default=32)
    parser.add_argument("--vocabulary", type=int, default=128_256)
    given = parsed(parser)
    steps = {"make": make_model, "copy": copied, "trim": trimmed}
    found = {
        step: kept(given.work / f"{step}.json", partial(work, given))
        for step, work in steps.items()
    }
    shutil.rmtree(given.work / "model", ignore_errors=True)
    gigabytes = found["make"]["bytes"] / 1e9
    copy, trim = found["copy"]["seconds"], found["trim"]
    rows = [
        ["cp", f"{copy:.0f}", f"{gigabytes / copy:.2f}", ""],
        ["mwanda trim", f"{trim['seconds']:.0f}", f"{gigabytes / trim['seconds']:.2f}",
         f"{trim['resident'] / 1e9:.2f}"],
    ]  # fmt: skip
    save(
        given.results, found, tables=[Table(["", "seconds", "GB a second", "peak GB"], rows)],
        bars=[bar("peak memory of a trim, GB", trim["resident"] / 1e9, most=1.0)],
    )  # fmt: skip


if __name__ == "__main__":
    main()
