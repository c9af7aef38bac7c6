"""``mwanda trim FILE.gguf``: the same file with fewer tokens, as quantised as it was."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from mwanda.errors import InputError
from mwanda.model.gguf.file import Gguf, open_gguf, read_gguf
from mwanda.model.gguf.header import GgufHeader
from mwanda.model.gguf.tokenizer import GGML
from mwanda.pruned.trim.choice import Choice, Chosen, choose
from mwanda.pruned.trim.gguf_vocabulary import (
    MARK,
    gguf_tables,
    structural_ids,
    unused_ids,
    write_trimmed,
)
from mwanda.pruned.trim.plan import Coverage, TrimPlan, count_scripts
from mwanda.pruned.trim.promise import Restricted, Trial, refuse_loss
from mwanda.pruned.trim.token_ids import structural
from mwanda.pruned.trim.vocabulary import Vocabulary
from mwanda.system.output import OutputFile
from mwanda.system.run_options import RunOptions
from mwanda.system.unfinished import scratch_folder
from mwanda.text.tokens import token_ids


def trim_gguf(
    path: Path, target: Path, choice: Choice, options: RunOptions, *, allow_loss: bool
) -> tuple[TrimPlan, int, Chosen]:
    """Write a GGUF file with fewer tokens; arguments and errors as :func:`mwanda.trim`.

    Returns:
        What is left, how many texts were split by both tokenizers, and the rows.
    """
    output = OutputFile(
        target, suffix=".gguf", what="a GGUF file that mwanda trim wrote", is_ours=_is_ours,
        overwrite=options.overwrite,
    )  # fmt: skip
    output.check([path])
    with output as work, _opened(path, choice, work) as opened:
        after = Restricted(opened.vocabulary, opened.chosen)
        coverage = opened.trial.coverage(after)
        refuse_loss(coverage, allow_loss)
        checked = opened.trial.check(after)
        merges = _merges(opened)
        options.progress.stage("trim", 1, unit="file")
        made = work / target.name
        write_trimmed(opened.header, made, opened.chosen.rows, merges)
        options.progress.block(0)
        plan = _plan(opened, choice, coverage, made.stat().st_size)
        output.publish(made)
    return plan, checked, opened.chosen


def plan_gguf(path: Path, choice: Choice) -> TrimPlan:
    """What :func:`trim_gguf` would leave; bytes are those of the tensors, without the header."""
    with scratch_folder(None) as scratch, _opened(path, choice, scratch) as opened:
        coverage = opened.trial.foreseen(opened.vocabulary, opened.chosen)
        return _plan(opened, choice, coverage, None)


@dataclass(frozen=True)
class _Opened:
    header: GgufHeader
    vocabulary: Vocabulary
    tables: dict[str, int]
    chosen: Chosen
    trial: Trial


@contextmanager
def _opened(path: Path, choice: Choice, scratch: Path) -> Iterator[_Opened]:
    file: Gguf = read_gguf(path)
    header, tokenizer, folder = file.header, file.tokenizer(), scratch / "tokenizer"
    tokenizer.save_pretrained(folder)
    vocabulary = replace(Vocabulary.read(folder), unused=unused_ids(header))
    tables = gguf_tables(header)

    def encode(text: str) -> list[int]:
        return token_ids(tokenizer, text)

    tokens = len(header.fields[f"{GGML}tokens"])
    known = structural(folder, vocabulary, {}, encode, tokens)
    known |= structural_ids(header, vocabulary.reserved)
    chosen = choose(choice, vocabulary, known, tokenizer, tokens)
    trial = Trial.of(chosen, choice, tokenizer)
    yield _Opened(header, vocabulary, tables, chosen, trial)


def _merges(opened: _Opened) -> list[str]:
    """The file's own rules whose two sides and product stay."""
    fields = opened.header.fields
    tokens, left = fields[f"{GGML}tokens"], opened.chosen.rows
    kept = {tokens[old] for old in left}
    pairs = (merge.partition(" ") for merge in fields.get(f"{GGML}merges") or ())
    return [f"{a} {b}" for a, _, b in pairs if a in kept and b in kept and a + b in kept]


def _plan(
    opened: _Opened, choice: Choice, coverage: dict[str, Coverage], written: int | None
) -> TrimPlan:
    header, kept = opened.header, len(opened.chosen.rows)
    weights = table_weights = cut = saved = 0
    for tensor in header.tensors:
        weights += tensor.size
        rows = opened.tables.get(tensor.name)
        if rows is not None:
            gone = rows - sum(row < rows for row in opened.chosen.rows)
            table_weights += tensor.size
            cut += gone * (tensor.size // rows)
            saved += gone * (tensor.row_bytes if len(tensor.shape) > 1 else 0)
    size = os.path.getsize(header.path)
    return TrimPlan(
        model=str(header.path), by=choice.by, languages=choice.languages, scripts=choice.scripts,
        rows=max(opened.tables.values()), kept=kept, weights=weights, kept_weights=weights - cut,
        bytes=size, kept_bytes=size - saved if written is None else written,
        tensors=opened.tables, table_weights=table_weights, others=opened.vocabulary.others,
        structural=len(opened.chosen.structural),
        by_script=count_scripts(opened.vocabulary, opened.chosen.rows), coverage=coverage,
        stored="the file",
    )  # fmt: skip


def _is_ours(path: Path) -> bool:
    try:
        return MARK in open_gguf(path).fields
    except InputError:
        return False
