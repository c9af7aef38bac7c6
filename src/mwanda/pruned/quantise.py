"""``mwanda quantise``: a model as a GGUF reader would see it, written as a plain folder."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from mwanda.errors import DataError, InputError
from mwanda.model.companions import copy_companions, find_companions
from mwanda.model.gguf.types import LINEARS, check_type
from mwanda.model.opening import PRUNABLE, open_decoder
from mwanda.model.run.streamed import StreamedDecoder
from mwanda.model.source import copy_licences, open_model
from mwanda.model.stored.layout import TensorInfo
from mwanda.model.stored.shards import plan_shards
from mwanda.model.stored.writer import ShardWriter
from mwanda.pruned.quantised_forms import Form, form_of
from mwanda.pruning.folder.known_text import Calibrations, known_in_folder, records
from mwanda.pruning.folder.manifest import versions
from mwanda.pruning.folder.weight_sink import write_config
from mwanda.pruning.given_arguments import options_given
from mwanda.system.arguments import path_given
from mwanda.system.files import check_disk_space, hash_files
from mwanda.system.finite import narrowed
from mwanda.system.output import QUANTISED, OutputFolder
from mwanda.system.run_options import RunOptions
from mwanda.system.shown import AsDict, Shown
from mwanda.system.speaking import speaking
from mwanda.system.surroundings import undisturbed
from mwanda.system.unfinished import scratch_folder

log = logging.getLogger("mwanda")

PIECE = 1 << 22
"""Weights that are quantised at a time."""

VECTOR_BYTES, MATRIX_BYTES = 4, 2
"""Bytes of a weight that is not quantised: llama.cpp's converter keeps vectors in F32 and other
matrices in F16 or BF16."""


@dataclass(frozen=True, repr=False)
class QuantiseResult(AsDict, Shown):
    """What was written.

    Attributes:
        folder: where.
        type: of the quantised matrices.
        tensors: how many were quantised.
        kept: matrices that were not -> why.
        bytes: of all weights in a GGUF file of that type, without its header.
        source_bytes: of all weights as they were stored.
        weights: how many the model has, those that stay as they are too.
        zeros_lost: weights that were zero, and are not any more.
        seconds: wall time.
    """

    folder: str
    type: str
    tensors: int
    kept: Mapping[str, str]
    bytes: int
    source_bytes: int
    weights: int
    zeros_lost: int
    seconds: float


@speaking
@undisturbed()
def quantise(
    model: str | Path, out: str | Path, type: str = "Q8_0", *, options: RunOptions | None = None
) -> QuantiseResult:
    """Quantise every linear of the blocks, the embeddings and the head, read them back, and write
    the values in float32, which holds them exactly.

    The model is as large on disk as any in float32, and computes as a GGUF of that type would in a
    program that dequantises. Everything else stays as it is. Tensors are read one by one.

    Args:
        model: a folder, GGUF file or hub id.
        out: the folder to write, whole or not at all.
        type: one of :data:`mwanda.model.gguf.types.TYPES` or of ``INT8`` there, for all matrices;
            with ``-LINEARS`` after it for those of the blocks alone.

    Raises:
        InputError: a type that cannot be written, an unusable ``out``, a model that is quantised
            already, or no row whose length is a multiple of the type's groups.
        DataError: a weight that is not finite.
    """
    options, model = options_given(options), path_given("model", model)
    kind, target = check_type(type, "type"), path_given("out", out)
    output = OutputFolder(target, overwrite=options.overwrite)
    output.check(Path(model))
    start = time.perf_counter()
    with (
        output as folder,
        scratch_folder(output.partial) as scratch,
        open_model(str(model), scratch, trust_remote_code=options.trust_remote_code) as source,
        open_decoder(source, options) as decoder,
    ):
        known = records(known_in_folder(source.folder))
        find_companions(source.folder)
        infos = decoder.checkpoint.tensors
        turned = _matrices(decoder, tables=not kind.endswith(LINEARS))
        form = form_of(kind.removesuffix(LINEARS))
        kept, size = _plan(infos, turned, form)
        if len(kept) == len(turned):
            raise InputError(
                str(model), expected=f"rows of a multiple of {form.group} weights", found="none",
                fix=f"{kind} cannot hold this model",
            )  # fmt: skip
        weights = decoder.checkpoint.numbers
        check_disk_space(folder, 4 * weights, "the quantised model")
        options.progress.stage("quantise", len(infos), unit="tensor")
        shards = plan_shards(
            [(i.name, _written(i.dtype), i.shape) for i in infos.values()], options.max_shard_size
        )
        lost = 0
        with ShardWriter(folder, shards) as writer:
            for name, info in infos.items():
                weight = decoder.checkpoint.read(name)
                if name in turned and name not in kept:
                    made = _read_back(name, weight, form, turned=turned[name])
                    lost += int(torch.count_nonzero((weight == 0) & (made != 0)))
                    weight = made
                fix = "quantise a copy in float32 or bfloat16"
                writer.write(name, narrowed(f"tensor {name}", weight, _written(info.dtype), fix))
                options.progress.block(0)
        decoder.checkpoint.check_unchanged()
        copy_companions(source.folder, folder)
        copy_licences(source, folder)
        write_config(source.folder, folder, torch.float32)
        result = QuantiseResult(
            str(target), kind, len(turned) - len(kept), kept, size,
            decoder.checkpoint.nbytes, weights, lost, time.perf_counter() - start,
        )  # fmt: skip
        _record(folder, source.name, result, known)
    return result


def _matrices(decoder: StreamedDecoder, *, tables: bool) -> dict[str, bool]:
    """Stored matrices to quantise -> whether their rows lie along the last dimension but one.

    Args:
        tables: the embeddings and the head too.
    """
    found = {}
    for linear in decoder.structure.linears():
        place = decoder.place(linear)
        found[place.stored] = place.transposed
    if not tables:
        return found
    model = decoder.model
    both = [model.get_input_embeddings(), model.get_output_embeddings()]
    shapes = {tuple(one.weight.shape) for one in both if one is not None}
    # By shape: no other matrix has a row for every token.
    for info in decoder.checkpoint.tensors.values():
        if tuple(info.shape) in shapes and info.dtype in PRUNABLE:
            found.setdefault(info.name, False)
    return found


def _plan(
    infos: Mapping[str, TensorInfo], turned: Mapping[str, bool], form: Form
) -> tuple[dict[str, str], int]:
    """Matrices that stay as they are, and why; and the bytes of everything as GGUF."""
    kept: dict[str, str] = {}
    size = 0
    for name, info in infos.items():
        weights = info.nbytes // info.dtype.itemsize
        row = 0 if name not in turned else info.shape[-2 if turned[name] else -1]
        if name in turned and row % form.group == 0:
            size += form.nbytes(weights, row)
            continue
        if name in turned:
            kept[name] = f"rows of {row}, no multiple of {form.group}"
        size += weights * (VECTOR_BYTES if len(info.shape) < 2 else MATRIX_BYTES)
    return kept, size


def _read_back(name: str, weight: torch.Tensor, form: Form, *, turned: bool) -> torch.Tensor:
    """A matrix, or several stacked, quantised and back, some rows at a time."""
    rows = weight.transpose(-1, -2) if turned else weight
    flat = rows.reshape(-1, rows.shape[-1])
    made = torch.empty(flat.shape, dtype=torch.float32)
    step = max(1, PIECE // flat.shape[-1])
    for start in range(0, len(flat), step):
        part = flat[start : start + step].to(torch.float32)
        if not bool(torch.isfinite(part).all()):
            raise DataError(
                f"tensor {name}", expected="finite weights", found="NaN or infinity",
                fix="download the model again",
            )  # fmt: skip
        made[start : start + step] = form.read_back(part)
    shaped = made.reshape(rows.shape)
    return shaped.transpose(-1, -2).contiguous() if turned else shaped


def _written(stored: torch.dtype) -> torch.dtype:
    return torch.float32 if stored.is_floating_point else stored


def _record(folder: Path, base: str, result: QuantiseResult, known: Calibrations) -> None:
    """What the folder is and holds, so that ``--overwrite`` knows its own."""
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    hashes = hash_files(paths)
    told = result.as_dict() | {
        "format": 1, "base": base, "versions": versions(),
        "files": {path.relative_to(folder).as_posix(): hashes[path] for path in paths},
    }  # fmt: skip
    del told["folder"], told["seconds"]  # the same input gives the same bytes
    if known:
        told["calibrations"] = [record.model_dump(mode="json") for record in known]
    text = json.dumps(told, indent=1, ensure_ascii=False)
    (folder / QUANTISED).write_text(text + "\n", encoding="utf-8")
