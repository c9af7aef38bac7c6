"""``mwanda pack`` and ``unpack``: a model folder as one file, and the same folder again."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from mwanda.errors import InputError, MwandaError, shown
from mwanda.pruned.archive.codec import damaged
from mwanda.pruned.archive.contents import SUFFIX, FileEntry, Index, is_archive
from mwanda.pruned.archive.reader import Archive, Place
from mwanda.pruned.archive.writer import find_files, write_archive
from mwanda.system.arguments import path_given
from mwanda.system.durable import sync_descriptor
from mwanda.system.files import check_disk_space
from mwanda.system.output import OutputFile, OutputFolder
from mwanda.system.progress import Progress, Silent
from mwanda.system.shown import AsDict, Shown
from mwanda.system.speaking import speaking
from mwanda.system.surroundings import undisturbed
from mwanda.system.threads import in_order

MOST_LEVEL = 22


@dataclass(frozen=True, repr=False)
class PackResult(AsDict, Shown):
    """What was packed or unpacked.

    Attributes:
        files, tensors: how many.
        raw, stored: bytes of the folder's files and of the archive.
        tensors_raw, tensors_stored: of the tensors alone.
        seconds: wall time.
    """

    files: int
    tensors: int
    raw: int
    stored: int
    tensors_raw: int
    tensors_stored: int
    seconds: float

    @classmethod
    def of(cls, index: Index, stored: int, seconds: float) -> PackResult:
        """From an archive's index and its size."""
        parts = [s for entry in index.files for s in entry.segments if s.name is not None]
        return cls(
            files=len(index.files),
            tensors=len(parts),
            raw=sum(entry.size for entry in index.files),
            stored=stored,
            tensors_raw=sum(part.raw for part in parts),
            tensors_stored=sum(part.stored for part in parts),
            seconds=seconds,
        )


@speaking
@undisturbed()
def pack(
    folder: str | Path,
    out: str | Path,
    *,
    level: int = 0,
    threads: int | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> PackResult:
    """Pack every file of a model folder into one archive, bit for bit.

    Memory is a few chunks of 4 MiB a thread, whatever the model. The same folder, level and version
    of zstd give the same bytes.

    Args:
        folder: usually a pruned model; any folder will do.
        out: the archive, ``.mwz``.
        level: 0 codes numbers by Huffman codes alone, which is fast and nearly all there is to
            gain; 1 to 22 also tries that level of zstd on every plane and keeps the smaller.
        threads: None for one a core.
        overwrite: replace an archive that is there.

    Raises:
        InputError: no folder, something in it that cannot be packed, or an unusable ``out``.
        DataError: a file changed while it was read.
        MwandaError: the disk is full or fails.
    """
    start = time.perf_counter()
    folder, out = path_given("folder", folder), path_given("out", out)
    threads = _threads(threads)
    if not 0 <= level <= MOST_LEVEL:
        raise InputError("--level", expected=f"0 to {MOST_LEVEL}", found=str(level))
    files = find_files(folder)
    if out.resolve().is_relative_to(folder.resolve()):
        what, fix = str(out), "choose another --out"
        raise InputError(what, expected="a file outside the folder", found="one in it", fix=fix)
    output = OutputFile(
        out, suffix=SUFFIX, what="an archive", is_ours=_is_plain_archive, overwrite=overwrite
    )
    output.check()
    try:
        with output as made:
            with (made / out.name).open("xb") as file:
                index = write_archive(
                    files, file, level=level, threads=threads, progress=progress or Silent()
                )
            output.publish(made / out.name)
    except OSError as error:
        raise _disk(out, error) from error
    return PackResult.of(index, out.stat().st_size, time.perf_counter() - start)


@speaking
@undisturbed()
def unpack(
    archive: str | Path,
    out: str | Path,
    *,
    threads: int | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> PackResult:
    """Write the folder that an archive was made of: every file byte for byte, by its SHA-256.

    Args:
        out: a new folder, which appears whole or not at all.
        overwrite: replace a folder that mwanda wrote.

    Raises:
        InputError: not an archive, a damaged one, or an unusable ``out``.
        MwandaError: the disk is full or fails.
    """
    start = time.perf_counter()
    archive, progress = Path(archive), progress or Silent()
    threads = _threads(threads)
    target = OutputFolder(path_given("out", out), overwrite=overwrite)
    with Archive.open(archive) as opened:
        target.check()
        size = sum(entry.size for entry in opened.index.files)
        check_disk_space(Path(out).absolute().parent, size, "the unpacked folder")
        places = [p for entry in opened.index.files for p in opened.file_places(entry)]
        progress.stage("unpack", len(places), unit="piece")

        def decoded(place: Place) -> bytearray:
            raw = bytearray(place.raw)
            opened.decode(place, memoryview(raw))
            return raw

        with target as folder, closing(in_order(decoded, places, threads)) as coming:
            for entry in opened.index.files:
                _write_file(folder, entry, coming, archive, progress)
        return PackResult.of(opened.index, archive.stat().st_size, time.perf_counter() - start)


def _write_file(
    folder: Path, entry: FileEntry, coming: Iterator[bytearray], archive: Path, progress: Progress
) -> None:
    path = folder / entry.path
    digest = hashlib.sha256()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as file:
            for _ in range(sum(len(segment.chunks) for segment in entry.segments)):
                raw = next(coming)
                digest.update(raw)
                file.write(raw)
                progress.block(0)
            file.flush()
            sync_descriptor(file.fileno(), path)
    except OSError as error:
        raise _disk(path, error) from error
    if digest.hexdigest() != entry.sha256:
        what = f"{archive}: {shown(entry.path)}"
        raise damaged(what, "the file that was packed", "another, by its SHA-256")


def _is_plain_archive(path: Path) -> bool:
    return not path.is_symlink() and path.is_file() and is_archive(path)


def _threads(given: int | None) -> int:
    if given is None:
        return min(8, os.cpu_count() or 1)
    if not 1 <= given <= 256:
        raise InputError("--threads", expected="1 to 256", found=str(given))
    return given


def _disk(path: Path, error: OSError) -> MwandaError:
    found = error.strerror or type(error).__name__
    return MwandaError(
        str(path), expected="to write it", found=found, fix="free some space or write elsewhere"
    )
