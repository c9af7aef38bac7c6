"""One safetensors file of mwanda's own: read with care, written as a stream, whole or not at all.

What it is and holds is JSON under ``mwanda`` in its metadata: ``kind``, ``format``, then the rest.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.torch import save_file

from mwanda.errors import DataError, InputError, MwandaError, first_problem, shown
from mwanda.model.stored.layout import TensorInfo, byte_view, read_header
from mwanda.model.stored.shards import Shard
from mwanda.model.stored.writer import ShardWriter
from mwanda.system.output import OutputFile
from mwanda.system.shown import Shown

KEY = "mwanda"
FORMAT = 1

TOGETHER = 64 << 20
"""Bytes of small tensors that wait to be put aside together."""


class SavedRecord(Shown, BaseModel):
    """What the metadata of a file say; ``kind`` and ``format`` come first."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str
    format: int = FORMAT


Record = TypeVar("Record", bound=SavedRecord)


def read_record(
    path: Path, kind: str, record: type[Record]
) -> tuple[Record, dict[str, TensorInfo]]:
    """The record of a file of a kind such as ``statistics``, and where its tensors are; none of
    them is read."""
    thing = f"{kind} {path}"
    if not path.is_file():
        raise InputError(thing, expected="a safetensors file", found="no such file")
    infos, metadata = read_header(path)
    data = _own(metadata)
    if data.get("kind") != kind:
        raise InputError(
            thing,
            expected=f"a file of {kind} that mwanda wrote",
            found=f"one of {str(data['kind'])[:40]}" if "kind" in data else "a foreign file",
        )
    if data.get("format") != FORMAT:
        expected = f"format {FORMAT}"
        fix = "it is from another version of mwanda; make it again"
        raise InputError(thing, expected=expected, found=repr(data.get("format"))[:40], fix=fix)
    try:
        return record.model_validate(data), {info.name: info for info in infos}
    except ValidationError as error:
        place, found = first_problem(error)
        raise InputError(
            f"{thing}: {place[:200]}",
            expected="a record that mwanda wrote",
            found=found,
            fix="the file is damaged; make it again",
        ) from None


def saved_file(
    target: Path, kind: str, *, overwrite: bool, resume: bool = False, restart: bool = False
) -> OutputFile:
    """A file of a kind, to be written; an older one that is replaced has to be of it, too."""
    return OutputFile(
        target,
        suffix=".safetensors",
        what=f"a file of {kind}",
        is_ours=partial(_is_of, kind),
        overwrite=overwrite,
        resume=resume,
        restart=restart,
    )


def check_tensors(
    thing: str,
    found: Mapping[str, TensorInfo],
    expected: Mapping[str, tuple[torch.dtype, tuple[int, ...]]],
) -> None:
    """Refuse tensors that are not those a record names."""
    for name in sorted(expected.keys() | found.keys()):
        info, wanted = found.get(name), expected.get(name)
        if info is None or wanted is None or (info.dtype, info.shape) != wanted:
            raise InputError(
                f"{thing}: tensor {shown(name)}",
                expected="none of that name" if wanted is None else f"{wanted[0]} {[*wanted[1]]}",
                found="none" if info is None else f"{info.dtype} {[*info.shape]}",
                fix="the file is damaged; make it again",
            )


def read_tensor(thing: str, info: TensorInfo) -> torch.Tensor:
    """One tensor of a file whose header was read before; a message calls the file ``thing``."""
    tensor = torch.empty(info.shape, dtype=info.dtype)
    wanted, done = byte_view(tensor), 0
    try:
        with info.file.open("rb") as file:
            file.seek(info.offset)
            done = file.readinto(wanted)
        found = f"only {done} of {len(wanted)} bytes"
    except OSError as error:
        found = error.strerror or "a read error"
    if done < len(wanted):
        what = f"{thing}: tensor {shown(info.name)}"
        expected = "the file as it was when it was opened"
        raise DataError(what, expected=expected, found=found, fix="it changed meanwhile; run again")
    return tensor


class Spill:
    """Tensors of a kind put aside in a folder as they come, then joined into one file, one in
    memory at a time. What an earlier run has settled in the folder counts."""

    def __init__(self, folder: Path, kind: str) -> None:
        self._folder, self._kind = folder, kind
        self._parts = sorted(folder.glob(f"{kind}-*.safetensors"))
        self._read: list[dict[str, TensorInfo]] = []
        self._waiting: dict[str, torch.Tensor] = {}
        self._size = 0

    def add(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Put some tensors aside, small ones several at a time; no name may come twice."""
        for name, tensor in tensors.items():
            self._waiting[name] = tensor.detach().cpu().contiguous()
            self._size += tensor.numel() * tensor.dtype.itemsize
        if self._size > TOGETHER:
            self._put_aside()

    def _put_aside(self) -> None:
        path = self._folder / f"{self._kind}-{len(self._parts):05d}.safetensors"
        try:
            save_file(self._waiting, path)
        except (SafetensorError, OSError) as error:
            raise MwandaError(
                str(self._folder),
                expected="room on the disk",
                found=" ".join(str(error).split())[:120],
                fix="free some space and run again",
            ) from error
        self._parts.append(path)
        self._waiting, self._size = {}, 0

    def read(self, name: str) -> torch.Tensor:
        """A tensor that was added, by its name."""
        if name in self._waiting:
            return self._waiting[name]
        for part in self._parts[len(self._read) :]:
            self._read.append({info.name: info for info in read_header(part)[0]})
        for infos in reversed(self._read):
            if name in infos:
                return read_tensor(str(infos[name].file), infos[name])
        raise DataError(str(self._folder), expected=f"tensor {name}", found="none of that name")

    def settle(self) -> list[Path]:
        """The files of all that was added, which do not change any more."""
        if self._waiting:
            self._put_aside()
        return list(self._parts)

    def join(self, record: SavedRecord) -> Path:
        """All tensors in one file, by name, its record in the metadata."""
        infos = [(part, info) for part in self.settle() for info in read_header(part)[0]]
        # By name: how many were put aside together is chance where a journal asks for it.
        infos.sort(key=lambda pair: pair[1].name)
        shard = Shard(
            "whole.safetensors",
            tuple((info.name, info.dtype, info.shape) for _, info in infos),
            {KEY: json.dumps(record.model_dump(mode="json"), ensure_ascii=False)},
        )
        with ShardWriter(self._folder, [shard], kept=()) as writer:
            for part, info in infos:
                writer.write(info.name, read_tensor(str(part), info))
        return self._folder / shard.name


def _is_of(kind: str, path: Path) -> bool:
    try:
        return _own(read_header(path)[1]).get("kind") == kind
    except InputError:
        return False


def _own(metadata: Mapping[str, str]) -> dict[str, Any]:
    """What mwanda put into a file's metadata; empty in a foreign one."""
    try:
        data = json.loads(metadata.get(KEY, "null"))
    except (ValueError, RecursionError):
        data = None
    return data if isinstance(data, dict) else {}
