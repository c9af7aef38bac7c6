"""Every sync and rename of an output, in one place.

What is synced outlives a power cut, and what is renamed is there whole or not at all; between any
two of these steps a process may end, so that the tests end it at each.
"""

from __future__ import annotations

import os
import re
import secrets
from contextlib import suppress
from pathlib import Path

from mwanda.system.refusals import disk_error

_FRESH = re.compile(r"(.+?)(?:\.[0-9a-f]{16})?\.new")
"""A name in the making; one without a number is an older version's."""


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
    """Write a small file that is seen whole, old or new, whatever happens and whoever else writes
    it at the same time."""
    fresh = path.with_name(f"{path.name}.{secrets.token_hex(8)}.new")
    try:
        with fresh.open("xb") as file:
            file.write(data)
            file.flush()
            sync_descriptor(file.fileno(), path)
        rename(fresh, path)
    except OSError as error:
        raise disk_error(path, error) from error
    finally:
        with suppress(OSError):
            fresh.unlink(missing_ok=True)
    sync(path.parent)


def meant_for(name: str) -> str | None:
    """The file that a name in a folder was to become by :func:`put`, whose process was killed; None
    for any other name."""
    found = _FRESH.fullmatch(name)
    return found[1] if found else None
