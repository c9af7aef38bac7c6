"""The files of a trimmed model: weights, hashed while the next ones are copied; configs and
tokenizer with the new ids; manifest and card."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Collection, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from mwanda.errors import InputError, shown
from mwanda.model.companions import find_companions, is_tokenizer
from mwanda.model.opening import source_dtype
from mwanda.model.run.streamed import StreamedDecoder
from mwanda.model.source import ModelSource
from mwanda.model.stored.reader import Checkpoint
from mwanda.model.stored.shards import plan_shards
from mwanda.model.stored.writer import ShardWriter
from mwanda.pruned.trim.choice import Chosen
from mwanda.pruned.trim.token_ids import (
    BY_TEXT,
    CONFIGS,
    is_id_field,
    map_tokenizer,
    map_tokenizer_config,
    new_size,
    read_json,
    with_ids,
    with_sizes,
)
from mwanda.pruned.trim.vocabulary import Vocabulary
from mwanda.pruning.folder.known_text import known_in_folder
from mwanda.pruning.folder.manifest import Manifest, find_manifest, versions
from mwanda.pruning.folder.manifest_records import Totals, TrimRecord, weights_in
from mwanda.pruning.folder.weight_sink import files_in, seal
from mwanda.pruning.task import base_files
from mwanda.system.device import dtype_name
from mwanda.system.files import hash_files, sha256_of
from mwanda.system.progress import Progress
from mwanda.system.threads import Task, Worker

log = logging.getLogger("mwanda")

PIECE = 16 << 20
"""Bytes between two reports of progress: tensors are too unlike to be counted."""

_TEXTS = ("chat_template.json",)
"""JSON of a tokenizer that names no ids."""


def copy_tensors(
    checkpoint: Checkpoint, folder: Path, most: int, hashed: Collection[Path], progress: Progress
) -> dict[Path, str]:
    """Write every tensor into shards of at most so many bytes.

    Other threads hash a file as soon as it was copied, when its bytes are in memory still: read
    again at the end, they would come from the disk. Two, as hashing takes longer than copying.

    Args:
        hashed: files of the source that are to be hashed too.

    Returns:
        SHA-256 of these files and of those written.
    """
    infos = checkpoint.tensors
    shards = plan_shards([(i.name, i.dtype, i.shape) for i in infos.values()], most)
    last = {info.file: name for name, info in infos.items() if info.file in hashed}
    tasks: dict[Path, Task[str]] = {}
    readers = Worker(), Worker()
    progress.stage("trim", sum(i.nbytes for i in infos.values()) // PIECE, unit="piece of 16 MiB")
    copied = 0
    try:
        with ShardWriter(folder, shards) as writer:
            for shard in shards:
                for name, *_ in shard.tensors:
                    writer.write_from(name, checkpoint)
                    before, copied = copied, copied + infos[name].nbytes
                    for _ in range(copied // PIECE - before // PIECE):
                        progress.block(0)
                    if last.get(file := infos[name].file) == name:
                        tasks[file] = readers[0].submit(partial(sha256_of, file))
                file = folder / shard.name
                tasks[file] = readers[1].submit(partial(sha256_of, file))
        return {file: task.result() for file, task in tasks.items()}
    finally:
        for reader in readers:
            reader.close(drop=True)


def write_companions(
    source: Path,
    target: Path,
    vocabulary: Vocabulary,
    chosen: Chosen,
    config: Mapping[str, Any],
    tables: Mapping[str, int],
) -> None:
    """Write configs and tokenizer with new ids, and copy all else that goes with the weights.

    Args:
        config: all that the model's config says, its defaults too.
        tables: tensors that were cut -> how many rows they had.
    """
    new = chosen.new_ids
    gone = frozenset(text for number, text in vocabulary.added.items() if number not in new)
    made = _config(read_json(source / "config.json"), config, new, max(tables.values()))
    _write(target / "config.json", made)
    dropped = []
    for name, path in find_companions(source).files.items():
        (target / name).parent.mkdir(exist_ok=True)
        if name == "tokenizer.json":
            _write(target / name, map_tokenizer(vocabulary, new), indent=None)
        elif name in BY_TEXT:
            _write(target / name, map_tokenizer_config(read_json(path), gone, new))
        elif name in CONFIGS:
            _write(target / name, with_ids(read_json(path), new))
        elif name == "added_tokens.json":
            known = read_json(path).items()
            _write(target / name, {text: new[i] for text, i in known if i in new})
        elif name == "tokenizer.model" and (made := cut_sentencepiece(path, new)) is not None:
            (target / name).write_bytes(made)
        elif is_tokenizer(name) and name not in _TEXTS:
            dropped.append(name)
        else:
            shutil.copyfile(path, target / name)
    if dropped:
        log.info("left out, since tokenizer.json says the same: %s", ", ".join(map(shown, dropped)))


def cut_sentencepiece(path: Path, new: Mapping[int, int]) -> bytes | None:
    """``tokenizer.model`` with the pieces that stay, whose ids are their places; None where it is
    not SentencePiece's or its package is not there."""
    try:
        from google.protobuf.message import DecodeError
        from sentencepiece import sentencepiece_model_pb2
    except ImportError:
        return None
    model = sentencepiece_model_pb2.ModelProto()
    try:
        model.ParseFromString(path.read_bytes())
    except DecodeError:
        return None
    kept = [piece for number, piece in enumerate(model.pieces) if number in new]
    if [new[i] for i in range(len(model.pieces)) if i in new] != [*range(len(kept))]:
        return None
    special = model.trainer_spec
    for name in ("unk_id", "bos_id", "eos_id", "pad_id"):
        if getattr(special, name) >= 0:
            setattr(special, name, new.get(getattr(special, name), -1))
    special.vocab_size = len(kept)
    del model.pieces[:]
    model.pieces.extend(kept)
    return bytes(model.SerializeToString())


