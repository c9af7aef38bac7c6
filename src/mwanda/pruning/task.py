"""A prune about to run, opened in this one place: model, recipe, text, journal, processes."""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from mwanda.errors import InputError
from mwanda.model.companions import tokenizer_files
from mwanda.model.given import check_model, is_gguf
from mwanda.model.opening import open_decoder
from mwanda.model.run.decoder import Decoder
from mwanda.model.run.streamed import StreamedDecoder
from mwanda.model.run.structure import Structure, choose_linears
from mwanda.model.source import ModelSource, load_tokenizer, open_model
from mwanda.model.stored.reader import Checkpoint
from mwanda.pruning.evidence import Evidence, Opened, gather
from mwanda.pruning.folder.known_text import Calibrations, known_in_folder
from mwanda.pruning.folder.manifest import versions
from mwanda.pruning.journal import Journal
from mwanda.pruning.recipe.resolved import ResolvedRecipe
from mwanda.pruning.schedule import Schedule
from mwanda.system.device import device_kind, dtype_name, parse_dtype
from mwanda.system.files import hash_files
from mwanda.system.ranks import ALONE, Ranks, joined, launched
from mwanda.system.run_options import RunOptions
from mwanda.system.unfinished import Partial, scratch_folder
from mwanda.text.window_files import window_sha256

log = logging.getLogger("mwanda")


@dataclass(frozen=True, kw_only=True)
class Task:
    """One prune, or one pass for statistics.

    Attributes:
        decoder: the model; its weights are masked in the copy the forward uses.
        chosen: its blocks, with the linears that are looked at.
        scratch: a folder for spilled activations and statistics.
        ranks: the processes that share the work; each has the same of all else here.
        journal: is told of every finished block, and says which an earlier run had finished.
        earlier: the text of the prunes that the model has been through.
    """

    decoder: Decoder
    chosen: Structure
    recipe: ResolvedRecipe
    evidence: Evidence
    options: RunOptions
    scratch: Path
    ranks: Ranks = ALONE
    journal: Journal = field(default_factory=Journal)
    earlier: Calibrations = ()

    @property
    def schedule(self) -> Schedule:
        """Its passes."""
        return Schedule.of(self.recipe, saved=self.evidence.saved is not None)

    @property
    def dtype(self) -> torch.dtype | None:
        """What is written; None for what the source has."""
        return parse_dtype(self.recipe.dtype, "--dtype")


@dataclass(frozen=True, kw_only=True)
class FolderTask(Task):
    """One whose weights come from a checkpoint."""

    decoder: StreamedDecoder
    source: ModelSource


@contextmanager
def open_task(
    job: str,
    name: str,
    partial: Partial | None,
    opened: Opened,
    recipe: ResolvedRecipe,
    options: RunOptions,
    **more: Any,
) -> Iterator[FolderTask]:
    """Open a model on disk for some work.

    Args:
        job: what is made: ``model``, ``masks`` or ``statistics``.
        partial: where it is made; None in a process that does not write.
        more: what else decides the result.
    """
    trusted: dict[str, Any] = {"trust_remote_code": options.trust_remote_code}
    with (
        scratch_folder(partial) as scratch,
        open_model(name, scratch, **trusted) as source,
        open_decoder(source, options) as decoder,
        joined(decoder.device) as ranks,
    ):
        earlier = () if job == "statistics" else known_in_folder(source.folder)
        chosen = chosen_linears(decoder, recipe)
        tokenizer = functools.partial(load_tokenizer, source.folder, **trusted)
        evidence = gather(opened, tokenizer, decoder, chosen, recipe, options)
        task = FolderTask(
            decoder=decoder, chosen=chosen, recipe=recipe, evidence=evidence, options=options,
            scratch=scratch, ranks=ranks, earlier=earlier, source=source,
        )  # fmt: skip
        if partial is not None and keeps_journal(options, ranks):
            journal = Journal(partial.work, lambda: _fingerprint(job, task, more))
            task = replace(task, journal=journal)
            if journal.resumed:
                log.info("resuming: %s", journal.kept(len(chosen.blocks)))
        yield task


