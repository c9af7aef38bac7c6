"""Files and their sizes: hashes, free disk, and sizes as people write them."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from mwanda.errors import InputError
from mwanda.system.threads import run_all

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_BINARY = {"KI": 2**10, "MI": 2**20, "GI": 2**30, "TI": 2**40}


def is_there(kind: Callable[[Path], bool], path: Path) -> bool:
    """Whether there is one, of the kind that ``Path.is_dir`` and the like ask for: also of a path
    that can be none."""
    try:
        return kind(path)
    except (OSError, ValueError):  # too long, or with a NUL
        return False


def check_disk_space(folder: Path, needed: int, what: str, *, held: int = 0) -> None:
    """Refuse to start what the disk has no room for: of ``needed`` bytes ``held`` are there."""
    free = shutil.disk_usage(folder).free
    if free + held < needed:
        raise InputError(
            str(folder),
            expected=f"{needed / 1e9:.2f} GB of free disk for {what}",
            found=f"{(free + held) / 1e9:.2f} GB",
            fix="free some space or write elsewhere",
        )


def parse_size(text: str, option: str) -> int:
    """``5GB`` or ``512MiB`` -> bytes."""
    match = re.fullmatch(r"(\d{1,18}(?:\.\d{1,18})?)\s*([KMGT]?I?)B?", text.strip().upper())
    unit = None if match is None else (_UNITS | _BINARY).get(match[2])
    size = 0 if match is None or unit is None else int(float(match[1]) * unit)
    if size <= 0:
        raise InputError(option, expected="a size such as 5GB or 512MiB", found=repr(text[:60]))
    return size


def amount(size: int) -> str:
    """``253 MB``, or ``1.25 GB`` from 1 GB up."""
    return f"{size / 1e9:.2f} GB" if size >= 1e9 else f"{size / 1e6:.{int(size < 1e7)}f} MB"


def hash_files(paths: Sequence[Path]) -> dict[Path, str]:
    """SHA-256 of every file, in hexadecimal, several at a time."""
    hashes: dict[Path, str] = {}

    def add(path: Path) -> None:
        hashes[path] = sha256_of(path)

    run_all(add, paths, threads=min(4, os.cpu_count() or 1))
    return hashes


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
