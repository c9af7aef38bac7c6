"""A file seen under its final name only when it is whole."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType

from mwanda.errors import InputError
from mwanda.system.durable import sync
from mwanda.system.output_folder import check_parent
from mwanda.system.unfinished import Partial

__all__ = ["OutputFile"]


class OutputFile:
    """A file that appears whole or not at all.

    As a context it gives a temporary folder beside the target, see :mod:`mwanda.system.unfinished`,
    for what is put aside on the way, to this process alone; :meth:`publish` moves a file out of it
    to the target's name. At the end the folder is gone, unless the run failed and there is a
    journal by which a later one goes on.

    Args:
        target: the final name.
        suffix: that it has to have.
        what: such a file in words, for messages.
        is_ours: whether an existing file is one of that kind, which alone is replaced.
        overwrite: replace an existing file of the same kind.
        resume: go on with an unfinished run of the same target.
        restart: discard one.

    Attributes:
        target: the final name, absolute.
        partial: the temporary folder and what else is there.
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
    ) -> None:
        self.target = Path(os.path.abspath(target))
        self._suffix = suffix
        self._what = what
        self._is_ours = is_ours
        self._overwrite, self._resume, self._restart = overwrite, resume, restart
        self.partial = Partial(self.target)

    def check(self, inputs: Sequence[Path] = ()) -> None:
        """Refuse an unusable target before any work.

        Args:
            inputs: files that are read.

        Raises:
            InputError: another suffix, no folder or none that can be written, something there that
                is not ours to replace, one of the inputs, or another process that writes it.
        """
        target = self.target
        if target.suffix != self._suffix:
            raise InputError(
                str(target), expected=f"a name ending in {self._suffix}", found=target.name
            )
        if any(target.resolve() == path.resolve() for path in inputs):
            raise InputError(
                str(target), expected="another file than those read", found="one of them",
                fix="choose another --out",
            )  # fmt: skip
        self._check_existing()
        check_parent(target)
        self.partial.check()

    def __enter__(self) -> Path:
        self.partial.open(resume=self._resume, restart=self._restart)
        return self.partial.work

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self.partial.leaving(error):
            pass

    def publish(self, made: Path) -> None:
        """Give a finished file the target's name.

        Raises:
            InputError: something not ours is there by now.
        """
        sync(made)
        self._check_existing()
        self.partial.publish(made, replace=False)

    def _check_existing(self) -> None:
        target = self.target
        if not (target.exists() or target.is_symlink()):
            return
        if not self._overwrite or target.is_dir():
            raise InputError(
                str(target),
                expected="a new file",
                found="a folder" if target.is_dir() else "an existing one",
                fix="choose another --out" + ("" if target.is_dir() else ", or pass --overwrite"),
            )
        if not self._is_ours(target):
            raise InputError(
                str(target),
                expected=f"{self._what}, the only kind that --overwrite replaces",
                found="a file of another kind",
                fix="choose another --out",
            )
