"""What a prune writes into its folder: weights as they come, and all that goes with them."""

from __future__ import annotations

import json
import math
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
from mwanda.model.companions import copy_companions, find_companions
from mwanda.model.run.structure import Linear
from mwanda.model.source import ModelSource, copy_licences
from mwanda.model.stored.background_io import WriteBehind
from mwanda.model.stored.parts import Place, first_element
from mwanda.model.stored.shards import plan_shards
from mwanda.model.stored.writer import ShardWriter
from mwanda.pruning.folder.card import CARD, write_card
from mwanda.pruning.folder.card_metadata import front_matter
from mwanda.pruning.folder.manifest import MANIFEST, Manifest, find_manifest, manifest_text
from mwanda.pruning.forecast.memory import gram_bytes, journal_bytes, spilled_states
from mwanda.pruning.outcome import Sink
from mwanda.pruning.task import FolderTask, base_files
from mwanda.pruning.units import probed_tokens
from mwanda.system.device import dtype_name
from mwanda.system.durable import put
from mwanda.system.files import check_disk_space, hash_files
from mwanda.system.finite import narrowed


def check_room(folder: Path, task: FolderTask, held: int) -> None:
    """Refuse to start where the output, what is spilled on the way and the journal do not fit on
    the disk, or where a file cannot be copied that goes with the weights. An earlier run has taken
    ``held`` bytes of that."""
    checkpoint, windows = task.decoder.checkpoint, task.evidence.windows
    find_companions(checkpoint.folder)
    needed = sum(
        info.nbytes // info.dtype.itemsize * written_dtype(info.dtype, task.dtype).itemsize
        for info in checkpoint.tensors.values()
    )
    shapes = [ids.shape for ids in task.evidence.tokens.values()]
    tokens = sum(map(math.prod, shapes)) + probed_tokens(task.recipe, shapes)
    needed += spilled_states(task.decoder, tokens, task.options.activation_memory)
    if windows is not None and task.schedule.keeps_grams:
        needed += gram_bytes(task.chosen.linears(), task.decoder.dtype)
    if task.journal.folder is not None:
        needed += journal_bytes(task.decoder, tokens, task.chosen)
    check_disk_space(folder, needed, "the pruned model and what is spilled on the way", held=held)


def cast_only(task: FolderTask) -> Sink:
    """What takes pruned weights and writes none; what would be written it gives back."""
    return lambda linear, weight: _cast(task, task.decoder.place(linear).stored, weight)


