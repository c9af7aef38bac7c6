"""Whether a baseline is the model that another was pruned from."""

from __future__ import annotations

import logging
from pathlib import Path

from mwanda.errors import InputError
from mwanda.model.source import open_model
from mwanda.pruning.folder.manifest import MANIFEST, read_manifest
from mwanda.system.files import hash_files, sha256_of

log = logging.getLogger("mwanda")


def check_baseline(model: str | Path, baseline: str | Path, *, refuse: bool) -> bool | None:
    """Compare a baseline's files with the hashes in the manifest of a pruned folder.

    Args:
        refuse: refuse another model; otherwise it is told in one line.

    Returns:
        Whether it is the base; None where the model has no manifest that says.
    """
    if not (Path(model) / MANIFEST).is_file():
        return None
    manifest = read_manifest(Path(model))
    wanted = manifest.base_files
    if not wanted:
        return None
    differing = _differing(Path(baseline), baseline, wanted)
    if not differing:
        return True
    problem = InputError(
        f"--baseline {baseline}",
        expected=f"the model that {model} was pruned from, {manifest.base}",
        found=f"another one by its {', '.join(differing[:3])}",
        fix="give that model, or --other-baseline to compare with this one",
    )
    if refuse:
        raise problem
    log.warning("%s", problem)
    return False


def _differing(path: Path, name: str | Path, wanted: dict[str, str]) -> list[str]:
    """The files that are not those of the base."""
    if path.is_file():  # a GGUF; its name may be another
        return [] if sha256_of(path) in wanted.values() else [path.name]
    with open_model(name) as source:
        there = [source.folder / file for file in wanted if (source.folder / file).is_file()]
        known = {file.name: sha256 for file, sha256 in hash_files(there).items()}
    return [file for file, sha256 in wanted.items() if known.get(file) != sha256]
