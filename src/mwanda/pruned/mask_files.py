"""Masks by themselves: taken out of a pruned folder, and applied to a model."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from mwanda.errors import DataError, InputError
from mwanda.model.given import check_model
from mwanda.model.identity import linears_sha256
from mwanda.model.opening import open_decoder, source_dtype
from mwanda.model.run.streamed import StreamedDecoder
from mwanda.model.run.structure import Linear, Structure
from mwanda.model.source import open_model
from mwanda.model.stored.container import saved_file
from mwanda.pruning.evidence import Evidence
from mwanda.pruning.folder.known_text import known_in_folder, records
from mwanda.pruning.folder.manifest import MANIFEST, Manifest, read_manifest, versions
from mwanda.pruning.folder.manifest_records import LinearRecord, MaskFileRecord, Totals, weights_in
from mwanda.pruning.folder.mask_file import MASKS, MaskFile, MaskWriter
from mwanda.pruning.folder.weight_sink import check_room, complete_folder, weight_sink
from mwanda.pruning.given_arguments import options_given
from mwanda.pruning.manifest_parts import PruneResult, linear_records
from mwanda.pruning.masks import count_zeros, digest, record
from mwanda.pruning.outcome import Outcome
from mwanda.pruning.recipe.asked import Recipe
from mwanda.pruning.recipe.resolved import ResolvedRecipe, resolve
from mwanda.pruning.task import FolderTask, base_files, chosen_linears
from mwanda.system.arguments import path_given
from mwanda.system.device import dtype_name, parse_dtype
from mwanda.system.files import check_disk_space, hash_files, sha256_of
from mwanda.system.output import OutputFolder
from mwanda.system.progress import Progress, watched
from mwanda.system.ranks import check_alone
from mwanda.system.run_options import RunOptions
from mwanda.system.shown import Shown
from mwanda.system.speaking import speaking
from mwanda.system.surroundings import undisturbed
from mwanda.system.unfinished import scratch_folder

log = logging.getLogger("mwanda")

SAME = "masks fit models of the same architecture and size only"

NO_FORWARD = RunOptions(device="cpu")


@dataclass(frozen=True, repr=False)
class Extracted(Shown):
    """A file of masks taken out of a folder.

    Attributes:
        path: the file.
        manifest: what it holds: the folder's, by what is zero there.
        size: bytes of the file.
        zero_before: weights that were zero in the source and that its masks kept; they cannot be
            told from the others and count as removed.
        updated: what changed the kept weights, which masks cannot bring back.
    """

    path: Path
    manifest: Manifest
    size: int
    zero_before: int
    updated: str | None


@speaking
@undisturbed()
def extract_masks(
    folder: str | Path,
    out: str | Path,
    *,
    overwrite: bool = False,
    trust_remote_code: bool = False,
    progress: Progress | None = None,
) -> Extracted:
    """Write the masks of a pruned folder, one bit a weight, into a file of their own.

    Args:
        folder: that mwanda wrote; its weights may have been trained since, its zeros not.
        out: the file to write, ``.safetensors``; see :mod:`mwanda.pruning.folder.mask_file`.
        overwrite: replace an existing file of masks.
        trust_remote_code: run code that the model folder brings along.
        progress: is told of every linear.

    Raises:
        InputError: no pruned folder, or an unusable ``out``.
        DataError: zeros that are not those of its manifest.
    """
    check_alone("mask extract")
    folder, out = path_given("folder", folder), path_given("out", out)
    if not folder.is_dir():
        raise InputError(str(folder), expected="a folder that mwanda wrote", found="no folder")
    manifest = read_manifest(folder)
    output = saved_file(out, MASKS, overwrite=overwrite)
    output.check()
    options = RunOptions(device="cpu", trust_remote_code=trust_remote_code)
    with (
        output as made,
        open_model(folder, trust_remote_code=trust_remote_code) as source,
        open_decoder(source, options) as decoder,
    ):
        check_disk_space(made, 2 * manifest.totals.weights // 8, "the masks")
        masks, records = MaskWriter(made), {}
        named = _named(f"{folder}: {MANIFEST}", manifest, decoder.structure)
        for linear in watched(named, "extract", progress):
            decoder.expect([linear])
            nonzero = decoder.source_weight(linear) != 0
            records[linear.name] = _seen(folder, linear, nonzero, manifest.linears[linear.name])
            masks.add(linear, nonzero)
        decoder.checkpoint.check_unchanged()
        totals = Totals.of(records.values(), manifest.totals.model_weights)
        changes = {
            "linears": records, "totals": totals, "files": {}, "recoveries": (), "sha256": None,
        }  # fmt: skip
        found = manifest.model_copy(update=changes)
        output.publish(masks.finish(found, None))
    log.info("wrote %s", out)
    more = found.totals.pruned - manifest.totals.pruned
    return Extracted(out, found, out.stat().st_size, more, manifest.updated_by)


@speaking
@undisturbed()
def apply_masks(
    masks: str | Path,
    model: str | Path,
    out: str | Path,
    *,
    dtype: str | None = None,
    options: RunOptions = NO_FORWARD,
) -> PruneResult:
    """Set to zero what a file of masks removes, in a model of the same architecture.

    On the model that the masks were chosen on this is the prune again, where the method changes no
    kept weight; on another one, such as a fine-tuned sibling, the manifest and a warning say so.

    Args:
        masks: from :func:`extract_masks`, or from a prune with ``masks_only``.
        model: a folder, GGUF file or hub id.
        out: the folder to write, as a prune writes it.
        dtype: what is written; None for what the masks' recipe says.
        options: how to run: ``max_shard_size``, ``overwrite`` and ``trust_remote_code`` count.

    Raises:
        InputError: no masks, another architecture, or an unusable ``out``; nothing is written.
        DataError: a damaged file of masks, or files that changed while being read.
    """
    check_alone("mask apply")
    start = time.perf_counter()
    options, out = options_given(options), path_given("out", out)
    name = str(path_given("model", model))
    opened = MaskFile.open(masks)
    check_model(name)
    output = OutputFolder(out, overwrite=options.overwrite)
    output.check(Path(name))
    recipe = resolve(Recipe.build(opened.manifest.recipe, f"recipe in {opened.path}"))
    recipe = recipe.model_copy(update={"dtype": dtype or recipe.dtype})
    wanted = parse_dtype(recipe.dtype, "--dtype")
    with (
        output as folder,
        scratch_folder(output.partial) as scratch,
        open_model(name, scratch, trust_remote_code=options.trust_remote_code) as source,
        open_decoder(source, options) as decoder,
    ):
        before = known_in_folder(source.folder)
        task = FolderTask(
            decoder=decoder, chosen=_fitting(opened, decoder, recipe, name), recipe=recipe,
            evidence=Evidence(), options=options, scratch=scratch, source=source,
        )  # fmt: skip
        check_room(folder, task, 0)
        outcome = Outcome(seconds={"open": time.perf_counter() - start})
        with outcome.timed("apply"):
            _apply(opened, task, folder, outcome)
        hashes = hash_files(base_files(source, decoder.checkpoint))
        known = {path.name: sha256 for path, sha256 in hashes.items()}
        linears = linear_records(task.chosen, decoder.place, outcome)
        changes = {
            "base": source.name,
            "dtype": dtype_name(wanted or source_dtype(decoder.checkpoint)),
            "recipe": opened.manifest.recipe | {"dtype": recipe.dtype},
            "linears": linears,
            "totals": Totals.of(linears.values(), weights_in(decoder.checkpoint)),
            "earlier": records(opened.manifest.earlier, before),
            "mask_file": _origin(opened, known, decoder),
            "trims": (),
            "versions": versions(),
            "seconds": outcome.seconds,
        }
        manifest = opened.manifest.model_copy(update=changes)
        manifest = complete_folder(folder, task, manifest, known)
    log.info("wrote %s", out)
    _warn(opened, manifest)
    return PruneResult(out, manifest, None, 0)


def _named(thing: str, manifest: Manifest, structure: Structure) -> list[Linear]:
    """The linears that a manifest names, in the model's order."""
    there = {linear.name: linear for linear in structure.linears()}
    for name, entry in manifest.linears.items():
        linear = there.get(name)
        if linear is None or (linear.rows, linear.columns) != entry.shape:
            expected = f"a linear of that name and shape {[*entry.shape]} in the model"
            found = "none" if linear is None else f"shape [{linear.rows}, {linear.columns}]"
            raise InputError(f"{thing}: {name}", expected=expected, found=found, fix=SAME)
    return [linear for name, linear in there.items() if name in manifest.linears]


