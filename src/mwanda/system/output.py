"""What a run writes: a folder or a file that appears whole or not at all."""

from __future__ import annotations

import json
import logging
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from mwanda.errors import InputError
from mwanda.system.durable import meant_for, sync
from mwanda.system.files import is_there
from mwanda.system.unfinished import Partial

log = logging.getLogger("mwanda")

MARK = "mwanda.json"
QUANTISED = "quantised.json"
"""What ``mwanda quantise`` writes in its place."""

Foreign = Callable[[Path], Sequence[str]]
"""Names of what lies in a folder and is not ours to delete."""


class _Output:
    """A target, and the temporary folder beside it in which it is made by this process alone, see
    :mod:`mwanda.system.unfinished`. When a run fails it is removed, unless there is a journal by
    which a later run goes on: ``resume`` goes on with one, ``restart`` discards it."""

    def __init__(
        self,
        target: Path,
        *,
        overwrite: bool,
        resume: bool = False,
        restart: bool = False,
        option: str = "--out",
    ) -> None:
        self.target = Path(os.path.abspath(target))
        self._overwrite, self._resume, self._restart = overwrite, resume, restart
        self._option = option
        self.partial = Partial(self.target, option)

    def _check_place(self, *, write: bool = True) -> None:
        if self._taken():
            self._check_existing()
        check_parent(self.target, write=write, option=self._option)
        self.partial.check()

    def _taken(self) -> bool:
        try:
            return self.target.exists() or self.target.is_symlink()
        except OSError as error:
            found = f"{self.target.name[:60]}: {error.strerror}"
            expected = "a name that the disk takes"
            raise InputError(self._option, expected=expected, found=found) from error

    def _publish(self, made: Path) -> None:
        taken = self._taken()
        if taken:
            self._check_existing()  # it may have come into being meanwhile
        self.partial.publish(made, replace=taken and made.is_dir())

    def _check_existing(self) -> None:
        """Refuse what is there under the target's name, if it is not to be replaced."""
        raise NotImplementedError


class OutputFolder(_Output):
    """A folder that appears whole or not at all.

    As a context it gives the temporary folder; when the block ends well, everything in it is synced
    and renamed to the target. An older output is replaced only with ``overwrite``, and only if it
    is empty or our own: ``what`` in words, and nothing ``foreign`` in it.
    """

    def __init__(
        self,
        target: Path,
        *,
        overwrite: bool,
        resume: bool = False,
        restart: bool = False,
        what: str = f"one that mwanda wrote ({MARK} in it)",
        foreign: Foreign | None = None,
    ) -> None:
        super().__init__(target, overwrite=overwrite, resume=resume, restart=restart)
        self._what, self._foreign = what, foreign or beside_manifest

    def check(self, source: Path | None = None, *, write: bool = True) -> None:
        """Refuse an unusable target before any work, such as one over the model that is read; see
        :func:`check_parent`. A source that is not there, as a hub id, is nothing to keep it from.
        """
        target, there = self.target, source is not None and is_there(Path.exists, source)
        if source is not None and there and source.resolve().is_relative_to(target.resolve()):
            same = source.resolve() == target.resolve()
            raise InputError(
                str(target),
                expected="another folder than the source model's",
                found="the same" if same else f"a folder that holds it ({source})",
                fix="choose another --out",
            )
        self._check_place(write=write)

    def __enter__(self) -> Path:
        self.partial.open(resume=self._resume, restart=self._restart)
        return self.partial.output

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        with self.partial.leaving(error):
            if error is None:
                made = self.partial.output
                for path in sorted(made.rglob("*")):
                    sync(path)
                sync(made)
                self._publish(made)

    def _check_existing(self) -> None:
        target = self.target
        if not self._overwrite:
            found = "an existing one" if target.is_dir() else "an existing file"
            fix = "choose another --out" + (", or pass --overwrite" if target.is_dir() else "")
            raise InputError(str(target), expected="a new folder", found=found, fix=fix)
        usable = target.is_dir() and not target.is_symlink()
        foreign = self._foreign(target) if usable else ["no folder"]
        if foreign:
            raise InputError(
                str(target),
                expected=f"an empty folder or {self._what}",
                found=f"what mwanda did not write: {', '.join(foreign[:3])}",
                fix="choose another --out; --overwrite deletes nothing of yours",
            )


