"""Whether a model is what another was pruned from, by the hashes in a manifest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from mwanda.model.companions import is_tokenizer, tokenizer_files
from mwanda.model.source import open_model
from mwanda.system.files import hash_files, sha256_of


def other_files(name: str | Path, bases: Sequence[Mapping[str, str]]) -> list[list[str]]:
    """For every base, the files of this model that are not its own; none for that base itself.

    Manifests name a tokenizer's files only since some time: where they name none, it is not
    compared.

    Args:
        name: a folder, GGUF file or hub id.
        bases: file -> SHA-256, as a manifest has them.
    """
    path = Path(name)
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
