"""How small is a packed model, how fast is it packed, and is it the same afterwards?

Gemma 3 270M in bf16, pruned by magnitude to each of :data:`PRUNINGS`, packed by ``mwanda pack`` and
unpacked again, each in a process of its own, timed and watched from outside. Beside it what else
one would do with the same files: ``zstd -19`` over ``model.safetensors`` as it is, and ZipNN where
it is installed, on the pruned and on the dense file. Sizes of the pruned linears come from the
archive's index; for zstd and ZipNN those linears' bytes are compressed by themselves.

What was measured of a folder is kept in ``--work``.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import zstandard

from harness import Table, bar, kept, options_of, parsed, save
from mwanda.model.stored.layout import byte_view
from mwanda.model.stored.reader import Checkpoint
from mwanda.pruned.archive.reader import Archive
from mwanda.system.files import sha256_of
from processes import call, environment, run
from real_models import pruned_folder

PRUNINGS = ("0", "0.5", "2:4", "0.99")
BARS = {"0.5": 0.38, "2:4": 0.37}
"""Bytes of the packed linears over their bf16 bytes, asked for before measuring."""

WEIGHTS = "model.safetensors"
PARTS = {"linears": "pruned linears", "weights": WEIGHTS}
LEVEL, ROUNDS = 19, 3
"""Of zstd; and how often each model is packed and unpacked."""


def linears(checkpoint: Checkpoint) -> list[str]:
    """The tensors that the prune may have touched."""
    return [name for name in checkpoint.tensors if name.endswith("_proj.weight")]


def content(folder: Path, part: str) -> bytes:
    """The bytes of a folder's linears, or of all its weights, one after another."""
    if part == "weights":
        return (folder / WEIGHTS).read_bytes()
    with Checkpoint.open(folder) as checkpoint:
        return b"".join(byte_view(checkpoint.read(name)) for name in linears(checkpoint))


def zstd_size(given: argparse.Namespace, folder: Path, part: str) -> dict[str, Any]:
    """Bytes of one zstd stream over them."""
    return {"size": len(zstandard.ZstdCompressor(level=LEVEL).compress(content(folder, part)))}


def zipnn_size(given: argparse.Namespace, folder: Path, part: str) -> dict[str, Any]:
    """ZipNN's bytes, and whether it gives them back; in an interpreter of its own, on a file of
    nothing but the tensors' bytes."""
    raw = given.work / "zipnn.raw"
    raw.write_bytes(content(folder, part))
    runner = Path(__file__).parent / "runners" / "zipnn_size.py"
    made = run([given.zipnn_python, runner, raw], env=environment(given.threads))
    raw.unlink()
    return dict(made.output)


def entropy_size(given: argparse.Namespace, folder: Path, part: str) -> dict[str, Any]:
    """Bytes by a perfect order-0 coder of mask bytes, exponents, and sign with mantissa."""
    values = np.frombuffer(content(folder, part), np.uint16)
    left = values[values != 0]
    turned = (left << 1) | (left >> 15)
    total = 0.0
    for plane in (np.packbits(values != 0), turned >> 8, turned & 255):
        found = np.bincount(plane)
        share = found[found > 0] / max(1, found.sum())
        total -= float(found.sum() * (share * np.log2(share)).sum()) / 8
    return {"size": total}


def others(given: argparse.Namespace, folder: Path, part: str) -> dict[str, dict[str, Any]]:
    """What general tools make of the same weights; kept, for the zstd takes minutes."""
    ways = {"entropy": entropy_size} if part == "linears" else {}
    if part in given.zstd_parts:
        ways["zstd"] = zstd_size
    if given.zipnn_python is not None:
        ways["zipnn"] = zipnn_size
    return {
        name: kept(given.work / f"{folder.name}.{part}.{name}.json",
                   partial(way, given, folder, part))
        for name, way in ways.items()
    }  # fmt: skip


