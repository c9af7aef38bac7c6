"""How small is a packed model, how fast is it packed, and is it the same afterwards?

Gemma 3 270M in bf16, pruned by magnitude to each of ``--prunings``, packed by ``mwanda pack`` and
unpacked again, each in a process of its own, timed and watched from outside. Beside it what else
one would do with the same files: ``zstd -19`` over ``model.safetensors`` as it is, and ZipNN where
it is installed, on the pruned and on the dense file. Sizes of the pruned linears come from the
archive's index; for zstd and ZipNN those linears' bytes are compressed by themselves.

What was measured of a folder is kept in ``--work``.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import zstandard

from harness import Bar, Table, bar, kept, options_of, parsed, save, spread
from mwanda.model.stored.layout import TensorInfo
from mwanda.model.stored.reader import Checkpoint
from mwanda.pruned.archive.reader import Archive
from mwanda.system.files import sha256_of
from processes import call, environment, run
from real_models import pruned_folder

PRUNINGS = ["0", "0.5", "2:4", "0.99"]
BARS = {"0.5": 0.38, "2:4": 0.37}
"""Bytes of the packed linears over their bf16 bytes, asked for before measuring."""

PIECE = 1 << 22


def linears(folder: Path) -> list[TensorInfo]:
    """The tensors that the prune may have touched."""
    with Checkpoint.open(folder) as checkpoint:
        return [i for i in checkpoint.tensors.values() if i.name.endswith("_proj.weight")]


def pieces(path: Path, infos: list[TensorInfo] | None) -> Iterator[bytes]:
    """A file's bytes, or those of some of its tensors, one after another."""
    whole = [(0, path.stat().st_size)] if infos is None else [(i.offset, i.nbytes) for i in infos]
    with path.open("rb") as file:
        for start, size in whole:
            file.seek(start)
            while size:
                part = file.read(min(size, PIECE))
                size -= len(part)
                yield part


def zstd_size(path: Path, infos: list[TensorInfo] | None, level: int) -> int:
    """Bytes of one zstd stream over them."""
    coder = zstandard.ZstdCompressor(level=level).compressobj()
    return sum(len(coder.compress(part)) for part in pieces(path, infos)) + len(coder.flush())


def zipnn_size(
    path: Path, infos: list[TensorInfo] | None, given: argparse.Namespace
) -> dict[str, Any] | None:
    """ZipNN's bytes and seconds, and whether it gives them back; None without ``--zipnn-python``.

    It runs in an interpreter of its own, on a file of nothing but the tensors' bytes.
    """
    if given.zipnn_python is None:
        return None
    raw = given.work / "zipnn.raw"
    with raw.open("wb") as file:
        file.writelines(pieces(path, infos))
    runner = Path(__file__).parent / "runners" / "zipnn_size.py"
    made = run([given.zipnn_python, runner, raw], env=environment(given.threads))
    raw.unlink()
    return dict(made.output)


def entropy_size(path: Path, infos: list[TensorInfo]) -> float:
    """Bytes by a perfect order-0 coder of mask bytes, exponents, and sign with mantissa."""
    counts = {name: np.zeros(256, np.int64) for name in ("mask", "exponent", "rest")}
    for part in pieces(path, infos):
        values = np.frombuffer(part, np.uint16)
        kept = values[values != 0]
        turned = (kept << 1) | (kept >> 15)
        for name, plane in (("mask", np.packbits(values != 0)), ("exponent", turned >> 8),
                            ("rest", turned & 255)):  # fmt: skip
            counts[name] += np.bincount(plane, minlength=256)
    total = 0.0
    for found in counts.values():
        share = found[found > 0] / max(1, found.sum())
        total -= float(found.sum() * (share * np.log2(share)).sum()) / 8
    return total