def keeps_journal(options: RunOptions, ranks: Ranks) -> bool:
    """Whether a run keeps a journal: a single process that was not told otherwise."""
    return options.journal and ranks.size == 1


def _fingerprint(job: str, task: FolderTask, more: Mapping[str, Any]) -> dict[str, Any]:
    """Everything that decides the bytes of an output: what a run must share to go on with
    another."""
    source, decoder, evidence, options = task.source, task.decoder, task.evidence, task.options
    files = base_files(source, decoder.checkpoint, code=options.trust_remote_code)
    saved = evidence.statistics_file
    return {
        "job": job,
        "recipe": task.recipe.model_dump(mode="json"),
        "model": {path.name: digest for path, digest in hash_files(files).items()},
        "windows": {tag: window_sha256(ids) for tag, ids in evidence.tokens.items()},
        "weights": dict(evidence.weights),
        "statistics": None if saved is None else saved.sha256,
        "device": device_kind(decoder.device),
        "compute_dtype": dtype_name(decoder.dtype),
        # Sums of other batches, or by other threads, can differ in their last bits.
        "batch_tokens": options.batch_tokens,
        "threads": torch.get_num_threads(),
        "max_shard_size": options.max_shard_size,
        "versions": versions(),
        **more,
    }


def base_files(source: ModelSource, checkpoint: Checkpoint, *, code: bool = False) -> list[Path]:
    """The files a model is read from, and its tokenizer; with ``code`` its own Python too."""
    own = sorted(source.folder.glob("*.py")) if code else []
    if source.kind == "gguf" and source.original is not None:
        return [source.original, *own]
    tokenizer = tokenizer_files(source.folder)
    return [*checkpoint.files, source.folder / "config.json", *tokenizer, *own]


def chosen_linears(decoder: Decoder, recipe: ResolvedRecipe, *, strict: bool = True) -> Structure:
    """The linears the recipe names.

    Refused are an N:M pattern whose M does not divide a linear's width, and a reconstruction of
    experts: too few tokens reach most of them for a Gram matrix.
    """
    chosen = choose_linears(
        decoder.structure, include=recipe.include, exclude=recipe.exclude,
        skip_blocks=recipe.skip_blocks, strict=strict,
    )  # fmt: skip
    experts = [linear.name for linear in chosen.linears() if linear.expert is not None]
    if recipe.reconstruction is not None and experts:
        raise InputError(
            f"reconstruction {recipe.reconstruction.name}",
            expected="linears that every token goes through",
            found=f"{experts[0]} and {len(experts) - 1} more of experts",
            fix=r"leave experts out with --exclude '\.experts\.', or use no reconstruction",
        )
    group = recipe.pattern_row().group
    bad = [linear for linear in chosen.linears() if linear.columns % group]
    if bad:
        raise InputError(
            f"pattern {recipe.pattern}",
            expected=f"input widths divisible by {group}",
            found=f"{bad[0].name} with {bad[0].columns} inputs ({len(bad)} such linears)",
            fix="leave them out with --exclude, or use pattern unstructured",
        )
    return chosen


def naming_problems(
    source: ModelSource, recipes: Iterable[ResolvedRecipe], options: RunOptions, place: str = ""
) -> list[str]:
    """Everything by which these recipes name linears and blocks that a model does not have, each
    begun by ``place``: for work that has much to do before its first prune."""
    named = [r for r in recipes if r.include or r.exclude or r.skip_blocks]
    if not named:
        return []
    found: dict[str, None] = {}
    with open_decoder(source, replace(options, device="cpu")) as decoder:
        for recipe in named:
            try:
                chosen_linears(decoder, recipe)
            except InputError as error:
                found |= {place + problem: None for problem in error.problems}
    return list(found)


def ranks_for(name: str) -> Ranks:
    """The processes that this run is one of, for a model that can be theirs."""
    check_model(name)
    ranks = launched()
    if ranks.size > 1 and is_gguf(Path(name)):
        expected = "a model folder, when several processes share the work"
        found = "a GGUF file, which each of them would convert"
        fix = "convert it first: mwanda prune FILE --out FOLDER --sparsity 0"
        raise InputError(name, expected=expected, found=found, fix=fix)
    return ranks