def _seen(folder: Path, linear: Linear, nonzero: torch.Tensor, entry: LinearRecord) -> LinearRecord:
    """The record of a mask that is what is not zero."""
    mask_sha256 = digest(nonzero)
    if mask_sha256 != entry.zeros_sha256:
        raise DataError(
            f"{folder}: {linear.name}",
            expected=f"the zeros that {MANIFEST} says",
            found=f"others: {count_zeros(nonzero)} instead of {entry.zeros}",
            fix=f"mwanda verify {folder} names all that changed",
        )
    share = entry.zeros / nonzero.numel()
    changes = {"pruned": entry.zeros, "sparsity": share, "mask_sha256": mask_sha256}
    return entry.model_copy(update=changes)


def _fitting(
    masks: MaskFile, decoder: StreamedDecoder, recipe: ResolvedRecipe, name: str
) -> Structure:
    """The linears of a model that a file of masks is for."""
    _named(f"{MASKS} {masks.path}", masks.manifest, decoder.structure)
    named, structure = masks.manifest.linears, decoder.structure
    if "pattern" not in masks.manifest.recipe:  # of another program: the masks alone say which
        blocks = (
            replace(block, linears=tuple(x for x in block.linears if x.name in named))
            for block in structure.blocks
        )
        return replace(structure, blocks=tuple(blocks))
    chosen = chosen_linears(decoder, recipe, strict=False)  # what it names was followed already
    more = [x.name for x in chosen.linears() if x.name not in named]
    if more:
        expected = f"a mask of {more[0]}, which {name} has"
        found = f"none ({len(more)} such linears)"
        raise InputError(f"{MASKS} {masks.path}", expected=expected, found=found, fix=SAME)
    return chosen