def packed(given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Pack and unpack a folder ``--rounds`` times, and compare every file."""
    archive, back = given.work / f"{folder.name}.mwz", given.work / f"{folder.name}.unpacked"
    threads = ["--threads", str(given.threads), "--json"]
    runs: dict[str, list[Any]] = {"pack": [], "unpack": []}
    for _ in range(given.rounds):
        archive.unlink(missing_ok=True)
        shutil.rmtree(back, ignore_errors=True)
        for name, words in (
            ("pack", ["pack", folder, "--out", archive, "--level", str(given.level)]),
            ("unpack", ["unpack", archive, "--out", back]),
        ):
            runs[name].append(call(given, *words, *threads))
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    equal = [sha256_of(path) == sha256_of(back / path.relative_to(folder)) for path in files]
    extra = len(files) != sum(1 for path in back.rglob("*") if path.is_file())
    names = {info.name for info in linears(folder)}
    with Archive.open(archive) as opened:
        found = [
            segment
            for entry in opened.index.files
            for segment in entry.segments
            if segment.name in names
        ]
        shard = opened.files["model.safetensors"]
        sizes = {
            "linears": sum(segment.stored for segment in found),
            "linears_raw": sum(segment.raw for segment in found),
            "weights": sum(segment.stored for segment in shard.segments),
            "weights_raw": shard.size,
            "archive": archive.stat().st_size,
            "folder": sum(path.stat().st_size for path in files),
        }
    shutil.rmtree(back)
    megabytes = sizes["folder"] / 1e6
    return {
        "sizes": sizes,
        "equal": all(equal) and not extra,
        **{
            name: {
                "seconds_inside": spread([one.output["seconds"] for one in group]),
                "mb_per_second": spread([megabytes / one.output["seconds"] for one in group]),
                "seconds": spread([one.seconds for one in group]),
                "anonymous": max(one.anonymous for one in group),
                "resident": max(one.resident for one in group),
            }
            for name, group in runs.items()
        },
    }


def others(folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    """What general tools make of the same weights; kept, for the zstd takes minutes."""
    place: Path = given.work / f"{folder.name}.others.json"
    found: dict[str, Any] = json.loads(place.read_text()) if place.is_file() else {}
    path, infos = folder / "model.safetensors", linears(folder)

    def measure(name: str, how: Callable[[], Any]) -> None:
        if found.get(name) is None:
            start = time.perf_counter()
            found[name] = how()
            found[f"{name}_seconds"] = time.perf_counter() - start
            place.write_text(json.dumps(found))

    measure("entropy_linears", lambda: entropy_size(path, infos))
    for part, chosen in (("linears", infos), ("weights", None)):
        measure(f"zipnn_{part}", partial(zipnn_size, path, chosen, given))
        if given.zstd and part in given.zstd_parts:
            name = f"zstd{given.zstd}_{part}"
            measure(name, partial(zstd_size, path, chosen, given.zstd))
    return found


def tables(found: Mapping[str, Any], zstd: int) -> list[Table]:
    """Sizes over the dense bf16 bytes, and rates."""

    def over(size: float | None, raw: int) -> str:
        return "" if size is None else f"{size / raw:.4f}"

    sizes, rates = [], []
    for name, row in found.items():
        size, other = row["packed"]["sizes"], row["others"]
        for part in ("linears", "weights"):
            raw = size[f"{part}_raw"]
            sizes.append([
                name, "pruned linears" if part == "linears" else "model.safetensors",
                f"{raw / 1e6:.1f}", over(size[part], raw), over(other.get(f"entropy_{part}"), raw),
                over(other.get(f"zstd{zstd}_{part}"), raw),
                over((other[f"zipnn_{part}"] or {}).get("size"), raw),
            ])  # fmt: skip
        sizes.append([name, "whole folder", f"{size['folder'] / 1e6:.1f}",
                      over(size["archive"], size["folder"]), "", "", ""])  # fmt: skip
        for step in ("pack", "unpack"):
            one = row["packed"][step]
            rates.append([
                name, step, f"{one['mb_per_second']['median']:.0f}",
                f"{one['seconds']['median']:.1f}", f"{one['anonymous'] / 1e6:.0f}",
                f"{one['resident'] / 1e6:.0f}", "yes" if row["packed"]["equal"] else "NO",
            ])  # fmt: skip
    head = ["pruned", "of what", "dense MB", "mwanda", "order-0 entropy", f"zstd -{zstd}", "ZipNN"]
    return [
        Table(head, sizes),
        Table(["pruned", "", "MB/s", "seconds, whole process", "anonymous MB", "resident MB",
               "hashes equal"], rates),
    ]  # fmt: skip


def main() -> None:
    parser = options_of(__doc__, "packing")
    parser.add_argument("--dense", type=Path, help="a dense folder; made from the GGUF if absent")
    parser.add_argument("--prunings", nargs="+", default=PRUNINGS, help="sparsities or N:M")
    parser.add_argument("--level", type=int, default=0, help="of mwanda pack")
    parser.add_argument("--zstd", type=int, default=19, help="level to compare with; 0: leave out")
    parser.add_argument("--zstd-parts", nargs="*", default=["linears", "weights"])
    parser.add_argument("--zipnn-python", type=Path, help="an interpreter that has ZipNN")
    parser.add_argument("--rounds", type=int, default=3)
    given = parsed(parser)
    found: dict[str, Any] = {}
    for pruning in given.prunings:
        folder = pruned_folder(given, pruning)
        measured = kept(
            given.work / f"{folder.name}.packed.json",
            partial(packed, given, folder),
        )
        found[pruning] = {"packed": measured, "others": others(folder, given)}
    bars: list[Bar] = []
    for pruning, row in found.items():
        size = row["packed"]["sizes"]
        if pruning in BARS:
            share = size["linears"] / size["linears_raw"]
            bars.append(bar(f"{pruning}: packed linears / bf16", share, most=BARS[pruning]))
        bars.append(bar(f"{pruning}: files that differ after unpacking",
                        0 if row["packed"]["equal"] else 1, most=0))  # fmt: skip
    data = {"threads": given.threads, "level": given.level, "prunings": found}
    save(given.results, data, tables=tables(found, given.zstd), bars=bars)


if __name__ == "__main__":
    main()
