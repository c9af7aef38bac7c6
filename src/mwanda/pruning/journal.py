"""What of a run is finished, on disk, so that a later run can go on from there.

A journal is one small JSON file, replaced whole: the fingerprint of everything that decides the
result, how many blocks of each stage are done, what each part of the run needs to go on, and the
hashes of the files it keeps beside. One of these holds the hidden states that go into the next
block. A file is never changed once a journal names it, so at any moment the last journal and its
files belong together.

Entries are paced by their own cost: :data:`SHARE` times what the last one took has to pass before
the next, which bounds what the journal costs, and what a killed run has to do again.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, NonNegativeInt, PositiveInt, ValidationError

from mwanda.errors import InputError, first_problem, shown
from mwanda.model.run.hidden_states import ActivationStore
from mwanda.system.device import DTYPES
from mwanda.system.durable import put, sync
from mwanda.system.files import hash_files
from mwanda.system.unfinished import JOURNAL

FORMAT = 1

SHARE: float = 25
"""Least ratio of the time between two entries to the time the last one took: at most 4 %."""

PATIENCE = 2.0
"""Seconds of work that are not worth an entry."""

Known = TypeVar("Known")

Settle = Callable[[], tuple[Any, Iterable[Path]]]
"""Makes all that a part of the run has written durable. Gives what it needs to go on, as JSON knows
it, and the files in the journal's folder that it needs, which never change again."""


class _States(BaseModel, frozen=True, extra="forbid"):
    """The file of hidden states: dtype and shape of each batch's."""

    file: str
    entries: list[tuple[str, list[PositiveInt]]]

    @property
    def nbytes(self) -> int:
        return sum(math.prod(shape) * DTYPES[dtype].itemsize for dtype, shape in self.entries)


class _Entry(BaseModel, frozen=True, extra="forbid"):
    """The content of a journal."""

    format: int
    fingerprint: dict[str, Any]
    stages: dict[str, NonNegativeInt]
    states: _States | None
    parts: dict[str, Any]
    files: dict[str, str]