@torch.no_grad()
def _apply(masks: MaskFile, task: FolderTask, folder: Path, outcome: Outcome) -> None:
    """Block by block: a weight is read, masked, written and forgotten."""
    decoder, progress = task.decoder, task.options.progress
    progress.stage("apply", len(task.chosen.blocks))
    with weight_sink(folder, task) as sink:
        for block in task.chosen.blocks:
            decoder.expect(block.linears)
            for linear in block.linears:
                mask, weight = masks.mask(linear.name), decoder.source_weight(linear)
                source_zeros = count_zeros(weight)
                weight.masked_fill_(~mask, 0)
                outcome.records[linear.name] = record(mask, sink(linear, weight), source_zeros)
            progress.block(0)


def _origin(masks: MaskFile, files: Mapping[str, str], decoder: StreamedDecoder) -> MaskFileRecord:
    """Where the masks are from, and whether this model is the one that they were chosen on: by its
    files, or by its linears where those were hashed."""
    known = masks.record.linears_sha256
    chosen_on = set(masks.manifest.base_files.values())  # old files of masks lack the tokenizer's
    same = bool(chosen_on) and chosen_on <= set(files.values())
    same = same or (known is not None and known == linears_sha256(decoder))
    name, sha256, base = masks.path.name, sha256_of(masks.path), masks.manifest.base
    return MaskFileRecord(name=name, sha256=sha256, base=base, same=same)


def _warn(masks: MaskFile, manifest: Manifest) -> None:
    """Say what the folder is not."""
    origin, updated = manifest.mask_file, masks.manifest.reconstruction
    if origin is not None and not origin.same:
        log.warning(
            "%s: masks chosen on %s; %s has other weights, or the same in other files",
            masks.path, origin.base, manifest.base,
        )  # fmt: skip
    if updated is not None:
        log.warning(
            "%s: the prune also changed the weights that it kept, by %s; those are not in a file "
            "of masks, and the model's own were kept instead",
            masks.path, updated,
        )  # fmt: skip