def bases_of(source: ModelSource, decoder: StreamedDecoder) -> list[Path]:
    """The source's files whose hashes the manifest names: none where its own manifest goes on."""
    made = find_manifest(source.folder) is not None
    return [] if made else base_files(source, decoder.checkpoint)


def finish_folder(
    folder: Path,
    source: ModelSource,
    decoder: StreamedDecoder,
    cut: Checkpoint,
    record: TrimRecord,
    known: Mapping[Path, str],
) -> None:
    """Write the manifest and the card of a folder that has everything else.

    A pruned source's manifest goes on, with the new files: its linears are as they were. The source
    is a base then too.

    Args:
        known: file -> SHA-256 of those that were hashed on the way.
    """
    written = files_in(folder)
    before = find_manifest(source.folder)
    bases = bases_of(source, decoder)
    left = [path for path in (*written.values(), *bases) if path not in known]
    hashes = {**known, **hash_files(left)}
    files = {name: hashes[path] for name, path in written.items()}
    if before is None:
        manifest = Manifest(
            base=source.name, base_files={path.name: hashes[path] for path in bases},
            dequantised=source.dequantised, recipe={}, statistics="none", device="cpu",
            compute_dtype="none", dtype=dtype_name(source_dtype(cut)), calibration=None,
            earlier=known_in_folder(source.folder), linears={},
            totals=Totals.of((), weights_in(cut)), signals=[], files=files, versions=versions(),
            trims=(record,),
        )  # fmt: skip
    else:
        manifest = before.model_copy(
            update={
                "files": files,
                "earlier_bases": (*before.earlier_bases, before.files),
                "totals": Totals.of(before.linears.values(), weights_in(cut)),
                "trims": (*before.trims, record),
                "versions": versions(),
            }
        )
    seal(folder, source, manifest)


def _config(data: Any, config: Mapping[str, Any], new: Mapping[int, int], before: int) -> Any:
    """``config.json`` with new ids and sizes, also those that it left to its class's defaults.

    Args:
        before: rows of the whole vocabulary.
    """
    if not isinstance(data, dict):
        raise InputError("config.json", expected="an object", found=type(data).__name__)
    rows = sorted(new)
    made = with_sizes(with_ids(data, new), before, rows)
    made.pop("transformers_weights", None)  # the shards written have their usual names
    for place, full in ((made, config), *((made[n], config[n]) for n in _nested(made, config))):
        for name, value in full.items():
            if name in place:
                continue
            size = new_size(name, value, before, rows)
            whole = isinstance(value, int) and not isinstance(value, bool)
            if size is not None:
                place[name] = size
            elif is_id_field(str(name)) and whole and new.get(value, value) != value:
                place[name] = new[value]
    return made


def _nested(made: Mapping[str, Any], config: Mapping[str, Any]) -> list[str]:
    return [n for n, v in config.items() if isinstance(v, dict) and isinstance(made.get(n), dict)]


def _write(path: Path, data: Any, indent: int | None = 2) -> None:
    path.write_text(json.dumps(data, indent=indent, ensure_ascii=False) + "\n", encoding="utf-8")
