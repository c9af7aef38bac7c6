"""Whether a folder holds a model: its config, its shards, and all that its index promises."""

from __future__ import annotations

import stat
from pathlib import Path

from mwanda.errors import InputError
from mwanda.model.layout import INDEX, SINGLE, TensorInfo, shard_inside, shown

__all__ = ["check_complete", "check_folder", "single_shard"]

PICKLED = ("pytorch_model*.bin", "*.pt", "*.pth", "*.ckpt", "*.bin")


def check_folder(folder: Path) -> None:
    try:
        is_folder, found = stat.S_ISDIR(folder.stat().st_mode), "a file"
    except FileNotFoundError:
        is_folder, found = False, "nothing there"
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        is_folder, found = False, str(error)
    fix = "give the folder that holds config.json and the safetensors"
    if not is_folder:
        raise InputError(str(folder), expected="a model folder", found=found, fix=fix)
    if not (folder / "config.json").is_file():
        what = f"{folder}/config.json"
        raise InputError(what, expected="the model's config", found="no such file", fix=fix)


def single_shard(folder: Path) -> Path:
    if (folder / SINGLE).is_file():
        return shard_inside(folder, SINGLE)
    found = sorted(folder.glob("*.safetensors"))
    if len(found) == 1:
        return shard_inside(folder, found[0].name)
    expected = f"{SINGLE} or {INDEX}"
    if found:
        many = f"{len(found)} safetensors and no index"
        raise InputError(str(folder), expected=expected, found=many, fix=f"download {INDEX} too")
    pickled = sorted(path.name for pattern in PICKLED for path in folder.glob(pattern))
    if pickled:
        raise InputError(
            f"{folder}/{pickled[0]}",
            expected="weights as safetensors",
            found="a pickle-only model, which can run code when it is read",
            fix="convert it where you trust it: from_pretrained(...).save_pretrained(...)",
        )
    fix = "download the model's weights into the folder"
    raise InputError(str(folder), expected=expected, found="no safetensors", fix=fix)


def check_complete(index: Path, wanted: dict[str, Path], tensors: dict[str, TensorInfo]) -> None:
    absent = [name for name in wanted if name not in tensors]
    if absent:
        raise InputError(
            f"{index}: tensor {shown(absent[0])}",
            expected=f"it to be in {wanted[absent[0]].name}",
            found=f"not there ({len(absent)} such tensors)",
            fix="index and shards belong to different downloads; fetch both again",
        )
