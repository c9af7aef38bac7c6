"""A checkpoint seen with some of the vocabulary's rows alone, and which tensors have such rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from mwanda.errors import InputError
from mwanda.model.run.streamed import StreamedDecoder
from mwanda.model.stored.reader import Checkpoint
from mwanda.pruning.folder.manifest import Manifest

PER_LAYER = "embed_tokens_per_layer"
"""Gemma 3n's second table, which may be shorter than the first."""

COMPUTED = ("vocab_offset", "vocabulary_map", "additional_vocab_size", "ple_layer_ids",
            "encoder_hash_byte_group_vocab")  # fmt: skip
"""Fields of a config whose model does more with ids than look up their rows: it hashes or shifts
them, or takes those above the vocabulary for something else."""


class CutCheckpoint(Checkpoint):
    """A checkpoint of which some tensors have fewer rows; every number is read from the source.

    Args:
        source: stays open as long as this is used.
        rows: tensor -> the rows that are left, int64, ascending.
    """

    def __init__(self, source: Checkpoint, rows: Mapping[str, torch.Tensor]) -> None:
        super().__init__(source.folder)
        self.tensors |= source.tensors
        self.metadata, self.states = source.metadata, source.states
        for name, kept in rows.items():
            info = source.tensors[name]
            row = info.nbytes // info.shape[0]
            self.tensors[name] = replace(
                info, shape=(len(kept), *info.shape[1:]), nbytes=row * len(kept)
            )
        self._source = source
        self._runs = {name: _runs(kept) for name, kept in rows.items()}

    def read_bytes(self, name: str, start: int, into: memoryview) -> None:
        if name not in self._runs:
            self._source.read_bytes(name, start, into)
            return
        info = self._info(name)
        row = info.nbytes // info.shape[0]
        begins, places, lengths = self._runs[name]
        at = int(torch.searchsorted(begins, start // row, right=True)) - 1
        done = 0
        while done < len(into):
            inside = start + done - int(begins[at]) * row
            size = min(int(lengths[at]) * row - inside, len(into) - done)
            whole = int(places[at]) * row + inside
            self._source.read_bytes(name, whole, into[done : done + size])
            done, at = done + size, at + 1


def _runs(kept: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Stretches of neighbours: where each begins in the result, where in the source, how long."""
    ends = torch.nonzero(kept.diff() != 1).flatten() + 1
    begins = torch.cat([torch.zeros(1, dtype=torch.int64), ends])
    lengths = torch.cat([begins[1:], torch.tensor([len(kept)])]) - begins
    return begins, kept[begins], lengths


def trimmed_rows(manifest: Manifest, source: Checkpoint) -> dict[str, torch.Tensor]:
    """Tensors of which a folder has fewer rows than a source it was made of -> those it has; none
    where the source had been trimmed already."""
    found: dict[str, torch.Tensor] = {}
    for record in reversed((*manifest.earlier_trims, *manifest.trims)):
        old = torch.tensor(record.old_ids)
        for name, rows in record.tensors.items():
            kept = old[old < rows]
            found[name] = kept[found[name]] if name in found else kept
        if all(name in source.tensors and source.tensors[name].shape[0] == rows
               for name, rows in record.tensors.items()):  # fmt: skip
            return found
    return {}


def vocabulary_tensors(decoder: StreamedDecoder) -> dict[str, int]:
    """Stored tensors with one row for every token -> how many rows they have.

    Raises:
        InputError: another tensor has a dimension of that size. Cut, it might be no longer what it
            was; left, it might have rows for tokens that are gone. Or the model computes with ids.
    """
    tables = tables_of(decoder.model)
    found: dict[str, int] = {}
    for name, size in tables.items():
        for stored in decoder.stored_names(name):
            if decoder.checkpoint.tensors[stored].shape[0] != size:
                raise _unknown(decoder, stored, "stored in another form than it is used in")
            found[stored] = size
    sizes = {*tables.values()}
    for stored, info in decoder.checkpoint.tensors.items():
        if stored not in found and sizes & {*info.shape}:
            raise _unknown(decoder, stored, f"shape {[*info.shape]}")
    return found


def tables_of(model: Any) -> dict[str, int]:
    """Parameters of embeddings and head -> how many rows they have; with or without memory."""
    refuse_computed(model.config)
    embedding = model.get_input_embeddings()
    rows, heads = len(embedding.weight), {id(embedding), id(model.get_output_embeddings())}
    tables: dict[str, int] = {}
    for path, module in model.named_modules(remove_duplicate=False):
        per_layer = path.rpartition(".")[2] == PER_LAYER and isinstance(module, nn.Embedding)
        if id(module) in heads or per_layer:
            for leaf, parameter in module.named_parameters(recurse=False):
                if len(parameter) != rows and not per_layer:
                    raise _refused(f"{path}.{leaf}", f"the embedding's {rows} rows, one a token",
                                   str(len(parameter)))  # fmt: skip
                tables[f"{path}.{leaf}"] = len(parameter)
    return tables


def refuse_computed(config: Any) -> None:
    """Refuse a model that does more with ids than look up their rows."""
    for name, value in _fields(config.to_dict()):
        if name in COMPUTED and value:
            raise _refused(f"config.json: {name}", "a model that only looks up the rows of its ids",
                           f"{value!r:.60}: this one computes with them")  # fmt: skip


def _fields(value: Any) -> Iterator[tuple[str, Any]]:
    """Every field of a config, at any depth."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield str(name), item
            yield from _fields(item)


def _unknown(decoder: StreamedDecoder, name: str, found: str) -> InputError:
    return _refused(
        f"{decoder.checkpoint.folder}: tensor {name}",
        f"no other tensor with the vocabulary's {decoder.vocabulary} rows than embeddings and head",
        found,
    )


def _refused(thing: str, expected: str, found: str) -> InputError:
    fix = "a model of this kind cannot be trimmed"
    return InputError(thing, expected=expected, found=found, fix=fix)
