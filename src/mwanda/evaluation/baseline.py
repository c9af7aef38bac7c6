"""Whether a baseline is the model that another was pruned from."""

from __future__ import annotations

import logging
from pathlib import Path

from mwanda.errors import InputError
from mwanda.model.companions import is_tokenizer, tokenizer_files
from mwanda.model.source import open_model
from mwanda.pruning.folder.manifest import find_manifest
from mwanda.system.files import hash_files, sha256_of

log = logging.getLogger("mwanda")


def check_baseline(model: str | Path, baseline: str | Path, *, refuse: bool) -> bool | None:
    """Compare a baseline's files with the hashes in the manifest of a pruned folder.

    What the base itself was pruned from is a base too.

    Args:
        refuse: refuse another model; otherwise it is told in one line.

    Returns:
        Whether it is a base; None where the model has no manifest that says.
    """
    manifest = find_manifest(Path(model))
    if manifest is None or not manifest.base_files:
        return None
    bases = [manifest.base_files, *reversed(manifest.earlier_bases)]
    differing = _differing(Path(baseline), baseline, bases)
    if not all(differing):
        return True
    untold = bool(manifest.earlier) and not manifest.earlier_bases
    problem = InputError(
        f"--baseline {baseline}",
        expected=f"the model that {model} was pruned from, {manifest.base}",
        found=f"another one by its {', '.join(differing[0][:3])}"
        + ("; what that one was pruned from, the manifest does not say" if untold else ""),
        fix="give that model, or --other-baseline to compare with this one",
    )
    if refuse:
        raise problem
    log.warning("%s", problem)
    return False


def _differing(path: Path, name: str | Path, bases: list[dict[str, str]]) -> list[list[str]]:
    """For every base, the files that are not its own. Manifests name a tokenizer's files only since
    some time: where they name none, it is not compared."""
    if path.is_file():  # a GGUF; its name may be another
        sha256 = sha256_of(path)
        return [[] if sha256 in base.values() else [path.name] for base in bases]
    with open_model(name) as source:
        tokenizer = {file.name for file in tokenizer_files(source.folder)}
        names = tokenizer.union(*bases)
        there = [source.folder / file for file in names if (source.folder / file).is_file()]
        known = {file.name: sha256 for file, sha256 in hash_files(there).items()}
    return [
        [
            file
            for file in (
                *base,
                *(sorted(tokenizer - set(base)) if any(map(is_tokenizer, base)) else ()),
            )
            if known.get(file) != base.get(file)
        ]
        for base in bases
    ]