@contextmanager
def weight_sink(folder: Path, task: FolderTask) -> Iterator[Sink]:
    """What writes pruned weights, with all other tensors copied along.

    Writing goes on behind the work; when the block ends, everything is written. What the journal
    says an earlier run has written stays, and is compared with the hashes there.
    """
    decoder, chosen, dtype, journal = task.decoder, task.chosen, task.dtype, task.journal
    checkpoint = decoder.checkpoint
    shards = plan_shards(
        [(i.name, written_dtype(i.dtype, dtype), i.shape) for i in checkpoint.tensors.values()],
        task.options.max_shard_size,
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
                place = places[linear.name]
                stored, shape = place.stored, checkpoint.tensors[place.stored].shape
                start = 0 if place.box is None else first_element(shape, place.box)
                if writer.stored_sha256(stored, start, linear.size) != digests[linear.name]:
                    raise InputError(
                        f"{folder}: {linear.name}", found="others, by their SHA-256",
                        expected="the weights that an unfinished run has written",
                        fix="discard them with --restart",
                    )  # fmt: skip
        anew = {
            i.name for i in checkpoint.tensors.values() if written_dtype(i.dtype, dtype) != i.dtype
        }
        for name in checkpoint.tensors:
            if name not in pruned | kept | anew:
                behind.copy(name, checkpoint)

        parted = {place.stored for place in places.values() if place.box is not None}
        for name in sorted((parted - kept) & anew):
            behind.write(name, _cast(task, name, checkpoint.read(name)))

        def sink(linear: Linear, weight: torch.Tensor) -> torch.Tensor:
            place = places[linear.name]
            written = _cast(task, place.stored, weight)
            turned = written.t() if place.transposed else written
            if linear.fused is not None:
                turned = turned.clone()  # a slice would keep all experts while it waits
            key = None if journal.folder is None else linear.name
            if place.box is None:
                behind.write(place.stored, turned, key)
            else:
                shape = checkpoint.tensors[place.stored].shape
                behind.overwrite(place.stored, first_element(shape, place.box), turned, key)
            return written

        def settle() -> tuple[dict[str, str], tuple[Path, ...]]:
            made = behind.drain()
            writer.sync()
            return digests | made, ()

        journal.take_part("shards", settle)
        yield sink
        for name in checkpoint.tensors:
            if name in anew - pruned - parted:
                behind.write(name, _cast(task, name, checkpoint.read(name)))


def complete_folder(
    folder: Path, task: FolderTask, manifest: Manifest, known: Mapping[str, str]
) -> Manifest:
    """Write what goes with the weights: companions, config, card, and the manifest with hashes."""
    start, source = time.perf_counter(), task.source
    copy_all_else(source, folder, task.dtype)
    manifest = hashed(task, manifest, start, known, files_in(folder))
    seal(folder, source, manifest)
    return manifest


def copy_all_else(source: ModelSource, folder: Path, dtype: torch.dtype | None) -> None:
    """What goes with the weights, but for what says how they were made."""
    copy_companions(source.folder, folder)
    copy_licences(source, folder)
    write_config(source.folder, folder, dtype)


def files_in(folder: Path) -> dict[str, Path]:
    """Name in a folder -> file, as manifests have them."""
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {path.relative_to(folder).as_posix(): path for path in paths}


def seal(folder: Path, source: ModelSource, manifest: Manifest) -> None:
    """Write card and manifest into a folder that has everything else."""
    path = source.folder / CARD
    readme = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else None
    base = source.hub_id
    if base is None and (source.folder / MANIFEST).is_file():  # our own card names its base
        named = front_matter(readme).get("base_model")
        base = named if isinstance(named, str) else None
    write_card(folder, manifest, source_readme=readme, base=base)
    put(folder / MANIFEST, manifest_text(manifest).encode())


def hashed(
    task: FolderTask,
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
    checkpoint = task.decoder.checkpoint
    base = base_files(task.source, checkpoint)
    hashes = {path: known[path.name] for path in base if path.name in known}
    hashes |= hash_files([*written.values(), *(path for path in base if path not in hashes)])
    checkpoint.check_unchanged()
    before = find_manifest(task.source.folder)
    bases = () if before is None else (*before.earlier_bases, before.base_files)
    seconds = {**manifest.seconds, "hashes and companions": time.perf_counter() - start}
    changes = {
        "base_files": {path.name: hashes[path] for path in base},
        "earlier_bases": tuple(files for files in bases if files),
        "earlier_trims": () if before is None else (*before.earlier_trims, *before.trims),
        "dequantised": task.source.dequantised,
        "files": {name: hashes[path] for name, path in written.items()},
        "seconds": seconds,
    }
    return manifest.model_copy(update=changes)


def written_dtype(stored: torch.dtype, wanted: torch.dtype | None) -> torch.dtype:
    """What a stored tensor is written in; None for what the source has."""
    return wanted if wanted is not None and stored.is_floating_point else stored


def cast_to(name: str, values: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """A stored tensor's values as they are written; refused where the dtype cannot hold them."""
    return narrowed(f"tensor {name}", values, dtype, "write another dtype with --dtype")


def _cast(task: FolderTask, name: str, weight: torch.Tensor) -> torch.Tensor:
    """What is written of a tensor of the checkpoint."""
    stored = task.decoder.checkpoint.tensors[name].dtype
    return cast_to(name, weight, written_dtype(stored, task.dtype))


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


def _remove_others(folder: Path, names: Collection[str]) -> None:
    """Remove what an earlier run wrote last; it is written again."""
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name not in names:
            path.unlink()
