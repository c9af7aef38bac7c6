"""Which links in a model folder are followed.

Shared storage links a fine-tune's tokenizer to its base, and the hub's cache links every file to
its blobs. A link from a stranger's folder may lead to a private file, which would then be copied
and perhaps published. So the file at the end has to lie in the folder itself or in a store of the
hub's kind, or to be called as the link is.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Iterable
from pathlib import Path

from mwanda.errors import InputError, shown

HASHED = re.compile(r"[0-9a-f]{30,}")
"""In the name of a file that a store calls by its contents."""

LICENCE = re.compile(
    r"(?<![a-z])(licen[cs]es?|notices?|copying|copyright|eula|terms[-_ ]of[-_ ](use|service))"
    r"(?![a-z])"
    r"|^(gemma_)?terms(?![a-z])|^(acceptable_)?use_policy(?![a-z])|^(patents|authors)$"
)
"""In the name of a file, in lower case and without its ending, or of a folder of such files."""

SYSTEM = ("/dev", "/etc", "/proc", "/run", "/sys")
STORAGE = ("/dev/shm", "/run/media", "/run/user")
"""Folders inside of those that hold files of people: memory, disks put in, a session's own."""


def real_file(folder: Path, name: str, kind: str = "", *, namesake: bool = True) -> Path:
    """The regular file that a name in a model folder stands for, every link followed.

    Args:
        kind: before its name in a message.
        namesake: a file elsewhere that is called the same will do: not where the name is one that
            the folder itself chose.
    """
    thing, path = f"{folder}: {kind}{shown(name)}", folder / name
    fix = "put the file itself in its place, or take it out of the folder"
    try:
        real = path.resolve()
        mode = real.stat().st_mode
    except FileNotFoundError as error:
        if path.is_symlink():
            found = f"a link to {shown(str(path.readlink()))}, where nothing is"
        else:
            found, fix = "no such file", f"download the missing {kind or 'file'}".rstrip()
        raise InputError(thing, expected="a file", found=found, fix=fix) from error
    except (OSError, ValueError, RuntimeError) as error:  # too long, a NUL, links in a circle
        found = shown(getattr(error, "strerror", None) or str(error))
        raise InputError(thing, expected="a file", found=found, fix=fix) from error
    is_link = real != folder.resolve() / name
    where = f"a link to {shown(str(real))}, " if is_link else ""
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "no regular file"
        raise InputError(thing, expected="a file", found=f"{where}{kind}", fix=fix)
    if _is_in(real, SYSTEM) and not _is_in(real, (folder.resolve(), *STORAGE)):
        raise InputError(
            thing, expected="a file of the model's", found=f"{where}in a system folder",
            fix="do not use a model whose files point there",
        )  # fmt: skip
    if not _is_followed(folder, path, real, namesake=namesake):
        raise InputError(
            thing,
            expected="a file inside the model folder or a hub cache"
            + ", or one of the same name" * namesake,
            found=f"{where}a path that leaves it",
            fix="put the file itself in its place if it is the model's; "
            "do not use a model whose files point elsewhere",
        )
    try:
        real.open("rb").close()
    except OSError as error:
        found = f"{where}{error.strerror or type(error).__name__}"
        raise InputError(
            thing, expected="a file that can be read", found=found, fix="change its permissions"
        ) from error
    return real


def _is_followed(folder: Path, path: Path, real: Path, *, namesake: bool) -> bool:
    if real.is_relative_to(folder.resolve()):
        return True
    blob = real.parent.name == "blobs" and real.parents[1].name.startswith("models--")
    if blob or HASHED.search(real.name) or (namesake and real.name.endswith(path.name)):
        return True
    wanted = (real.stem.lower(), real.parent.name.lower())
    return bool(LICENCE.search(path.stem.lower()) and any(map(LICENCE.search, wanted)))


def _is_in(real: Path, places: Iterable[str | Path]) -> bool:
    return any(real.is_relative_to(place) for place in places)
