"""Every sync and rename of an output, in one place.

What is synced outlives a power cut, and what is renamed is there whole or not at all; between any
two of these steps a process may end, so that the tests end it at each.
"""

from __future__ import annotations

import os
from pathlib import Path

from mwanda.system.refusals import disk_error


def reached(step: str, path: Path) -> None:
    """Called before every ``sync`` and ``rename``, and when one is ``renamed``; it does nothing."""


def sync(path: Path) -> None:
    """Make a file's bytes, or the names in a folder, survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        sync_descriptor(descriptor, path)
    finally:
        os.close(descriptor)


def sync_descriptor(descriptor: int, path: Path) -> None:
    """The same of an open file."""
    try:
        reached("sync", path)
        os.fsync(descriptor)
    except OSError as error:
        raise disk_error(path, error) from error


def rename(old: Path, new: Path) -> None:
    """Give a file or folder another name on the same disk; a file of that name is replaced."""
    reached("rename", new)
    os.rename(old, new)
    reached("renamed", new)


def put(path: Path, data: bytes) -> None:
    """Write a small file that is seen whole, old or new, whatever happens."""
    fresh = path.with_name(f"{path.name}.new")
    try:
        with fresh.open("wb") as file:
            file.write(data)
            file.flush()
            sync_descriptor(file.fileno(), path)
        rename(fresh, path)
    except OSError as error:
        raise disk_error(path, error) from error
    sync(path.parent)
