"""The output folder: made under a temporary name, synced, renamed at the end, or not there."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from mwanda.errors import InputError
from mwanda.system.durable import sync
from mwanda.system.threads import run_all
from mwanda.system.unfinished import Partial

__all__ = [
    "MARK",
    "QUANTISED",
    "OutputFolder",
    "check_disk_space",
    "check_parent",
    "hash_files",
    "parse_size",
    "sha256_of",
]

MARK = "mwanda.json"
QUANTISED = "quantised.json"
"""What ``mwanda quantise`` writes in its place."""

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_BINARY = {"KI": 2**10, "MI": 2**20, "GI": 2**30, "TI": 2**40}


class OutputFolder:
    """A folder that appears whole or not at all.

    As a context it gives the temporary folder beside the target, see
    :mod:`mwanda.system.unfinished`, to this process alone. When the block ends well, everything is
    synced and renamed to the target; on any exception it is removed, unless there is a journal by
    which a later run goes on. An older output is replaced only with ``overwrite``, and only if it
    is empty or mwanda's own.

    Args:
        target: the final name.
        overwrite: replace an existing output.
        resume: go on with an unfinished run of the same target.
        restart: discard one.

    Attributes:
        partial: the temporary folder and what else is there.
    """

    def __init__(
        self, target: Path, *, overwrite: bool, resume: bool = False, restart: bool = False
    ) -> None:
        self._target = Path(os.path.abspath(target))
        self._overwrite, self._resume, self._restart = overwrite, resume, restart
        self.partial = Partial(self._target)

    def check(self, source: Path | None = None, *, write: bool = True) -> None:
        """Refuse an unusable target before any work.

        Args:
            source: the model that is read; it must not be written over.
            write: also try whether the parent can be written, by making a folder in it.

        Raises:
            InputError: exists, is not ours to replace, holds the source, cannot be written, or is
                just being written by another process.
        """
        target = self._target
        if source is not None and source.resolve().is_relative_to(target.resolve()):
            same = source.resolve() == target.resolve()
            raise InputError(
                str(target),
                expected="another folder than the source model's",
                found="the same" if same else f"a folder that holds it ({source})",
                fix="choose another --out",
            )
        try:
            taken = target.exists() or target.is_symlink()
        except OSError as error:
            raise InputError(
                "--out",
                expected="a name that a folder can have",
                found=f"{target.name[:60]}: {error.strerror}",
            ) from error
        if taken:
            self._check_existing(target)
        check_parent(target, write=write)
        self.partial.check()

    def __enter__(self) -> Path:
        self.partial.open(resume=self._resume, restart=self._restart)
        return self.partial.output

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self.partial.leaving(error):
            if kind is None:
                made, target = self.partial.output, self._target
                for path in filter(Path.is_file, made.iterdir()):
                    sync(path)
                sync(made)
                taken = target.exists() or target.is_symlink()
                if taken:
                    self._check_existing(target)  # it may have come into being meanwhile
                self.partial.publish(made, replace=taken)

    def _check_existing(self, target: Path) -> None:
        if not self._overwrite:
            raise InputError(
                str(target),
                expected="a new folder",
                found="an existing one" if target.is_dir() else "an existing file",
                fix="choose another --out" + (", or pass --overwrite" if target.is_dir() else ""),
            )
        foreign = _foreign(target) if target.is_dir() and not target.is_symlink() else ["no folder"]
        if foreign:
            raise InputError(
                str(target),
                expected=f"an empty folder or one that mwanda wrote ({MARK} in it)",
                found=f"what mwanda did not write: {', '.join(foreign[:3])}",
                fix="choose another --out; --overwrite deletes nothing of yours",
            )


def check_parent(target: Path, *, write: bool = True) -> None:
    """Refuse a target whose folder is not there.

    Args:
        write: also try whether the folder can be written, by making one in it.

    Raises:
        InputError: no folder, or one that cannot be written.
    """
    parent = target.parent
    if not parent.is_dir():
        missing = not parent.exists()
        raise InputError(
            str(parent),
            expected="a folder to write into",
            found="no such folder" if missing else "a file",
            fix="make the folder first" if missing else "choose another --out",
        )
    if not write:
        return
    try:
        # Tried, not asked: permission bits say nothing to root or on a read-only disk.
        with tempfile.TemporaryDirectory(prefix=f".{target.name}.", suffix=".tried", dir=parent):
            pass
    except OSError as error:
        raise InputError(
            str(parent),
            expected="a folder that can be written",
            found=error.strerror or "not writable",
            fix="choose another --out",
        ) from error


def _foreign(folder: Path) -> list[str]:
    """What lies in a folder beside the files that its own manifest names."""
    mark = MARK if (folder / MARK).is_file() else QUANTISED
    ours = {mark, "README.md"}
    try:
        files = json.loads((folder / mark).read_text(encoding="utf-8"))["files"]
        ours |= {name.partition("/")[0] for name in files}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        ours = set()
    return sorted(path.name for path in folder.iterdir() if path.name not in ours)


def check_disk_space(folder: Path, needed: int, what: str, *, held: int = 0) -> None:
    """Refuse to start what the disk has no room for.

    Args:
        needed: bytes.
        held: bytes of it that are on the disk already.

    Raises:
        InputError: naming needed and free bytes.
    """
    free = shutil.disk_usage(folder).free
    if free + held < needed:
        raise InputError(
            str(folder),
            expected=f"{needed / 1e9:.2f} GB of free disk for {what}",
            found=f"{(free + held) / 1e9:.2f} GB",
            fix="free some space or write elsewhere",
        )


def parse_size(text: str, option: str) -> int:
    """``5GB`` or ``512MiB`` -> bytes.

    Raises:
        InputError: not a positive size.
    """
    match = re.fullmatch(r"(\d{1,18}(?:\.\d{1,18})?)\s*([KMGT]?I?)B?", text.strip().upper())
    unit = None if match is None else (_UNITS | _BINARY).get(match[2])
    size = 0 if match is None or unit is None else int(float(match[1]) * unit)
    if size <= 0:
        raise InputError(option, expected="a size such as 5GB or 512MiB", found=repr(text[:60]))
    return size


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
