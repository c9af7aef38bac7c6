"""The folder beside a target in which it is made: one process's at a time, and found again.

``.NAME.partial`` holds ``output``, which becomes the target; ``work``, what a later run can go on
from; ``scratch``, what it cannot; and ``lock``. The lock is the kernel's and goes with its process,
so a lock file that nobody holds is stale and taken over.
"""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mwanda.errors import InputError
from mwanda.system.durable import meant_for, rename, sync
from mwanda.system.refusals import named, named_errors

log = logging.getLogger("mwanda")

JOURNAL = "journal.json"
"""In ``work``: its being there says that a run can be gone on with."""

_LOCK, _OLD, _PUBLISHED = "lock", "old", "published"
_NAMES = {_LOCK, _OLD, _PUBLISHED, f"{_PUBLISHED}.new", "output", "work", "scratch"}
_ATTEMPTS = 10
"""Somebody who only looks whether the lock is free holds it for a moment."""


class Partial:
    """``.NAME.partial`` beside the target ``NAME``, and the folders in it, see above."""

    def __init__(self, target: Path, option: str = "--out") -> None:
        self._target, self._option = target, option
        self.path = target.parent / f".{target.name}.partial"
        self.output, self.work = self.path / "output", self.path / "work"
        self.scratch = self.path / "scratch"
        self._lock: int | None = None

    def check(self) -> None:
        """Refuse a folder that another run is at work in, or that is not mwanda's."""
        self._check_ours()
        try:
            descriptor = os.open(self.path / _LOCK, os.O_RDONLY | os.O_NOFOLLOW)
        except OSError:
            return  # nobody's
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise self._taken(descriptor) from error
        finally:
            os.close(descriptor)

    def open(self, *, resume: bool = False, restart: bool = False) -> None:
        """Take the folder for this process, empty, or to go on as an unfinished run left it."""
        with named_errors(self.path):
            self._take()
            try:
                self._prepare(resume=resume, restart=restart)
            except BaseException:
                self.close(keep=self.resumable)
                raise

    def _prepare(self, *, resume: bool, restart: bool) -> None:
        self._settle()
        unfinished = (self.work / JOURNAL).exists()
        if unfinished and not resume and not restart:
            raise InputError(
                str(self.path),
                expected="no unfinished run for this output",
                found="the journal of one",
                fix="go on with it by the same command with a journal and in one process, "
                "discard it with --restart, or delete the folder",
            )
        self._clear({self.output, self.work} if unfinished and not restart else set())
        for folder in (self.output, self.work, self.scratch):
            folder.mkdir(exist_ok=True)
            for path in [path for path in folder.rglob("*.new") if meant_for(path.name)]:
                path.unlink()  # an earlier run was killed as it wrote it

    def publish(self, made: Path, *, replace: bool) -> None:
        """Give what was made in here the target's name; with ``replace`` the folder that has it
        goes."""
        # By its number it is known again if this process ends before it has tidied up.
        (self.path / _PUBLISHED).write_text(_number(made))
        old = self.path / _OLD
        try:
            if replace:
                rename(self._target, old)
            rename(made, self._target)
            sync(self._target.parent)
        finally:  # whatever happened in between: one of the two is there
            if old.exists() and not self._target.exists():
                os.rename(old, self._target)

    def close(self, *, keep: bool) -> None:
        """Give the folder up. Nothing of it is left, or with ``keep`` what a later run needs."""
        if self._lock is None:
            return
        descriptor, self._lock = self._lock, None
        try:
            if not keep:
                self._clear(set())
                (self.path / _LOCK).unlink()
                self.path.rmdir()
        finally:
            os.close(descriptor)

    @contextmanager
    def leaving(self, error: BaseException | None) -> Iterator[None]:
        """Give the folder up after the block, which is for what remains to be done when the run
        ended well, or with an error."""
        ended = error
        try:
            yield
        except BaseException as fault:  # noqa: BLE001  raised again below
            ended = fault
        keep = ended is not None and self.resumable
        self.close(keep=keep)
        if keep:
            log.warning(
                "what is finished is kept in %s: the same command goes on from there, or begins "
                "anew with --restart",
                self.path,
            )
        if ended is not None and (ours := named(ended, self.path)) is not None:
            raise ours from ended
        if ended is not None and ended is not error:
            raise ended

    @property
    def held(self) -> int:
        """Bytes of the disk that the output and what a later run goes on from take."""
        paths = (path for folder in (self.output, self.work) for path in folder.rglob("*"))
        return sum(path.lstat().st_blocks * 512 for path in paths)

    @property
    def resumable(self) -> bool:
        """Whether a later run could go on from what is here."""
        return (self.work / JOURNAL).exists() and not self._is_published()

    def _take(self) -> None:
        refusal = InputError(str(self.path), expected="a folder that stays where it is")
        for attempt in range(_ATTEMPTS):
            if attempt:
                time.sleep(0.02)
            self._check_ours()
            self.path.mkdir(mode=0o700, exist_ok=True)
            try:
                flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
                descriptor = os.open(self.path / _LOCK, flags, 0o600)
            except FileNotFoundError:
                continue  # whoever had it is just removing it
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _same(descriptor, self.path / _LOCK):
                    os.ftruncate(descriptor, 0)
                    os.pwrite(descriptor, f"{os.getpid()} {socket.gethostname()}".encode(), 0)
                    self._lock = descriptor
                    return
            except BlockingIOError:
                refusal = self._taken(descriptor)
            finally:
                if self._lock is None:
                    os.close(descriptor)
        raise refusal

    def _settle(self) -> None:
        """Finish what a run was at that ended while it gave its output the target's name."""
        old, target = self.path / _OLD, self._target
        if old.exists() and not (target.exists() or target.is_symlink()):
            rename(old, target)
        if self._is_published():
            self._clear(set())

    def _is_published(self) -> bool:
        try:
            return (self.path / _PUBLISHED).read_text() == _number(self._target)
        except OSError:
            return False

    def _clear(self, kept: set[Path]) -> None:
        for path in self.path.iterdir():
            if path in kept or path.name == _LOCK:
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()

    def _check_ours(self) -> None:
        path = self.path
        try:
            if not (path.exists() or path.is_symlink()):
                return
        except OSError as error:  # its own name is a little longer than the target's
            raise InputError(
                str(self._target),
                expected="a name that the disk takes",
                found=error.strerror or "one that it refuses",
                fix=f"choose another {self._option}",
            ) from error
        usable = path.is_dir() and not path.is_symlink()
        foreign = sorted({p.name for p in path.iterdir()} - _NAMES) if usable else ["no folder"]
        if foreign:
            expected = "nothing, or what an unfinished run of mwanda left"
            fix = f"move it away, or choose another {self._option}"
            raise InputError(str(path), expected=expected, found=", ".join(foreign[:3]), fix=fix)

    def _taken(self, descriptor: int) -> InputError:
        process, _, machine = os.pread(descriptor, 300, 0).decode(errors="replace").partition(" ")
        return InputError(
            str(self._target),
            expected="no other run that writes it",
            found=f"process {process or '?'} on {machine or '?'}",
            fix=f"wait for it, or choose another {self._option}",
        )


@contextmanager
def scratch_folder(partial: Partial | None) -> Iterator[Path]:
    """Where a run puts what nobody goes on with; in the system's place without an output."""
    if partial is not None:
        yield partial.scratch
        return
    with tempfile.TemporaryDirectory(prefix="mwanda-") as folder:
        yield Path(folder)


def _number(path: Path) -> str:
    status = path.lstat()
    return f"{status.st_dev} {status.st_ino}"


def _same(descriptor: int, path: Path) -> bool:
    """Whether the open file is still the one of this name."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except FileNotFoundError:
        return False
