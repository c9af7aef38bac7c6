"""What a study reads: hashed when it is planned, and again when it is used."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
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
from mwanda.text.text_source import TextSource, available
from mwanda.text.window_files import Windows
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


def model_hash(model: str, folder: Path | None = None) -> str:
    """SHA-256 of a model's content.

    Args:
        folder: where one of the hub lies; found where it is not given.
    """
    if Path(model).exists():
        return model_sha256(Path(model))
    if folder is not None:
        return model_sha256(folder)
    with open_model(model) as source:
        return model_sha256(source.folder)


def calibration_hashes(
    calibration: str | None,
    opened: TextSource | Windows | None,
    tags: Iterable[str],
    *,
    keep_english: bool,
) -> dict[str, str | None]:
    """Language -> SHA-256 of its calibration text; streams have none."""
    if isinstance(opened, Windows) and calibration is not None:
        return dict.fromkeys(opened.languages, sha256_of(Path(calibration)))
    if opened is None or isinstance(opened, Windows):
        return {}
    there = available(opened)
    return fingerprints(opened, [t for t in tags if t in there], keep_english=keep_english)


class InputCheck:
    """Sees that models and texts are those of the plan. What has not been touched since it was
    hashed is not hashed again."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, bool], tuple[Signature, str | None]] = {}

    def model(self, path: str, sha256: str) -> None:
        """Refuse a model that is not the planned one."""
        self._same(path, Path(path), lambda: model_hash(path), sha256, "model")

    def text(self, source: str, prints: Mapping[str, str | None], *, keep_english: bool) -> None:
        """Refuse calibration text that is not the planned one; streams have no hash."""

        def find(tag: str) -> str | None:
            if is_window_file(source):
                return sha256_of(Path(source))
            return fingerprints(open_source(source), [tag], keep_english=keep_english)[tag]

        for tag, sha256 in prints.items():
            if sha256 is not None:
                thing = f"{source}, {tag}"
                look = partial(find, tag)
                self._same(thing, Path(source), look, sha256, "calibration text", keep_english)

    def _same(
        self,
        thing: str,
        place: Path,
        find: Callable[[], str | None],
        wanted: str,
        what: str,
        keep_english: bool = False,
    ) -> None:
        now = _signature(place)
        known = self._known.get((thing, keep_english))
        if known is None or known[0] != now or not now:
            known = now, find()
            self._known[thing, keep_english] = known
        if known[1] != wanted:
            raise InputError(
                thing,
                expected=f"the {what} that the study was planned on",
                found="another one: its files have changed since",
                fix="start mwanda study again, or put it back and add --retry-failed",
            )


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
