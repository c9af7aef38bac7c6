"""A study's folder: the plan, results, failures, claims and the log, safe to be killed at any time.

Every file appears whole or not at all. Who works on a cell holds a lock on a file of its name; the
system takes the lock back when the process ends, however it ends.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mwanda.errors import InputError
from mwanda.system.durable import meant_for, put
from mwanda.system.output import check_parent

PLAN = "plan.json"
WRITTEN = ("cells", "failed", "statistics")
FOLDERS = (*WRITTEN, "claims", "work")


@dataclass(frozen=True)
class StudyFolder:
    """Attributes:
    path: the folder; made by :meth:`make`.
    """

    path: Path

    @classmethod
    def open(cls, path: Path) -> StudyFolder:
        """A folder that holds a study."""
        if not (path / PLAN).is_file():
            raise InputError(
                str(path),
                expected=f"the folder of a study ({PLAN} in it)",
                found="another folder" if path.is_dir() else "no such folder",
                fix="give the --out of mwanda study",
            )
        return cls(path)

    def check(self) -> None:
        """Refuse a folder that cannot become a study's, before any work."""
        if not self.path.exists():
            check_parent(self.path)
            return
        there = sorted(p.name for p in self.path.iterdir()) if self.path.is_dir() else ["a file"]
        # Killed while it wrote its first plan, it left these.
        others = {name for name in there if name not in FOLDERS and meant_for(name) != PLAN}
        if there and PLAN not in there and others:
            raise InputError(
                str(self.path),
                expected="a new folder, an empty one or a study's",
                found=", ".join(there[:3]),
                fix="choose another --out",
            )

    def make(self) -> None:
        """The folder and those in it; they may be there already."""
        self.path.mkdir(exist_ok=True)
        for name in FOLDERS:
            (self.path / name).mkdir(exist_ok=True)

    def read_plan(self) -> dict[str, Any]:
        found = self._read(self.path / PLAN)
        if found is None:
            raise InputError(str(self.path / PLAN), expected="a plan", found="none")
        return found

    def write_plan(self, plan: Mapping[str, Any]) -> None:
        with self.claim(_key(PLAN)):
            self._write(self.path / PLAN, plan)

    def result(self, key: str) -> dict[str, Any] | None:
        """What a cell measured; None where it did not, or not yet."""
        return self._read(self._file("cells", key))

    def has_result(self, key: str) -> bool:
        return self._file("cells", key).is_file()

    def write_result(self, key: str, found: Mapping[str, Any]) -> None:
        self._write(self._file("cells", key), found)

    def failure(self, key: str) -> dict[str, Any] | None:
        """Why a cell failed; None where it did not."""
        return self._read(self._file("failed", key))

    def state(self, key: str) -> str | None:
        """``done`` or ``failed``; None where a cell is neither."""
        if self.has_result(key):
            return "done"
        return None if self.failure(key) is None else "failed"

    def write_failure(self, key: str, problems: list[str]) -> None:
        self._write(self._file("failed", key), {"problems": problems})

    def forget_failure(self, key: str) -> None:
        self._file("failed", key).unlink(missing_ok=True)

    def statistics(self, key: str) -> Path:
        """Where the statistics of a model on a set of languages are kept."""
        return self.path / "statistics" / f"{key}.safetensors"

    def view(self, key: str) -> dict[str, Any] | None:
        """What those statistics say, see :mod:`mwanda.pruning.statistics.show`."""
        return self._read(self._file("statistics", key))

    def write_view(self, key: str, view: Mapping[str, Any]) -> None:
        self._write(self._file("statistics", key), view)

    @contextmanager
    def work(self, key: str) -> Iterator[Path]:
        """A folder for what a cell makes on the way; what an earlier one left is removed."""
        folder = self.path / "work" / key
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def tidy(self) -> None:
        """Remove what workers that were killed had made on the way."""
        for folder in (self.path / "work").iterdir():
            with self.claim(folder.name) as mine:
                if mine:
                    shutil.rmtree(folder, ignore_errors=True)
        for path in (self.path, *(self.path / name for name in WRITTEN)):
            for left in path.glob("*.new"):
                with self.claim(_key(meant_for(left.name) or left.name)) as mine:
                    if mine:
                        left.unlink(missing_ok=True)

    @contextmanager
    def claim(self, name: str) -> Iterator[bool]:
        """Whether this process alone is to work on something now."""
        try:
            import fcntl
        except ImportError as error:  # not a Unix
            raise InputError("study", expected="a system with flock", found=os.name) from error
        path = self.path / "claims" / f"{name}.lock"
        with path.open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            except OSError as error:
                raise InputError(
                    str(path), expected="a disk with locks (flock)", found=str(error.strerror)
                ) from error
            yield True  # closing the file gives the lock back

    def is_claimed(self, name: str) -> bool:
        """Whether some process works on it at this moment."""
        if not (self.path / "claims" / f"{name}.lock").exists():
            return False
        with self.claim(name) as free:
            return not free

    def log(self, event: str, key: str, **more: Any) -> None:
        """One line of JSON more in ``log.jsonl``."""
        where = {"pid": os.getpid(), "host": socket.gethostname()}
        line = {"time": round(time.time(), 2), "event": event, "key": key} | where | more
        with (self.path / "log.jsonl").open("ab", buffering=0) as file:
            file.write((json.dumps(line) + "\n").encode())

    def events(self) -> list[dict[str, Any]]:
        """The log's lines; one that a kill cut short is left out."""
        try:
            lines = (self.path / "log.jsonl").read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return []
        found = []
        for line in lines:
            with suppress(json.JSONDecodeError):
                found.append(json.loads(line))
        return found

    def _file(self, kind: str, key: str) -> Path:
        return self.path / kind / f"{key}.json"

    def _write(self, path: Path, data: Mapping[str, Any]) -> None:
        text = json.dumps(data, ensure_ascii=False, allow_nan=False)
        put(path, f"{text}\n".encode())

    def _read(self, path: Path) -> dict[str, Any] | None:
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
            raise InputError(
                str(path),
                expected="JSON that mwanda wrote",
                found=str(error)[:200],
                fix="delete the file; what it held is computed again",
            ) from error
        if not isinstance(data, dict):
            raise InputError(str(path), expected="a JSON object", found=type(data).__name__)
        return data


def _key(name: str) -> str:
    """The key of a file's name, under which it is claimed."""
    return name.removesuffix(".json")