class OutputFile(_Output):
    """A file that appears whole or not at all.

    As a context it gives a temporary folder for what is put aside on the way; :meth:`publish` moves
    a file out of it to the target's name. Only a file that ``is_ours`` is replaced. Messages name
    the ``option``.
    """

    def __init__(
        self,
        target: Path,
        *,
        suffix: str,
        what: str,
        is_ours: Callable[[Path], bool],
        overwrite: bool,
        resume: bool = False,
        restart: bool = False,
        option: str = "--out",
    ) -> None:
        super().__init__(target, overwrite=overwrite, resume=resume, restart=restart, option=option)
        self._suffix, self._what, self._is_ours = suffix, what, is_ours

    def check(self, inputs: Sequence[Path] = ()) -> None:
        """Refuse an unusable target before any work, such as one of the files that are read."""
        target = self.target
        if target.suffix != self._suffix:
            raise InputError(
                str(target), expected=f"a name ending in {self._suffix}", found=target.name
            )
        if any(target.resolve() == path.resolve() for path in inputs):
            expected = "another file than those read"
            fix = f"choose another {self._option}"
            raise InputError(str(target), expected=expected, found="one of them", fix=fix)
        self._check_place()

    def __enter__(self) -> Path:
        self.partial.open(resume=self._resume, restart=self._restart)
        return self.partial.work

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        with self.partial.leaving(error):
            pass

    def publish(self, made: Path) -> None:
        """Give a finished file the target's name."""
        sync(made)
        self._publish(made)

    def write(self, text: str) -> None:
        """Text as the whole file, under the target's name."""
        with self as work:
            fresh = work / "text"
            fresh.write_text(text, encoding="utf-8")
            self.publish(fresh)
        log.info("wrote %s", self.target)

    def _check_existing(self) -> None:
        target = self.target
        if not self._overwrite or target.is_dir():
            found = "a folder" if target.is_dir() else "an existing one"
            fix = f"choose another {self._option}" + (
                "" if target.is_dir() else ", or pass --overwrite"
            )
            raise InputError(str(target), expected="a new file", found=found, fix=fix)
        if not self._is_ours(target):
            raise InputError(
                str(target),
                expected=f"{self._what}, the only kind that --overwrite replaces",
                found="a file of another kind",
                fix=f"choose another {self._option}",
            )


def check_parent(target: Path, *, write: bool = True, option: str = "--out") -> None:
    """Refuse a target whose folder is not there, or with ``write`` one that nothing can be written
    to: a folder is made in it."""
    parent = target.parent
    if not parent.is_dir():
        missing = not parent.exists()
        found = "no such folder" if missing else "a file"
        fix = "make the folder first" if missing else f"choose another {option}"
        raise InputError(str(parent), expected="a folder to write into", found=found, fix=fix)
    if write:
        check_writable(parent, target.name, f"choose another {option}")


def check_writable(folder: Path, name: str, fix: str) -> None:
    """Refuse a folder in which nothing of about this name can be made."""
    try:
        # Tried, not asked: permission bits say nothing to root or on a read-only disk.
        with tempfile.TemporaryDirectory(prefix=f".{name}.", suffix=".tried", dir=folder):
            pass
    except OSError as error:
        raise InputError(
            str(folder),
            expected="a folder that can be written",
            found=error.strerror or "not writable",
            fix=fix,
        ) from error


def beside_manifest(folder: Path) -> list[str]:
    """What lies in a folder beside the files that its own manifest names."""
    mark = MARK if (folder / MARK).is_file() else QUANTISED
    ours = {mark, "README.md"}
    try:
        files = json.loads((folder / mark).read_text(encoding="utf-8"))["files"]
        ours |= {name.partition("/")[0] for name in files}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        ours = set()
    names = sorted(path.name for path in folder.iterdir())
    return [name for name in names if name not in ours and meant_for(name) not in ours]
