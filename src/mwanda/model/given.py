"""What a user named as a model: looked at and not opened, so that a mistake needs no torch."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from mwanda.errors import InputError, shown

ARCHIVE = ".mwz"
"""How the name of a packed folder ends."""


def check_model(name: str | Path) -> None:
    """Refuse what can be no model before any work; a hub id is not asked for here."""
    path = Path(name)
    # Of a name too long, or with a NUL, these say no, where those of pathlib raise.
    is_folder, is_file = os.path.isdir(path), os.path.isfile(path)
    if is_file and not is_gguf(path):
        found = "a file of another kind"
        fix = "give the folder that holds config.json and the safetensors"
        if path.suffix == ARCHIVE:
            found, fix = "an archive", unpack_first(path)
        raise InputError(str(name), expected="a model folder or a GGUF file", found=found, fix=fix)
    if not is_folder and not is_file and not is_hub_id(str(name)):
        what = shown(str(name))
        found, fix = "nothing there", "check the spelling" + _looked_for_in(path)
        if os.path.isdir(path.with_name(f".{path.name}.partial")):
            found, fix = "an unfinished run of it", "run the command again that was to write it"
        expected = "a model folder, a GGUF file or a hub id"
        raise InputError(what, expected=expected, found=found, fix=fix)


def _looked_for_in(path: Path) -> str:
    """The folder that a relative path starts from, unless that is gone."""
    try:
        return "" if path.is_absolute() else f"; it is looked for in {Path.cwd()}"
    except OSError:
        return ""


def unpack_first(archive: Path) -> str:
    """What to do with an archive where its folder is wanted."""
    return f"unpack it first: mwanda unpack {shlex.quote(str(archive))} --out FOLDER"


def is_hub_id(name: str) -> bool:
    """``organisation/model`` whose first part is no folder here; a path is never a hub id."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils._validators import validate_repo_id

    organisation, slash, model = name.partition("/")
    if not slash or not model or organisation in ("", ".", "..", "~") or "/" in model:
        return False
    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return not Path(organisation).exists()


def is_gguf(path: Path) -> bool:
    """Whether a file begins as GGUF does."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(4) == b"GGUF"
