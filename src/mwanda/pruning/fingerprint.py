"""Everything that decides the bytes of an output: what a run must share to go on with another."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from mwanda.model.companions import tokenizer_files
from mwanda.model.run.streamed import StreamedDecoder
from mwanda.model.source import ModelSource
from mwanda.model.stored.reader import Checkpoint
from mwanda.pruning.evidence import Evidence
from mwanda.pruning.folder.manifest import versions
from mwanda.pruning.journal import Journal
from mwanda.pruning.recipe.resolved import ResolvedRecipe
from mwanda.system.device import device_kind, dtype_name
from mwanda.system.files import hash_files
from mwanda.system.ranks import Ranks
from mwanda.system.run_options import RunOptions
from mwanda.text.window_files import window_sha256


def open_journal(
    job: str,
    folder: Path | None,
    source: ModelSource,
    decoder: StreamedDecoder,
    recipe: ResolvedRecipe,
    evidence: Evidence,
    options: RunOptions,
    ranks: Ranks,
    **more: Any,
) -> Journal:
    """The journal of a run in a folder; none where it is not wanted or several processes work."""
    if folder is None or not keeps_journal(options, ranks):
        return Journal()

    def fingerprint() -> Mapping[str, Any]:
        files = [*base_files(source, decoder.checkpoint)]
        if options.trust_remote_code:
            files += sorted(source.folder.glob("*.py"))
        return {
            "job": job,
            "recipe": recipe.model_dump(mode="json"),
            "model": {path.name: digest for path, digest in hash_files(files).items()},
            "windows": {tag: window_sha256(ids) for tag, ids in evidence.tokens.items()},
            "weights": dict(evidence.weights),
            "statistics": None if evidence.statistics_file is None
            else evidence.statistics_file.sha256,
            "device": device_kind(decoder.device),
            "compute_dtype": dtype_name(decoder.dtype),
            # Sums of other batches, or by other threads, can differ in their last bits.
            "batch_tokens": options.batch_tokens,
            "threads": torch.get_num_threads(),
            "max_shard_size": options.max_shard_size,
            "versions": versions(),
            **more,
        }  # fmt: skip

    return Journal(folder, fingerprint)


def keeps_journal(options: RunOptions, ranks: Ranks) -> bool:
    """Whether a run keeps a journal: a single process that was not told otherwise."""
    return options.journal and ranks.size == 1


def base_files(source: ModelSource, checkpoint: Checkpoint) -> list[Path]:
    """The files a model is read from, and its tokenizer."""
    if source.kind == "gguf" and source.original is not None:
        return [source.original]
    tokenizer = tokenizer_files(source.folder)
    return [*checkpoint.files, source.folder / "config.json", *tokenizer]
