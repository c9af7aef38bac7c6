"""``mwanda trim``: a model with the rows of its vocabulary that its languages can use."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from mwanda.errors import InputError
from mwanda.model.companions import find_companions
from mwanda.model.given import is_gguf
from mwanda.model.opening import open_decoder
from mwanda.model.run.streamed import StreamedDecoder
from mwanda.model.source import ModelSource, copy_licences, load_tokenizer, open_model
from mwanda.model.stored.reader import Checkpoint
from mwanda.pruned.trim.choice import Choice, Chosen, choose
from mwanda.pruned.trim.cut import CutCheckpoint, vocabulary_tensors
from mwanda.pruned.trim.files import bases_of, copy_tensors, finish_folder, write_companions
from mwanda.pruned.trim.plan import Coverage, TrimPlan, count_scripts
from mwanda.pruned.trim.promise import Trial, refuse_loss
from mwanda.pruned.trim.token_ids import structural
from mwanda.pruned.trim.trim_gguf import plan_gguf, trim_gguf
from mwanda.pruned.trim.vocabulary import Vocabulary
from mwanda.pruning.folder.known_text import known_in_folder
from mwanda.pruning.folder.manifest import find_manifest
from mwanda.pruning.folder.manifest_records import TrimRecord, packed_rows
from mwanda.pruning.given_arguments import options_given
from mwanda.system.arguments import path_given
from mwanda.system.files import check_disk_space
from mwanda.system.heap import trim as release
from mwanda.system.output import OutputFolder
from mwanda.system.run_options import RunOptions
from mwanda.system.shown import Shown
from mwanda.system.speaking import speaking
from mwanda.system.surroundings import undisturbed
from mwanda.system.unfinished import scratch_folder
from mwanda.text.tokens import token_ids


@dataclass(frozen=True, repr=False)
class TrimResult(Shown):
    """What was written.

    Attributes:
        out: the folder or file.
        plan: rows, weights and bytes.
        checked: texts that were split by both tokenizers, all alike.
        old_ids: new id -> old id.
        held_out: language -> texts that chose nothing; empty by script.
        seconds: wall time.
    """

    out: str
    plan: TrimPlan
    checked: int
    old_ids: tuple[int, ...]
    held_out: Mapping[str, list[str]]
    seconds: float

    def _summary(self) -> str:
        return f"{self.out}, {self.plan._summary()}"

    def _records(self) -> list[dict[str, Any]]:
        return self.plan._records()

    def as_dict(self) -> dict[str, Any]:
        return {
            "out": self.out, **self.plan.as_dict(), "checked": self.checked,
            "seconds": self.seconds,
        }  # fmt: skip


@dataclass(frozen=True)
class _Opened:
    source: ModelSource
    decoder: StreamedDecoder
    vocabulary: Vocabulary
    tables: dict[str, int]
    chosen: Chosen
    trial: Trial


@speaking
@undisturbed()
def trim(
    model: str | Path,
    out: str | Path,
    languages: str | Sequence[str],
    *,
    by: str = "script",
    also_scripts: Sequence[str] = (),
    text: str | None = None,
    budget: int | None = None,
    keep_texts: Sequence[str] = (),
    multiple: int = 64,
    allow_loss: bool = False,
    options: RunOptions | None = None,
) -> TrimResult:
    """Write a model with the rows of its vocabulary that the languages can use.

    Chosen by script or by letters, nothing is lost: text of these characters has the same tokens as
    before, and their logits are the same numbers. Everything else is copied bit for bit. Tensors
    are read piece by piece.

    Args:
        model: a folder, GGUF file or hub id.
        out: the folder to write, or the ``.gguf`` file where the model is one; whole or not at all.
        languages: BCP-47 tags.
        by: ``script``, ``letters`` (those that ``text`` uses) or ``text`` (the tokens it has).
        also_scripts: ISO 15924 codes to keep beside the languages' own and Latin.
        text: a source of text, as for calibration; one line in ten chooses nothing and is what the
            choice is tried on.
        budget: rows to keep, with ``by="text"``.
        keep_texts: texts whose tokens stay.
        multiple: the number of rows is a multiple of this.
        allow_loss: write also where under 99 % of a language's held-out lines have their old
            tokens.

    Raises:
        InputError: a tokenizer or a tensor that is not known, a budget below what has to stay, an
            unusable ``out``; nothing has been written.
        MwandaError: text is split otherwise than before and ``allow_loss`` is not set.
    """
    options, model = options_given(options), path_given("model", model)
    target = path_given("out", out)
    choice = Choice.of(
        languages, by=by, also_scripts=tuple(also_scripts), text=text, budget=budget,
        keep_texts=tuple(keep_texts), multiple=multiple,
    )  # fmt: skip
    start = time.perf_counter()
    if target.suffix == ".gguf":
        if not is_gguf(model):
            raise InputError(
                str(target), expected="a folder, as the model is none of GGUF", found="a .gguf",
                fix="choose a folder with --out",
            )  # fmt: skip
        plan, checked, chosen = trim_gguf(model, target, choice, options, allow_loss=allow_loss)
        return _result(target, plan, checked, chosen, start)
    output = OutputFolder(target, overwrite=options.overwrite)
    output.check(Path(model))
    with (
        output as folder,
        scratch_folder(output.partial) as scratch,
        _opened(str(model), choice, options, scratch) as opened,
    ):
        checkpoint, chosen = _cut(opened), opened.chosen
        find_companions(opened.source.folder)
        check_disk_space(folder, checkpoint.nbytes, "the trimmed model")
        write_companions(
            opened.source.folder, folder, opened.vocabulary, chosen,
            opened.decoder.config.to_dict(), opened.tables,
        )  # fmt: skip
        copy_licences(opened.source, folder)
        plan = _plan(opened, choice, {}, checkpoint)
        opened.vocabulary.forget()  # a tokenizer takes half a gigabyte more while it is loaded
        release()
        made = load_tokenizer(folder, trust_remote_code=options.trust_remote_code)
        coverage = opened.trial.coverage(made)
        refuse_loss(coverage, allow_loss)
        checked = opened.trial.check(made)
        known = copy_tensors(
            checkpoint, folder, options.max_shard_size, bases_of(opened.source, opened.decoder),
            options.progress,
        )  # fmt: skip
        checkpoint.check_unchanged()
        record = _record(opened, choice, allow_loss)
        finish_folder(folder, opened.source, opened.decoder, checkpoint, record, known)
    return _result(target, replace(plan, coverage=coverage), checked, chosen, start)


def _result(target: Path, plan: TrimPlan, checked: int, chosen: Chosen, start: float) -> TrimResult:
    seconds = time.perf_counter() - start
    return TrimResult(str(target), plan, checked, chosen.rows, chosen.held_out, seconds)


@speaking
@undisturbed()
def plan_trim(
    model: str | Path,
    languages: str | Sequence[str],
    *,
    options: RunOptions | None = None,
    **choice: Any,
) -> TrimPlan:
    """What :func:`trim` would leave; nothing is written. Arguments as there."""
    asked = Choice.of(languages, **choice)
    if is_gguf(Path(model)):
        return plan_gguf(Path(model), asked)
    with (
        scratch_folder(None) as scratch,
        _opened(str(model), asked, options_given(options), scratch) as opened,
    ):
        coverage = opened.trial.foreseen(opened.vocabulary, opened.chosen)
        return _plan(opened, asked, coverage, _cut(opened))


@contextmanager
def _opened(model: str, choice: Choice, options: RunOptions, scratch: Path) -> Iterator[_Opened]:
    with open_model(model, scratch, trust_remote_code=options.trust_remote_code) as source:
        known_in_folder(source.folder)  # a damaged record is told before the work
        # It takes most while it is loaded: first, when nothing else is there.
        tokenizer = load_tokenizer(source.folder, trust_remote_code=options.trust_remote_code)
        release()
        with open_decoder(source, options) as decoder:
            tables = vocabulary_tensors(decoder)
            vocabulary, chosen, trial = _choose(choice, source, decoder, tokenizer)
            del tokenizer
            release()
            yield _Opened(source, decoder, vocabulary, tables, chosen, trial)


def _choose(
    choice: Choice, source: ModelSource, decoder: StreamedDecoder, tokenizer: Any
) -> tuple[Vocabulary, Chosen, Trial]:
    vocabulary = Vocabulary.read(source.folder)

    def encode(text: str) -> list[int]:
        return token_ids(tokenizer, text)

    config, rows = decoder.config.to_dict(), decoder.vocabulary
    known = structural(source.folder, vocabulary, config, encode, rows)
    chosen = choose(choice, vocabulary, known, tokenizer, rows)
    return vocabulary, chosen, Trial.of(chosen, choice, tokenizer)


def _cut(opened: _Opened) -> CutCheckpoint:
    rows = torch.tensor(opened.chosen.rows)
    return CutCheckpoint(
        opened.decoder.checkpoint, {name: rows[rows < size] for name, size in opened.tables.items()}
    )


def _plan(
    opened: _Opened, choice: Choice, coverage: dict[str, Coverage], after: Checkpoint
) -> TrimPlan:
    before, tables = opened.decoder.checkpoint, opened.tables
    return TrimPlan(
        model=opened.source.name, by=choice.by, languages=choice.languages, scripts=choice.scripts,
        rows=opened.decoder.vocabulary, kept=len(opened.chosen.rows), weights=before.numbers,
        kept_weights=after.numbers, bytes=before.nbytes, kept_bytes=after.nbytes,
        tensors=tables, table_weights=_weights(before, tables), others=opened.vocabulary.others,
        structural=len(opened.chosen.structural),
        by_script=count_scripts(opened.vocabulary, opened.chosen.rows), coverage=coverage,
    )  # fmt: skip


def _weights(checkpoint: Checkpoint, names: Collection[str]) -> int:
    infos = (checkpoint.tensors[name] for name in names)
    return sum(info.nbytes // info.dtype.itemsize for info in infos)


def _record(opened: _Opened, choice: Choice, allow_loss: bool) -> TrimRecord:
    rows, before = opened.decoder.vocabulary, find_manifest(opened.source.folder)
    return TrimRecord(
        by=choice.by, languages=choice.languages, scripts=choice.scripts,
        also_scripts=choice.also_scripts, text=choice.text, budget=choice.budget,
        keep_texts=len(choice.keep_texts), multiple=choice.multiple, allow_loss=allow_loss,
        after=0 if before is None else len(before.recoveries), rows=rows,
        kept=packed_rows(opened.chosen.rows, rows), tensors=opened.tables,
    )  # fmt: skip
