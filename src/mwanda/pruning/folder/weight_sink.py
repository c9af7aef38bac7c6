"""What a prune writes into its folder: weights as they come, and all that goes with them."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from mwanda.errors import InputError
from mwanda.methods.recipe.resolved import ResolvedRecipe
from mwanda.model.companions import copy_companions, find_companions
from mwanda.model.run.streamed import StreamedDecoder
from mwanda.model.run.structure import Linear, Structure
from mwanda.model.source import ModelSource, copy_licences
from mwanda.model.stored.background_io import WriteBehind
from mwanda.model.stored.layout import TensorInfo
from mwanda.model.stored.parts import Place, first_element
from mwanda.model.stored.reader import Checkpoint
from mwanda.model.stored.shards import plan_shards
from mwanda.model.stored.writer import ShardWriter
from mwanda.pruning.fingerprint import base_files
from mwanda.pruning.folder.card import write_card
from mwanda.pruning.folder.experts_table import experts_section
from mwanda.pruning.folder.manifest import MANIFEST, Manifest, read_manifest, write_manifest
from mwanda.pruning.forecast.memory import gram_bytes, journal_bytes, spilled_states
from mwanda.pruning.journal import Journal
from mwanda.pruning.outcome import Sink
from mwanda.pruning.schedule import Schedule
from mwanda.pruning.units import probed_tokens
from mwanda.system.device import dtype_name
from mwanda.system.files import check_disk_space, hash_files
from mwanda.system.finite import narrowed
from mwanda.system.run_options import RunOptions
from mwanda.text.window_files import Windows


def check_room(
    folder: Path,
    decoder: StreamedDecoder,
    chosen: Structure,
    recipe: ResolvedRecipe,
    dtype: torch.dtype | None,
    windows: Windows | None,
    options: RunOptions,
    journal: Journal,
    held: int,
) -> None:
    """Refuse to start where the output, what is spilled on the way and the journal do not fit on
    the disk, or where a file cannot be copied that goes with the weights.

    Args:
        held: bytes that an earlier run has taken of that.
    """
    find_companions(decoder.checkpoint.folder)
    output = sum(
        info.nbytes // info.dtype.itemsize * _written(info.dtype, dtype).itemsize
        for info in decoder.checkpoint.tensors.values()
    )
    tokens = windows.total_tokens if windows is not None else 0
    if windows is not None:
        tokens += probed_tokens(recipe, [ids.shape for ids in windows.tokens.values()])
    spill = spilled_states(decoder, tokens, options.activation_memory)
    if windows is not None and Schedule.of(recipe, saved=False).keeps_grams:
        spill += gram_bytes(chosen.linears(), decoder.dtype)
    if journal.folder is not None:
        spill += journal_bytes(decoder, tokens, chosen)
    what = "the pruned model and what is spilled on the way"
    check_disk_space(folder, output + spill, what, held=held)


@contextmanager
def weight_sink(
    folder: Path | None,
    decoder: StreamedDecoder,
    chosen: Structure,
    dtype: torch.dtype | None,
    options: RunOptions,
    journal: Journal,
) -> Iterator[Sink]:
    """What writes pruned weights, with all other tensors copied along; without a folder, nothing.

    Writing goes on behind the work; when the block ends, everything is written. What the journal
    says an earlier run has written stays, and is compared with the hashes there.
    """
    checkpoint = decoder.checkpoint

    def cast(linear: Linear, weight: torch.Tensor) -> torch.Tensor:
        stored = decoder.place(linear).stored
        return _cast(stored, weight, checkpoint.tensors[stored].dtype, dtype)

    if folder is None:
        yield cast
        return
    shards = plan_shards(
        [(i.name, _written(i.dtype, dtype), i.shape) for i in checkpoint.tensors.values()],
        options.max_shard_size,
    )
    # A tensor of which linears are parts is copied first, and then written over part by part.
    places = {linear.name: decoder.place(linear) for linear in chosen.linears()}
    pruned = {place.stored for place in places.values() if place.box is None}
    digests: dict[str, str] = journal.known("shards", partial(_digests, places), {})
    kept = {places[name].stored for name in digests}
    if journal.resumed:
        _remove_others(folder, {shard.name for shard in shards})
    with (
        ShardWriter(folder, shards, kept if journal.resumed else None) as writer,
        WriteBehind(writer) as behind,
    ):
        for linear in chosen.linears():
            if linear.name in digests:
                start = _first(checkpoint, places[linear.name])
                stored = places[linear.name].stored
                if writer.stored_sha256(stored, start, linear.size) != digests[linear.name]:
                    raise InputError(
                        f"{folder}: {linear.name}",
                        expected="the weights that an unfinished run has written",
                        found="others, by their SHA-256",
                        fix="discard them with --restart",
                    )
        for info in checkpoint.tensors.values():
            same = _written(info.dtype, dtype) == info.dtype
            if info.name not in pruned | kept and same:
                behind.copy(info.name, checkpoint)

        def convert(info: TensorInfo) -> None:
            weight = checkpoint.read(info.name)
            behind.write(info.name, _cast(info.name, weight, info.dtype, dtype))

        parted = {place.stored for place in places.values() if place.box is not None}
        for name in sorted(parted - kept):
            info = checkpoint.tensors[name]
            if _written(info.dtype, dtype) != info.dtype:
                convert(info)

        def sink(linear: Linear, weight: torch.Tensor) -> torch.Tensor:
            written, place = cast(linear, weight), decoder.place(linear)
            turned = written.t() if place.transposed else written
            if linear.fused is not None:
                turned = turned.clone()  # a slice would keep all experts while it waits
            if place.box is None:
                behind.write(place.stored, turned)
            else:
                shape = checkpoint.tensors[place.stored].shape
                behind.overwrite(place.stored, first_element(shape, place.box), turned)
            if journal.folder is not None:
                behind.digest(linear.name, turned)
            return written

        def settle() -> tuple[dict[str, str], tuple[Path, ...]]:
            made = behind.drain()
            writer.sync()
            return digests | made, ()

        journal.take_part("shards", settle)
        yield sink
        for info in checkpoint.tensors.values():
            if info.name not in pruned | parted and _written(info.dtype, dtype) != info.dtype:
                convert(info)


def complete_folder(
    folder: Path,
    source: ModelSource,
    checkpoint: Checkpoint,
    dtype: torch.dtype | None,
    manifest: Manifest,
    known: Mapping[str, str],
) -> Manifest:
    """Write what goes with the weights: companions, config, card, and the manifest with hashes."""
    start = time.perf_counter()
    readme = _readme(source.folder)
    copy_companions(source.folder, folder)
    copy_licences(source, folder)
    write_config(source.folder, folder, dtype)
    written = {
        path.relative_to(folder).as_posix(): path
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    manifest = hashed(source, checkpoint, manifest, start, known, written)
    experts = "" if manifest.experts is None else experts_section(manifest.experts)
    write_card(folder, manifest, source_readme=readme, experts=experts, base=source.hub_id)
    write_manifest(folder, manifest)
    return manifest


def hashed(
    source: ModelSource,
    checkpoint: Checkpoint,
    manifest: Manifest,
    start: float,
    known: Mapping[str, str],
    written: Mapping[str, Path] = MappingProxyType({}),
) -> Manifest:
    """The manifest with the hashes of the source, and of what was written.

    Args:
        start: ``time.perf_counter()`` when the work began that is timed as hashing.
        known: name of a source file -> its hash, taken earlier in this run.
        written: name in the folder -> file; none for a run that writes no folder.
    """
    base = base_files(source, checkpoint)
    hashes = {path: known[path.name] for path in base if path.name in known}
    hashes |= hash_files([*written.values(), *(path for path in base if path not in hashes)])
    checkpoint.check_unchanged()
    before = read_manifest(source.folder) if (source.folder / MANIFEST).is_file() else None
    bases = () if before is None else (*before.earlier_bases, before.base_files)
    seconds = {**manifest.seconds, "hashes and companions": time.perf_counter() - start}
    return manifest.model_copy(
        update={
            "base_files": {path.name: hashes[path] for path in base},
            "earlier_bases": tuple(files for files in bases if files),
            "dequantised": source.dequantised,
            "files": {name: hashes[path] for name, path in written.items()},
            "seconds": seconds,
        }
    )


def _written(stored: torch.dtype, wanted: torch.dtype | None) -> torch.dtype:
    return wanted if wanted is not None and stored.is_floating_point else stored


def _cast(
    name: str, weight: torch.Tensor, stored: torch.dtype, wanted: torch.dtype | None
) -> torch.Tensor:
    fix = "write another dtype with --dtype"
    return narrowed(f"tensor {name}", weight, _written(stored, wanted), fix)


def write_config(source: Path, folder: Path, dtype: torch.dtype | None) -> None:
    """Copy config.json; a dtype that was asked for goes into it."""
    config = json.loads((source / "config.json").read_text(encoding="utf-8"))
    config.pop("transformers_weights", None)  # the shards written have their usual names
    if dtype is not None:
        config.pop("torch_dtype", None)
        config["dtype"] = dtype_name(dtype)
    text = json.dumps(config, indent=2, ensure_ascii=False)
    (folder / "config.json").write_text(text + "\n", encoding="utf-8")


def _digests(places: Mapping[str, Place], data: Any) -> dict[str, str]:
    """Linear -> SHA-256 of its weights, as a journal keeps them."""
    if not isinstance(data, dict) or not data.keys() <= places.keys():
        raise ValueError("no hashes of linears")
    return {name: str(digest) for name, digest in data.items()}


def _first(checkpoint: Checkpoint, place: Place) -> int:
    """Number of the first element of a linear in its tensor."""
    if place.box is None:
        return 0
    return first_element(checkpoint.tensors[place.stored].shape, place.box)


def _remove_others(folder: Path, names: Collection[str]) -> None:
    """Remove what an earlier run wrote last; it is written again."""
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name not in names:
            path.unlink()


def _readme(folder: Path) -> str | None:
    path = folder / "README.md"
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else None
