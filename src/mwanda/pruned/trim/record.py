"""What a trimmed folder says of itself: manifest and card."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from mwanda.model.run.streamed import StreamedDecoder
from mwanda.model.source import ModelSource
from mwanda.model.stored.reader import Checkpoint
from mwanda.pruning.folder.known_text import known_in_folder
from mwanda.pruning.folder.manifest import Manifest, find_manifest, versions
from mwanda.pruning.folder.manifest_records import Totals, TrimRecord, weights_in
from mwanda.pruning.folder.weight_sink import files_in, seal
from mwanda.pruning.task import base_files
from mwanda.system.device import dtype_name
from mwanda.system.files import hash_files


def bases_of(source: ModelSource, decoder: StreamedDecoder) -> list[Path]:
    """The source's files whose hashes the manifest names: none where its own manifest goes on."""
    made = find_manifest(source.folder) is not None
    return [] if made else base_files(source, decoder.checkpoint)


def finish_folder(
    folder: Path,
    source: ModelSource,
    decoder: StreamedDecoder,
    cut: Checkpoint,
    record: TrimRecord,
    known: Mapping[Path, str],
) -> None:
    """Write the manifest and the card of a folder that has everything else.

    A pruned source's manifest goes on, with the new files: its linears are as they were. The source
    is a base then too.

    Args:
        known: file -> SHA-256 of those that were hashed on the way.
    """
    written = files_in(folder)
    before = find_manifest(source.folder)
    bases = bases_of(source, decoder)
    left = [path for path in (*written.values(), *bases) if path not in known]
    hashes = {**known, **hash_files(left)}
    files = {name: hashes[path] for name, path in written.items()}
    if before is None:
        manifest = Manifest(
            base=source.name, base_files={path.name: hashes[path] for path in bases},
            dequantised=source.dequantised, recipe={}, statistics="none", device="cpu",
            compute_dtype="none", dtype=dtype_name(decoder.dtype), calibration=None,
            earlier=known_in_folder(source.folder), linears={},
            totals=Totals.of((), weights_in(cut)), signals=[], files=files, versions=versions(),
            trims=(record,),
        )  # fmt: skip
    else:
        manifest = before.model_copy(
            update={
                "files": files,
                "earlier_bases": (*before.earlier_bases, before.files),
                "totals": Totals.of(before.linears.values(), weights_in(cut)),
                "trims": (*before.trims, record),
                "versions": versions(),
            }
        )
    seal(folder, source, manifest)