class Journal:
    """The journal of one run, which may go on with an earlier one's; without a folder none is kept.
    The fingerprint is asked for when it is first needed."""

    def __init__(
        self, folder: Path | None = None, fingerprint: Callable[[], Mapping[str, Any]] = dict
    ) -> None:
        self.folder = folder
        """Where files are kept that it is to name; None keeps no journal."""
        self._path = Path(JOURNAL) if folder is None else folder / JOURNAL
        self._find_fingerprint = fingerprint
        self._parts: dict[str, Settle] = {}
        self._cost, self._last = 0.0, time.perf_counter()
        self._entry: _Entry | None = None
        self._stages: dict[str, int] = {}
        if folder is not None and self._path.exists():
            self._entry = _read(self._path)
            self._check_fingerprint(self._entry.fingerprint)
            self._check_files(folder, self._entry.files)
            self._stages = dict(self._entry.stages)
        self.resumed = self._entry is not None
        """Whether it goes on with an earlier run's."""

    @cached_property
    def fingerprint(self) -> dict[str, Any]:
        """Everything that decides the result, as it reads in JSON."""
        found: dict[str, Any] = json.loads(json.dumps(dict(self._find_fingerprint())))
        return found

    def known(self, part: str, read: Callable[[Any], Known], nothing: Known) -> Known:
        """What a part of the earlier run had given when it stopped, read again; ``nothing`` where
        there was none. A ValueError of ``read`` says that it was not given by such a part."""
        if self._entry is None or part not in self._entry.parts:
            return nothing
        try:
            return read(self._entry.parts[part])
        except ValueError as error:
            raise _damaged(self._path, f"no {part} in it") from error

    def take_part(self, part: str, settle: Settle) -> None:
        """Have every entry hold what this part of the run needs to go on."""
        self._parts[part] = settle

    def done(self, stage: str) -> int:
        """How many blocks of a stage are finished already."""
        return self._stages.get(stage, 0)

    def kept(self, blocks: int) -> str:
        """``10 of 24 blocks kept``, by stage where there are several.

        Args:
            blocks: of the model.
        """
        counts = {name: f"{done} of {blocks} blocks" for name, done in self._stages.items()}
        if len(counts) == 1:
            return f"{', '.join(counts.values())} kept"
        named = ", ".join(f"{count} of the {name}" for name, count in counts.items())
        return f"{named or 'nothing'} kept"

    def restore(self, states: ActivationStore, shapes: Sequence[Sequence[int]]) -> None:
        """Fill a store with the hidden states that go into the first unfinished block; the shapes
        are ``[batch, tokens]`` of every batch."""
        found = None if self._entry is None else self._entry.states
        known = [] if found is None else [shape[:2] for _, shape in found.entries]
        if self.folder is None or found is None or known != [[*shape] for shape in shapes]:
            raise _damaged(self._path, "no hidden states of these batches")
        states.load(self.folder / found.file, found.entries)

    def finished(
        self, stage: str, done: int, states: ActivationStore | None, *, last: bool
    ) -> None:
        """Take note that ``done`` blocks of a stage are finished, the last one among them or not.
        The states go into the next block; None where there is no forward, or no next one."""
        self._stages[stage] = done
        now = time.perf_counter()
        # What ends a stage is noted with little work and saves the most.
        least = PATIENCE if last else max(PATIENCE, SHARE * self._cost)
        if self.folder is not None and now - self._last >= least:
            self._write(self.folder, states)

    def _write(self, folder: Path, states: ActivationStore | None) -> None:
        fingerprint = self.fingerprint  # its cost is the run's: the hashes are needed in any case
        start = time.perf_counter()
        old = None if self._entry is None else self._entry.states
        hashes = {} if self._entry is None else dict(self._entry.files)
        parts: dict[str, Any] = {}
        needed: list[Path] = []
        for name, settle in self._parts.items():
            parts[name], files = settle()
            needed += files
        fresh = [path for path in needed if path.name not in hashes]
        for path in fresh:
            sync(path)
        hashes |= {path.name: digest for path, digest in hash_files(fresh).items()}
        kept = None
        if states is not None:
            path = folder / f"states-{sum(self._stages.values()):05d}.bin"
            entries, hashes[path.name] = states.save(path)
            sync(path)
            kept = _States(file=path.name, entries=entries)
            needed.append(path)
        sync(folder)
        self._entry = _Entry(
            format=FORMAT,
            fingerprint=fingerprint,
            stages=dict(self._stages),
            states=kept,
            parts=parts,
            files={path.name: hashes[path.name] for path in needed},
        )
        body = json.dumps(self._entry.model_dump(), ensure_ascii=False)
        digest = hashlib.sha256(body.encode()).hexdigest()
        put(self._path, f"{digest}\n{body}\n".encode())
        if old is not None and old.file not in self._entry.files:
            (folder / old.file).unlink(missing_ok=True)
        self._last = time.perf_counter()
        self._cost = self._last - start

    def _check_fingerprint(self, there: Mapping[str, Any]) -> None:
        before, now = _flat(there), _flat(self.fingerprint)
        names = [name for name in {**now, **before} if before.get(name) != now.get(name)]
        if not names:
            return
        differences = ", ".join(
            f"{name} ({_short(before.get(name))} there, {_short(now.get(name))} now)"
            for name in names[:4]
        )
        found = f"another {differences}" + (f" and {len(names) - 4} more" if len(names) > 4 else "")
        fix = "give what was given before, or discard what is finished with --restart"
        expected = "the journal of this very run"
        raise InputError(str(self.folder), expected=expected, found=found, fix=fix)

    def _check_files(self, folder: Path, files: Mapping[str, str]) -> None:
        """Refuse files that are not what the journal says, and remove those it does not name."""
        try:
            hashes = hash_files([folder / name for name in files])
        except OSError as error:
            raise _damaged(Path(error.filename or folder), error.strerror or "none") from error
        for path, digest in hashes.items():
            if digest != files[path.name]:
                raise _damaged(path, "another SHA-256 than the journal names")
        states = self._entry.states if self._entry is not None else None
        if states is not None and (folder / states.file).stat().st_size != states.nbytes:
            raise _damaged(folder / states.file, "another size than the journal says")
        for path in folder.iterdir():
            if path.name not in files and path.name != JOURNAL and path.is_file():
                path.unlink()


def _read(path: Path) -> _Entry:
    try:
        digest, _, body = path.read_bytes().decode("utf-8").partition("\n")
        body = body.removesuffix("\n")
        if hashlib.sha256(body.encode()).hexdigest() != digest:
            raise _damaged(path, "another SHA-256 than its first line says")
        entry = _Entry.model_validate(json.loads(body))
    except OSError as error:
        raise _damaged(path, error.strerror or "a read error") from error
    except (ValueError, RecursionError) as error:
        found = first_problem(error)[1] if isinstance(error, ValidationError) else str(error)
        raise _damaged(path, found) from error
    if entry.format != FORMAT:
        raise _damaged(path, f"format {entry.format}, expected {FORMAT}")
    strange = {dtype for dtype, _ in entry.states.entries} - {*DTYPES} if entry.states else ()
    if strange:
        raise _damaged(path, f"the dtype {shown(min(strange))}")
    names = {*entry.files, *([entry.states.file] if entry.states else [])}
    for name in names:
        if Path(name).name != name or name in ("", JOURNAL) or name not in entry.files:
            raise _damaged(path, f"the file name {shown(name)}")
    return entry


def _damaged(path: Path, found: str) -> InputError:
    expected = "what an unfinished run of mwanda left"
    fix = "it is damaged; discard it with --restart"
    return InputError(str(path), expected=expected, found=found[:160], fix=fix)


def _flat(data: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """``{"a": {"b": 1}}`` -> ``{"a.b": 1}``."""
    found: dict[str, Any] = {}
    for name, value in data.items():
        if isinstance(value, Mapping) and value:
            found |= _flat(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = value
    return found


def _short(value: Any) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) <= 40 else f"{text[:12]}…"
