"""What is written down about a prune: each linear, the text, the experts, the files it used."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Collection, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from mwanda.model.stored.reader import Checkpoint
from mwanda.pruning.recipe.recovery import steps_in_words
from mwanda.pruning.statistics.routed import Routing
from mwanda.system.shown import Shown
from mwanda.text.languages import MULTIPLE
from mwanda.text.window_files import Windows


class Entry(Shown, BaseModel):
    """A part of a manifest, or of another record: as it was written, and nothing beside."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class LinearRecord(Entry):
    """One pruned linear, under the checkpoint's own tensor name.

    ``shape`` is ``[out, in]``; ``transposed`` says that it is stored ``[in, out]``. ``box`` is the
    part of the tensor it lies in, start and stop along every dimension; None for all of it.
    ``pruned`` counts mask positions, ``zeros`` the zeros written, ``source_zeros`` those that the
    source had already. ``damping`` is what a reconstruction added to the Gram matrix, in mean
    diagonals; None where there was none. The hashes are of bit-packed ``[out, in]`` matrices, see
    ``masks.digest``.
    """

    tensor: str
    block: int
    shape: tuple[int, int]
    transposed: bool
    sparsity: float
    pruned: int
    zeros: int
    source_zeros: int
    mask_sha256: str
    zeros_sha256: str
    damping: float | None = None
    box: tuple[tuple[int, int], ...] | None = None


class ExpertsRecord(Entry):
    """Which experts the calibration text went to.

    Attributes:
        minimum: an expert that saw fewer tokens was pruned by magnitude.
        routing: path of a block's experts -> language -> tokens routed to expert 0, 1, …: numbers
            in one line, ``-`` for an expert that was not to be pruned.
        fallbacks: linears that magnitude served -> tokens their expert saw.
    """

    minimum: int
    routing: dict[str, dict[str, str]]
    fallbacks: dict[str, int]

    @classmethod
    def of(
        cls, routing: Routing, fallbacks: Mapping[str, int], minimum: int
    ) -> ExpertsRecord | None:
        """From the counts of a prune; None where there were no experts to watch."""
        if not routing:
            return None

        def line(counts: list[int | None]) -> str:
            return " ".join("-" if n is None else str(n) for n in counts)

        lines = {path: {tag: line(n) for tag, n in tags.items()} for path, tags in routing.items()}
        return cls(minimum=minimum, routing=lines, fallbacks=dict(fallbacks))

    def counts(self) -> Routing:
        """The numbers of :attr:`routing`."""

        def counts(line: str) -> list[int | None]:
            return [None if n == "-" else int(n) for n in line.split()]

        return {p: {tag: counts(n) for tag, n in tags.items()} for p, tags in self.routing.items()}


class LanguageDrawRecord(Entry):
    """What was drawn of one language; ``sentences`` are packed 8-byte hashes."""

    windows: int
    tokens: int
    documents: int
    duplicates_dropped: int
    english_lines_dropped: int
    documents_emptied: int
    window_sha256: str
    source_sha256: str | None
    sentences: str


class CalibrationRecord(Entry):
    """The calibration text: where from, how drawn, what of it; ``kept`` is what cleaning was told
    to leave in, ``english`` and ``repeated``. ``background`` are languages that nobody named, drawn
    from a source of their own; their windows are under ``mul`` among the languages."""

    source: str
    seed: int | None
    bos: str
    length: int | None
    weights: dict[str, float]
    languages: dict[str, LanguageDrawRecord]
    kept: tuple[str, ...] = ()
    background: tuple[str, ...] = ()
    background_source: str | None = None

    @property
    def named(self) -> dict[str, LanguageDrawRecord]:
        """The languages that a user named."""
        return {tag: draw for tag, draw in self.languages.items() if tag != MULTIPLE}

    @property
    def seen(self) -> tuple[str, ...]:
        """Those of them with a weight above 0."""
        return tuple(tag for tag in self.named if self.weights[tag] > 0)

    def of_languages(
        self, languages: Mapping[str, LanguageDrawRecord], weights: Mapping[str, float]
    ) -> CalibrationRecord:
        """The same with these languages alone, ``mul`` for the background, under these weights."""
        update: dict[str, Any] = {"languages": dict(languages), "weights": dict(weights)}
        if MULTIPLE not in languages:
            update |= {"background": (), "background_source": None}
        return self.model_copy(update=update)

    @classmethod
    def of(cls, windows: Windows, weights: Mapping[str, float]) -> CalibrationRecord:
        """From drawn windows and resolved language weights."""
        languages = {}
        for tag, draw in windows.draws.items():
            known = asdict(draw)
            del known["language"]
            languages[tag] = LanguageDrawRecord(sentences=known.pop("sentence_hashes"), **known)
        return cls(
            source=windows.source,
            seed=windows.seed,
            bos=windows.bos,
            length=windows.length,
            weights=dict(weights),
            languages=languages,
            kept=windows.kept,
            background=windows.background,
            background_source=windows.background_source,
        )


