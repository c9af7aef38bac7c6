"""A file seen under its final name only when it is whole."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from mwanda.errors import InputError
from mwanda.model.layout import fsync_folder, read_header
from mwanda.saved.container import KEY

__all__ = ["OutputFile"]


class OutputFile:
    """A file that appears whole or not at all.

    As a context it gives a temporary folder beside the target, for what is put aside on the way;
    :meth:`publish` moves a file out of it to the target's name. At the end the folder is gone.

    Args:
        target: the final name.
        kind: see :func:`mwanda.saved.container.read_record`; an older file that is replaced has to
            be of it, too.
        overwrite: replace an existing file of the same kind.
    """

    def __init__(self, target: Path, kind: str, *, overwrite: bool) -> None:
        self.target = Path(os.path.abspath(target))
        self._kind = kind
        self._overwrite = overwrite
        self._folder: Path | None = None

    def check(self, inputs: Sequence[Path] = ()) -> None:
        """Refuse an unusable target before any work.

        Args:
            inputs: files that are read.

        Raises:
            InputError: another suffix, no folder or none that can be written, something there that
                is not ours to replace, or one of the inputs.
        """
        target = self.target
        if target.suffix != ".safetensors":
            raise InputError(
                str(target), expected="a name ending in .safetensors", found=target.name
            )
        if not target.parent.is_dir():
            raise InputError(
                str(target.parent),
                expected="a folder to write into",
                found="no such folder",
                fix="make the folder first",
            )
        if any(target.resolve() == path.resolve() for path in inputs):
            raise InputError(
                str(target), expected="another file than those read", found="one of them",
                fix="choose another --out",
            )  # fmt: skip
        self._check_existing()
        try:
            with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent):
                pass
        except OSError as error:
            raise InputError(
                str(target.parent),
                expected="a folder that can be written",
                found=error.strerror or "not writable",
                fix="choose another --out",
            ) from error

    def __enter__(self) -> Path:
        self._folder = Path(
            tempfile.mkdtemp(prefix=f".{self.target.name}.", dir=self.target.parent)
        )
        return self._folder

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._folder is not None:
            shutil.rmtree(self._folder)

    def publish(self, made: Path) -> None:
        """Give a finished file the target's name.

        Raises:
            InputError: something not ours is there by now.
        """
        descriptor = os.open(made, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        self._check_existing()
        os.replace(made, self.target)
        fsync_folder(self.target.parent)

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
        try:
            _, metadata = read_header(target)
            data = json.loads(metadata.get(KEY, "null"))
        except (InputError, ValueError, RecursionError):
            data = None
        if not isinstance(data, dict) or data.get("kind") != self._kind:
            raise InputError(
                str(target),
                expected=f"a file of {self._kind}, the only kind that --overwrite replaces",
                found="a file of another kind",
                fix="choose another --out",
            )
