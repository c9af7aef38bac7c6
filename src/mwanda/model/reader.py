"""A checkpoint read lazily: headers first, one tensor at a time after that, nothing mapped.

Tensors are read into ordinary memory with plain file calls. Mapped shards would be resident pages
that grow with the model.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch

from mwanda.errors import DataError, InputError
from mwanda.model.layout import TensorInfo, byte_view, read_header

__all__ = ["Checkpoint"]

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
PICKLED = ("pytorch_model*.bin", "*.pt", "*.pth", "*.ckpt", "consolidated*.pth", "*.bin")


class Checkpoint:
    """The tensors of a local model folder in the hub's layout.

    Attributes:
        folder: where it lies.
        tensors: name -> where its bytes are, shard after shard.
        files: the shards.
        metadata: of the first shard.
    """

    def __init__(
        self, folder: Path, tensors: dict[str, TensorInfo], metadata: dict[str, str]
    ) -> None:
        self.folder = folder
        self.tensors = tensors
        self.metadata = metadata
        self.files = tuple(dict.fromkeys(info.file for info in tensors.values()))
        self._states = {file: _state(file) for file in self.files}
        self._descriptors: dict[Path, int] = {}

    @classmethod
    def open(cls, folder: Path) -> Checkpoint:
        """Read and check every header; no weight is touched.

        Raises:
            InputError: anything missing, unsafe, truncated or contradictory.
        """
        if not folder.is_dir():
            found = "a file" if folder.exists() else "nothing there"
            raise InputError(str(folder), expected="a model folder", found=found)
        if not (folder / "config.json").is_file():
            raise InputError(
                f"{folder}/config.json",
                expected="the model's config",
                found="no such file",
                fix="give the folder that holds config.json and the safetensors",
            )
        index = folder / INDEX
        tensors: dict[str, TensorInfo] = {}
        metadata: dict[str, str] = {}
        wanted = _read_index(folder, index) if index.is_file() else None
        for shard in [_single(folder)] if wanted is None else sorted(set(wanted.values())):
            infos, its_metadata = read_header(shard)
            metadata = metadata or its_metadata
            for info in infos:
                if wanted is None or wanted.get(info.name) == shard:
                    tensors[info.name] = info
        if wanted is not None:
            _check_complete(index, wanted, tensors)
        if not tensors:
            raise InputError(str(folder), expected="tensors in the checkpoint", found="none")
        return cls(folder, tensors, metadata)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors."""
        return sum(info.nbytes for info in self.tensors.values())

    def read(self, name: str) -> torch.Tensor:
        """One tensor in ordinary memory, in its stored dtype and shape.

        Raises:
            DataError: the shard is shorter than it was, or changed since it was opened.
        """
        info = self.tensors[name]
        tensor = torch.empty(info.shape, dtype=info.dtype)
        self.read_bytes(name, 0, byte_view(tensor))
        return tensor

    def read_bytes(self, name: str, start: int, into: memoryview) -> None:
        """Fill ``into`` with a tensor's stored bytes from ``start`` on; safe from many threads.

        Raises:
            DataError: as :meth:`read`.
        """
        info = self.tensors[name]
        descriptor = self._descriptor(info.file)
        done = 0
        while done < len(into):
            got = os.preadv(descriptor, [into[done:]], info.offset + start + done)
            if got <= 0:
                raise DataError(
                    f"{info.file}: tensor {name}",
                    expected=f"{info.nbytes} bytes",
                    found=f"the end of the file after {start + done}",
                    fix="the shard changed while it was being read",
                )
            done += got
        if _state(info.file) != self._states[info.file]:
            raise DataError(
                str(info.file),
                expected="the shard as it was when it was opened",
                found="another size or time of change",
                fix="do not write to a model while it is being pruned",
            )

    def close(self) -> None:
        """Close the shards."""
        for descriptor in self._descriptors.values():
            os.close(descriptor)
        self._descriptors.clear()

    def _descriptor(self, file: Path) -> int:
        if file not in self._descriptors:
            self._descriptors[file] = os.open(file, os.O_RDONLY)
        return self._descriptors[file]


def _state(file: Path) -> tuple[int, int]:
    try:
        status = file.stat()
    except OSError as error:
        raise DataError(
            str(file), expected="the shard that was opened", found=error.strerror or "none"
        ) from error
    return status.st_size, status.st_mtime_ns


def _single(folder: Path) -> Path:
    if (folder / SINGLE).is_file():
        return _inside(folder, SINGLE, folder / SINGLE)
    found = sorted(folder.glob("*.safetensors"))
    if len(found) == 1:
        return _inside(folder, found[0].name, found[0])
    if found:
        raise InputError(
            str(folder), expected=f"{SINGLE} or {INDEX}", found=f"{len(found)} safetensors"
        )
    pickled = sorted(path.name for pattern in PICKLED for path in folder.glob(pattern))
    if pickled:
        raise InputError(
            f"{folder}/{pickled[0]}",
            expected="weights as safetensors",
            found="a pickle-only model, which can run code when it is read",
            fix="convert it where you trust it: from_pretrained(...).save_pretrained(...)",
        )
    raise InputError(
        str(folder),
        expected=f"{SINGLE} or {INDEX}",
        found="no safetensors",
        fix="download the model's weights into the folder",
    )


def _read_index(folder: Path, index: Path) -> dict[str, Path]:
    try:
        data: Any = json.loads(index.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise InputError(str(index), expected="JSON", found=str(error)[:120]) from error
    weight_map = data.get("weight_map") if isinstance(data, dict) else None
    if not isinstance(weight_map, dict) or not weight_map:
        raise InputError(
            str(index),
            expected="a weight_map from tensor to shard",
            found=type(weight_map).__name__,
        )
    places: dict[str, Path] = {}
    checked: dict[str, Path] = {}
    for tensor, shard in weight_map.items():
        if not isinstance(shard, str):
            raise InputError(
                f"{index}: {tensor}", expected="the name of a shard", found=repr(shard)[:60]
            )
        if shard not in checked:
            checked[shard] = _inside(folder, shard, folder / shard)
        places[tensor] = checked[shard]
    return places


def _inside(folder: Path, name: str, path: Path) -> Path:
    """The shard, unless its name or a link leads out of the folder.

    The hub's cache keeps ``snapshots/<revision>/x`` as a link to ``blobs/<hash>`` beside it; that
    one way out is allowed.
    """
    root = folder.resolve()
    real = path.resolve()
    cached = root.parent.name == "snapshots" and real.is_relative_to(root.parent.parent / "blobs")
    outside = InputError(
        f"{folder}: shard {name[:120]}",
        expected="a file inside the model folder",
        found="a path that leaves it",
        fix="do not use a model whose index points elsewhere",
    )
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise outside
    if not real.is_relative_to(root) and not cached:
        raise outside
    if not real.is_file():
        raise InputError(
            f"{folder}: shard {name[:120]}",
            expected="a file, as the index says",
            found="no such file",
            fix="download the missing shard",
        )
    return path


def _check_complete(index: Path, wanted: dict[str, Path], tensors: dict[str, TensorInfo]) -> None:
    absent = [name for name in wanted if name not in tensors]
    if absent:
        raise InputError(
            f"{index}: tensor {absent[0]}",
            expected=f"it to be in {wanted[absent[0]].name}",
            found=f"not there ({len(absent)} such tensors)",
            fix="index and shards belong to different downloads; fetch both again",
        )