class StatisticsFileRecord(Entry):
    """The file of statistics that a prune used instead of text: its name, and its SHA-256."""

    name: str
    sha256: str


class MaskFileRecord(Entry):
    """The file of masks that was applied to this model as they are, no weight changed by them; the
    model they were chosen on, as the user named it then; and whether this model is known to be the
    same, by its files or its linears."""

    name: str
    sha256: str
    base: str
    same: bool


class HeldOutRecord(Entry):
    """Windows of one language that a recovery was judged on: how many, and the mean divergence from
    the dense model, in nats a token, before and after it."""

    windows: int
    before: float
    after: float


class RecoveryRecord(Entry):
    """How the kept weights of a pruned model learnt from a dense one.

    Attributes:
        pruned, dense: the models as the user named them; their files mapped to SHA-256.
        settings: of the run, its ``seed`` too; background windows and ``dtype`` as asked for.
        steps: of the optimiser, at most where ``settings`` have a ``patience``; ``best_step`` is
            that of the state that was kept.
        text: what was learnt from, with what is ``held_out``: the last windows of each language.
        learnt: stored tensors with values of their own now, beside those that linears lie in.
    """

    pruned: str
    pruned_files: dict[str, str]
    dense: str
    dense_files: dict[str, str]
    settings: dict[str, Any]
    steps: int
    best_step: int
    compute_dtype: str
    text: CalibrationRecord
    held_out: dict[str, HeldOutRecord]
    learnt: tuple[str, ...]

    @property
    def worse(self) -> tuple[str, ...]:
        """Languages that ended further from the dense model than they began; background text is
        in none."""
        held = self.held_out.items()
        return tuple(tag for tag, one in held if one.after > one.before and tag != MULTIPLE)

    @property
    def length(self) -> str:
        """Its steps in words; with a patience it may have ended sooner."""
        most = "at most " if self.settings.get("patience") is not None else ""
        return most + steps_in_words(self.steps, self.settings["batch"])


class Totals(Entry):
    """Sparsity over the pruned linears and over the whole model, by mask positions."""

    linears: int
    weights: int
    pruned: int
    sparsity: float
    source_zeros: int
    model_weights: int
    model_sparsity: float

    @classmethod
    def of(cls, linears: Collection[LinearRecord], model_weights: int) -> Totals:
        """Of a model of so many weights."""
        weights = sum(record.shape[0] * record.shape[1] for record in linears)
        pruned = sum(record.pruned for record in linears)
        return cls(
            linears=len(linears),
            weights=weights,
            pruned=pruned,
            sparsity=pruned / weights if weights else 0.0,
            source_zeros=sum(record.source_zeros for record in linears),
            model_weights=model_weights,
            model_sparsity=pruned / model_weights if model_weights else 0.0,
        )


def weights_in(checkpoint: Checkpoint) -> int:
    """Number of weights of the whole model."""
    infos = checkpoint.tensors.values()
    return sum(i.nbytes // i.dtype.itemsize for i in infos if i.dtype.is_floating_point)


class TrimRecord(Entry):
    """A cut of the vocabulary: which rows of the tables stayed, and why.

    Attributes:
        by: ``script``, ``letters`` or ``text``; with ``allow_loss`` text may be split otherwise.
        languages, scripts: BCP-47 tags and ISO 15924 codes; ``also_scripts`` were asked for.
        text, budget: source that letters or tokens were chosen by, and how many tokens at most.
        keep_texts, multiple: how many texts keep their tokens; the number of rows is one of this.
        after: how many recoveries went before; None, as of ``multiple``, in older manifests.
        rows, kept: of the tables before; which of them stayed, as :func:`packed_rows` writes them.
        tensors: those that were cut -> how many rows they had.
    """

    by: str
    languages: tuple[str, ...]
    scripts: tuple[str, ...]
    also_scripts: tuple[str, ...] = ()
    text: str | None = None
    budget: int | None = None
    keep_texts: int = 0
    multiple: int | None = None
    allow_loss: bool = False
    after: int | None = None
    rows: int
    kept: str
    tensors: dict[str, int]

    @property
    def old_ids(self) -> list[int]:
        """New id -> old id."""
        return rows_of(self.kept, self.rows)


def packed_rows(kept: Collection[int], rows: int) -> str:
    """Row numbers as Base64 of zlib of one bit a row, the highest bit first."""
    bits = np.zeros(rows, dtype=bool)
    bits[sorted(kept)] = True
    return base64.b64encode(zlib.compress(np.packbits(bits).tobytes(), 9)).decode()


def rows_of(packed: str, rows: int) -> list[int]:
    """What :func:`packed_rows` was given, in ascending order."""
    raw = np.frombuffer(zlib.decompress(base64.b64decode(packed)), dtype=np.uint8)
    return [int(number) for number in np.flatnonzero(np.unpackbits(raw, count=rows))]
