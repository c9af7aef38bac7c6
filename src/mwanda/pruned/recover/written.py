"""The recovered model as a folder: what learnt under the source's own names, all else as it was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from mwanda.errors import DataError
from mwanda.model.run.streamed import StreamedDecoder
from mwanda.model.run.structure import Linear, matrix_in
from mwanda.model.source import ModelSource
from mwanda.model.stored.parts import Part, Piece
from mwanda.model.stored.shards import plan_shards
from mwanda.model.stored.writer import ShardWriter
from mwanda.pruning.folder.manifest import Manifest
from mwanda.pruning.folder.manifest_records import LinearRecord
from mwanda.pruning.folder.weight_sink import (
    cast_to,
    copy_all_else,
    files_in,
    seal,
    written_dtype,
)
from mwanda.pruning.masks import count_zeros, digest
from mwanda.system.device import HOST
from mwanda.system.files import hash_files


@torch.no_grad()
def round_as_written(
    decoder: StreamedDecoder, names: Sequence[str], dtype: torch.dtype | None
) -> None:
    """Give the parameters that learnt the values that are going to be on disk."""
    for name in names:
        parameter, part = decoder.model.get_parameter(name), decoder.part(name)
        for piece in part.pieces:
            stored = decoder.checkpoint.tensors[piece.stored].dtype
            values = parameter[_slices(piece)]
            values.copy_(cast_to(piece.stored, values, written_dtype(stored, dtype)))


def write_weights(
    folder: Path,
    decoder: StreamedDecoder,
    names: Sequence[str],
    dtype: torch.dtype | None,
    max_shard_size: int,
) -> list[str]:
    """Write all tensors.

    Args:
        names: of the parameters that learnt, which are there.
        dtype: what is written; None for what the source has.

    Returns:
        Names of the stored tensors with values that learnt.
    """
    checkpoint = decoder.checkpoint
    infos = checkpoint.tensors.values()
    learnt = _by_stored({name: decoder.part(name) for name in names})
    shards = plan_shards(
        [(i.name, written_dtype(i.dtype, dtype), i.shape) for i in infos], max_shard_size
    )
    with ShardWriter(folder, shards) as writer:
        for info in infos:
            written = written_dtype(info.dtype, dtype)
            if info.name not in learnt and written == info.dtype:
                writer.write_from(info.name, checkpoint)
                continue
            values = cast_to(info.name, checkpoint.read(info.name), written)
            for name, piece in learnt.get(info.name, {}).items():
                parameter = decoder.model.get_parameter(name).detach()
                _put(values, piece, cast_to(info.name, parameter[_slices(piece)].to(HOST), written))
            writer.write(info.name, values)
    checkpoint.check_unchanged()
    return sorted(learnt)


def linear_records(
    decoder: StreamedDecoder,
    source: Mapping[str, LinearRecord],
    dtype: torch.dtype | None,
) -> dict[str, LinearRecord]:
    """The records with the zeros that are written now.

    Raises:
        DataError: a zero that is none any more.
    """
    found = {}
    for linear in decoder.structure.linears():
        record = source.get(linear.name)
        if record is None:
            continue
        nonzero = _written(decoder, linear, dtype) != 0
        zeros = count_zeros(nonzero)
        if zeros < record.zeros:
            raise DataError(
                f"linear {linear.name}", expected=f"{record.zeros} zeros", found=str(zeros)
            )
        found[linear.name] = record.model_copy(
            update={"zeros": zeros, "zeros_sha256": digest(nonzero)}
        )
    return found


def records_of_zeros(
    decoder: StreamedDecoder, source_zeros: Mapping[str, int]
) -> dict[str, LinearRecord]:
    """Records of a folder that another program made: its zeros are its masks.

    Args:
        source_zeros: linear -> zeros that the dense model has in it.
    """
    found = {}
    for block in decoder.structure.blocks:
        for linear in block.linears:
            nonzero = _written(decoder, linear, None) != 0
            zeros, place = count_zeros(nonzero), decoder.place(linear)
            if not zeros:
                continue
            found[linear.name] = LinearRecord(
                tensor=place.stored, block=block.index, shape=(linear.rows, linear.columns),
                transposed=place.transposed, sparsity=zeros / nonzero.numel(), pruned=zeros,
                zeros=zeros, source_zeros=source_zeros.get(linear.name, 0),
                mask_sha256=digest(nonzero), zeros_sha256=digest(nonzero), box=place.box,
            )  # fmt: skip
    return found


def complete(
    folder: Path, source: ModelSource, manifest: Manifest, dtype: torch.dtype | None
) -> Manifest:
    """Write what goes with the weights: companions, config, card, and the manifest with hashes."""
    copy_all_else(source, folder, dtype)
    written = files_in(folder)
    hashes = hash_files([*written.values()])
    files = {name: hashes[path] for name, path in written.items()}
    manifest = manifest.model_copy(update={"files": files, "sha256": None})
    seal(folder, source, manifest)
    return manifest


def _written(decoder: StreamedDecoder, linear: Linear, dtype: torch.dtype | None) -> torch.Tensor:
    """A linear ``[out, in]`` as it is written."""
    stored = decoder.checkpoint.tensors[decoder.place(linear).stored].dtype
    weight = matrix_in(decoder.model.get_parameter(linear.parameter).detach(), linear)
    return cast_to(linear.name, weight.to(HOST), written_dtype(stored, dtype))


def _by_stored(parts: Mapping[str, Part]) -> dict[str, dict[str, Piece]]:
    """Stored tensor -> parameter -> the piece of the one that the other holds."""
    found: dict[str, dict[str, Piece]] = {}
    for name, part in parts.items():
        for piece in part.pieces:
            found.setdefault(piece.stored, {})[name] = piece
    return found


def _put(stored: torch.Tensor, piece: Piece, values: torch.Tensor) -> None:
    """A parameter's part into the stored tensor it was made of: reading, turned round."""
    into = stored[tuple(slice(*sides) for sides in piece.source)]
    order = sorted(range(into.dim()), key=piece.axes.__getitem__)
    turned = into.permute(order)
    turned.copy_(values.reshape(turned.shape))


def _slices(piece: Piece) -> tuple[slice, ...]:
    return tuple(slice(*sides) for sides in piece.target)
