"""``load_packed``: a transformers model straight from an archive, tensor by tensor."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from mwanda.errors import InputError, shown
from mwanda.model.run.skeleton import auto_class, load_config
from mwanda.model.stored.layout import DTYPES_BY_NAME, INDEX, SINGLE
from mwanda.pruned.archive.contents import Segment
from mwanda.pruned.archive.reader import Archive
from mwanda.pruning.folder.known_text import known_in_folder, remember
from mwanda.pruning.folder.manifest import MANIFEST
from mwanda.system.arguments import path_given
from mwanda.system.output import QUANTISED
from mwanda.system.surroundings import building, undisturbed

CONFIG, GENERATION = "config.json", "generation_config.json"


class _Lazy:
    """A tensor decoded when it is taken with ``[...]``, as from a slice of a safetensors file."""

    def __init__(self, segment: Segment, dtype: torch.dtype, read: Callable[[], torch.Tensor]):
        self.shape = torch.Size(segment.shape or ())
        self.dtype = dtype
        self._read = read

    def __getitem__(self, place: Any) -> torch.Tensor:
        return self._read()[place]

    def is_floating_point(self) -> bool:
        return self.dtype.is_floating_point


@undisturbed()
def load_packed(path: str | Path, **kwargs: Any) -> Any:
    """The model in an archive, as ``from_pretrained`` of its unpacked folder gives it.

    Nothing but small files (config, generation config) touches the disk; each tensor is decoded
    when transformers asks for it, so memory is the model and a few tensors.

    Args:
        path: from ``mwanda pack``.
        kwargs: for ``from_pretrained``: ``dtype``, ``device_map``, ``attn_implementation`` and so
            on; not ``config`` or ``state_dict``.

    Raises:
        InputError: not an archive of a model, a damaged one, one without some of the model's
            tensors, or of one that brings its own code.
    """
    from transformers import GenerationConfig

    path = path_given("path", path)
    if kwargs.pop("trust_remote_code", False):
        raise InputError(
            str(path), expected="a model of transformers' own classes",
            found="trust_remote_code", fix="mwanda unpack it, and load the folder",
        )  # fmt: skip
    with Archive.open(path) as archive, tempfile.TemporaryDirectory(prefix="mwanda-") as made:
        if CONFIG not in archive.files:
            raise InputError(
                f"{path}: {CONFIG}", expected="the config of a model", found="no such file",
                fix="pack a model folder",
            )  # fmt: skip
        folder = Path(made)
        for name in {CONFIG, GENERATION, MANIFEST, QUANTISED} & archive.files.keys():
            (folder / name).write_bytes(archive.read_file(name))
        known, config = known_in_folder(folder), load_config(folder)
        tensors = _tensors(archive)
        with building():
            model, found = _model_class(config).from_pretrained(
                None, config=config, state_dict=tensors, output_loading_info=True, **kwargs
            )
        _refuse_random(path, sorted(found["missing_keys"]))
        if model.can_generate() and (folder / GENERATION).is_file():  # as of a folder
            settings = GenerationConfig.from_pretrained(folder, local_files_only=True)
            model.generation_config = settings
        # And not the temporary folder, which will be gone.
        model.name_or_path = model.config.name_or_path = str(path)
        remember(model, known)
        return model


def _refuse_random(path: Path, missing: list[str]) -> None:
    """Refuse a model with parameters of which the archive has nothing: they are random numbers."""
    if missing:
        raise InputError(
            f"{path}: tensor {shown(missing[0])}",
            expected="every tensor of the model, in safetensors that can be read",
            found=f"not there ({len(missing)} such tensors)",
            fix="mwanda unpack it, and look at the folder; or pack a whole model folder",
        )


def _model_class(config: Any) -> Any:
    """The class itself: an automatic one asks a folder which it is to be."""
    from transformers.models.auto.auto_factory import _get_model_class

    kind = auto_class(config)
    mapping = getattr(kind, "_model_mapping", None)
    return kind if mapping is None else _get_model_class(config, mapping)


def _tensors(archive: Archive) -> dict[str, _Lazy]:
    """The model's tensors by name, from the shards that transformers would read."""
    tensors: dict[str, _Lazy] = {}
    for shard in _shards(archive):
        for name, segment in archive.tensors(shard).items():
            dtype = DTYPES_BY_NAME.get(segment.dtype or "")
            if name in tensors or dtype is None:
                raise InputError(
                    f"{archive.path}: tensor {shown(name)}",
                    expected="it in one shard, in a dtype that this torch has",
                    found="it twice" if name in tensors else str(segment.dtype),
                    fix="mwanda unpack it, and look at the folder",
                )
            tensors[name] = _Lazy(segment, dtype, partial(archive.read, shard, name))
    return tensors


def _shards(archive: Archive) -> list[str]:
    if SINGLE in archive.files:
        return [SINGLE]
    if INDEX in archive.files:
        try:
            shards = sorted(set(json.loads(archive.read_file(INDEX))["weight_map"].values()))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            what = f"{archive.path}: {INDEX}"
            raise InputError(what, expected="a weight_map from tensor to shard") from error
    else:
        shards = [n for n in archive.files if "/" not in n and n.endswith(".safetensors")]
    absent = [shard for shard in shards if shard not in archive.files]
    if absent or not shards or (len(shards) > 1 and INDEX not in archive.files):
        raise InputError(
            str(archive.path),
            expected=f"{SINGLE}, or the shards that {INDEX} names",
            found=f"no {shown(str(absent[0]))}" if absent else f"{len(shards)} safetensors",
            fix="pack a whole model folder",
        )
    return shards
