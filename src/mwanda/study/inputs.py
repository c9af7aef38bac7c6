"""What a study reads: hashed when it is planned, and again when it is used."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from mwanda.errors import InputError, MwandaError
from mwanda.evaluation.cache import model_sha256
from mwanda.model.opening import resolve_dtype, source_dtype
from mwanda.model.source import open_model
from mwanda.model.stored.reader import Checkpoint
from mwanda.pruning.calibration_text import is_window_file
from mwanda.system.device import choose_device, dtype_name
from mwanda.system.files import sha256_of
from mwanda.system.run_options import RunOptions
from mwanda.text.sources import open_source
from mwanda.text.windows import fingerprints

Signature = tuple[tuple[str, int, int, int, int], ...]


def resolved_dtypes(folder: Path, options: RunOptions) -> str | dict[str, str]:
    """What ``compute_dtype`` comes to on this machine: a name, or two where pruning and evaluating
    differ; as written where the model cannot be read, which its cells will tell."""
    if options.compute_dtype != "auto":
        return options.compute_dtype
    try:
        with Checkpoint.open(folder) as checkpoint:
            stored = source_dtype(checkpoint)
    except MwandaError:
        return options.compute_dtype
    device = choose_device(options.device)
    prune, evaluate = (
        dtype_name(resolve_dtype(stored, device, options, measuring=measuring))
        for measuring in (False, True)
    )
    return prune if prune == evaluate else {"prune": prune, "evaluate": evaluate}


def dtype_for(planned: str | Mapping[str, str], what: str) -> str:
    """The planned dtype of ``prune`` or ``evaluate``: a worker on another machine uses it too."""
    return planned if isinstance(planned, str) else planned[what]


class InputCheck:
    """Sees that models and texts are those of the plan. What has not been touched since it was
    hashed is not hashed again."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, bool], tuple[Signature, str | None]] = {}

    def model(self, path: str, sha256: str) -> None:
        """Refuse a model that is not the planned one."""
        self._same(path, Path(path), _model_hash, sha256, "model")

    def text(self, source: str, prints: Mapping[str, str | None], *, keep_english: bool) -> None:
        """Refuse calibration text that is not the planned one; streams have no hash."""
        for tag, sha256 in prints.items():
            if sha256 is not None:
                find = _text_hash(source, tag, keep_english=keep_english)
                thing = f"{source}, {tag}"
                self._same(thing, Path(source), find, sha256, "calibration text", keep_english)

    def _same(
        self,
        thing: str,
        place: Path,
        find: Callable[[Path], str | None],
        wanted: str,
        what: str,
        keep_english: bool = False,
    ) -> None:
        now = _signature(place)
        known = self._known.get((thing, keep_english))
        if known is None or known[0] != now or not now:
            known = now, find(place)
            self._known[thing, keep_english] = known
        if known[1] != wanted:
            raise InputError(
                thing,
                expected=f"the {what} that the study was planned on",
                found="another one: its files have changed since",
                fix="start mwanda study again, or put it back and add --retry-failed",
            )


def _model_hash(path: Path) -> str:
    if path.exists():
        return model_sha256(path)
    with open_model(str(path)) as source:
        return model_sha256(source.folder)


def _text_hash(source: str, tag: str, *, keep_english: bool) -> Callable[[Path], str | None]:
    def find(path: Path) -> str | None:
        if is_window_file(source):
            return sha256_of(path)
        return fingerprints(open_source(source), [tag], keep_english=keep_english)[tag]

    return find


def _signature(place: Path) -> Signature:
    """What changes when a file does: a new content has another time of change at least."""
    paths = sorted(place.rglob("*")) if place.is_dir() else [place]
    found = []
    for path in paths:
        if path.is_file():
            stat = path.stat()
            times = stat.st_mtime_ns, stat.st_ctime_ns
            found.append((str(path), stat.st_ino, stat.st_size, *times))
    return tuple(found)