def packed(given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Pack and unpack a folder, several times, and compare every file."""
    archive, back = given.work / f"{folder.name}.mwz", given.work / f"{folder.name}.unpacked"
    words = {"pack": [folder, "--out", archive], "unpack": [archive, "--out", back]}
    runs: dict[str, list[Any]] = {step: [] for step in words}
    for _ in range(ROUNDS):
        archive.unlink(missing_ok=True)
        shutil.rmtree(back, ignore_errors=True)
        for step, some in words.items():
            made = call(given, step, *some, "--threads", given.threads, "--json")
            runs[step].append(vars(made))
    files, unpacked = (
        {path.relative_to(one): sha256_of(path) for path in one.rglob("*") if path.is_file()}
        for one in (folder, back)
    )
    with Archive.open(archive) as opened, Checkpoint.open(folder) as checkpoint:
        shard, names = opened.files[WEIGHTS], linears(checkpoint)
        found = [segment for segment in shard.segments if segment.name in names]
        sizes = {
            "linears": sum(segment.stored for segment in found),
            "linears_raw": sum(segment.raw for segment in found),
            "weights": sum(segment.stored for segment in shard.segments),
            "weights_raw": shard.size,
            "archive": archive.stat().st_size,
            "folder": sum((folder / name).stat().st_size for name in files),
        }
    shutil.rmtree(back)
    return {"sizes": sizes, "equal": files == unpacked, "runs": runs}


def tables(found: Mapping[str, Any]) -> list[Table]:
    """Sizes over the dense bf16 bytes, and rates."""

    def over(size: float | None, raw: int) -> str:
        return "" if size is None else f"{size / raw:.4f}"

    sizes, rates = [], []
    for name, row in found.items():
        size = row["packed"]["sizes"]
        for part, shown in PARTS.items():
            raw = size[f"{part}_raw"]
            other = {tool: one["size"] for tool, one in row["others"][part].items()}
            sizes.append([
                name, shown, f"{raw / 1e6:.1f}", over(size[part], raw),
                *(over(other.get(tool), raw) for tool in ("entropy", "zstd", "zipnn")),
            ])  # fmt: skip
        sizes.append([name, "whole folder", f"{size['folder'] / 1e6:.1f}",
                      over(size["archive"], size["folder"]), "", "", ""])  # fmt: skip
        for step, runs in row["packed"]["runs"].items():
            speed = median(size["folder"] / 1e6 / one["output"]["seconds"] for one in runs)
            most = (max(one[kind] for one in runs) / 1e6 for kind in ("anonymous", "resident"))
            rates.append([
                name, step, f"{speed:.0f}", f"{median(one['seconds'] for one in runs):.1f}",
                *(f"{one:.0f}" for one in most), "yes" if row["packed"]["equal"] else "NO",
            ])  # fmt: skip
    head = ["pruned", "of what", "dense MB", "mwanda", "order-0 entropy", f"zstd -{LEVEL}", "ZipNN"]
    return [
        Table(head, sizes),
        Table(["pruned", "", "MB/s", "seconds, whole process", "anonymous MB", "resident MB",
               "hashes equal"], rates),
    ]  # fmt: skip


def main() -> None:
    parser = options_of(__doc__, "packing")
    parser.add_argument("--dense", type=Path, help="a dense folder; made from the GGUF if absent")
    parser.add_argument("--zstd-parts", nargs="*", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--zipnn-python", type=Path, help="an interpreter that has ZipNN")
    given = parsed(parser)
    found: dict[str, Any] = {}
    bars = []
    for pruning in PRUNINGS:
        folder = pruned_folder(given, pruning)
        made = kept(given.work / f"{folder.name}.packed.json", partial(packed, given, folder))
        found[pruning] = {
            "packed": made, "others": {part: others(given, folder, part) for part in PARTS},
        }  # fmt: skip
        if pruning in BARS:
            share = made["sizes"]["linears"] / made["sizes"]["linears_raw"]
            bars.append(bar(f"{pruning}: packed linears / bf16", share, most=BARS[pruning]))
        differ = 0 if made["equal"] else 1
        bars.append(bar(f"{pruning}: files that differ after unpacking", differ, most=0))
    data = {"threads": given.threads, "prunings": found}
    save(given.results, data, tables=tables(found), bars=bars)


if __name__ == "__main__":
    main()
