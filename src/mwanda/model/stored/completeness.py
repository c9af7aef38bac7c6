"""Whether a folder holds a model: its config, its shards, and all that its index promises."""

from __future__ import annotations

import json
import stat
from pathlib import Path

from mwanda.errors import InputError, shown
from mwanda.model.links import real_file
from mwanda.model.stored.folder_kinds import folder_kind, other_weights
from mwanda.model.stored.layout import INDEX, SINGLE, TensorInfo, shard_inside


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
    if (folder / "config.json").is_symlink():
        real_file(folder, "config.json")
    if not (folder / "config.json").is_file():
        if not _shards(folder):
            _refuse_kind(folder)
        what = f"{folder}/config.json"
        raise InputError(what, expected="the model's config", found="no such file", fix=fix)


def check_named(folder: Path) -> None:
    """Refuse a config that has transformers load other weights than are read here."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return  # told where the config is read
    named = config.get("transformers_weights") if isinstance(config, dict) else None
    read = SINGLE if (folder / SINGLE).is_file() else INDEX
    if named not in (None, read):
        what = f"{folder}/config.json: transformers_weights"
        fix = f"take it out, and let {SINGLE} or {INDEX} be the weights that it names"
        raise InputError(what, expected=f"none, or {read}", found=shown(repr(named)), fix=fix)


def single_shard(folder: Path) -> Path:
    if (folder / SINGLE).is_file() or (folder / SINGLE).is_symlink():
        return shard_inside(folder, SINGLE)
    found = _shards(folder)
    if len(found) == 1:
        return shard_inside(folder, found[0].name)
    expected = f"{SINGLE} or {INDEX}"
    if found:
        many = f"{len(found)} safetensors and no index"
        raise InputError(str(folder), expected=expected, found=many, fix=f"download {INDEX} too")
    _refuse_kind(folder)
    fix = "download the model's weights into the folder"
    raise InputError(str(folder), expected=expected, found="no safetensors", fix=fix)


def _shards(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.safetensors") if not other_weights(path.name))


def _refuse_kind(folder: Path) -> None:
    """Refuse a folder that is some other program's, by that program's name."""
    names = {path.name for path in folder.iterdir()}
    names |= {path.relative_to(folder).as_posix() for path in folder.glob("*/*")}
    known = folder_kind(names)
    if known is not None:
        name, found, fix = known
        what = f"{folder}/{shown(name)}"
        raise InputError(what, expected="weights as safetensors", found=found, fix=fix)


def check_complete(index: Path, wanted: dict[str, Path], tensors: dict[str, TensorInfo]) -> None:
    absent = [name for name in wanted if name not in tensors]
    if absent:
        raise InputError(
            f"{index}: tensor {shown(absent[0])}",
            expected=f"it to be in {wanted[absent[0]].name}",
            found=f"not there ({len(absent)} such tensors)",
            fix="index and shards belong to different downloads; fetch both again",
        )
