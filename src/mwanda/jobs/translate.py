"""``mwanda translate``: few-shot translation of parallel sentences, scored by sacrebleu."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mwanda.device import dtype_name
from mwanda.evaluation.decode import continue_ids
from mwanda.evaluation.generated import LanguageCheck, check_generated
from mwanda.evaluation.parallel import SHOTS, ParallelText, read_parallel
from mwanda.evaluation.translation import (
    Direction,
    Scored,
    Translated,
    TranslationResult,
    cut,
    parse_direction,
    prompt_of,
    score,
    token_bound,
)
from mwanda.extras import need
from mwanda.jobs.evaluate import refuse_overlap
from mwanda.jobs.whole import opened_whole
from mwanda.manifest import CalibrationRecord
from mwanda.options import RunOptions
from mwanda.surroundings import undisturbed
from mwanda.text.windows import bos_rule

__all__ = ["translate"]

BATCH = 8
"""Sentences that are generated at a time."""


@undisturbed()
def translate(
    model: Any,
    text: str | Path | ParallelText,
    directions: Sequence[str | Direction],
    *,
    sentences: int | None = None,
    shots: int = SHOTS,
    ids: tuple[int, int | None] | None = None,
    seed: int = 0,
    batch: int = BATCH,
    tokenizer: Any = None,
    calibration: CalibrationRecord | None = None,
    options: RunOptions | None = None,
) -> TranslationResult:
    """Translate sentences after a few examples, and score what comes out.

    Decoding is greedy, ends at the first line feed, and at twice the reference's tokens and 16.

    Args:
        model: a folder, GGUF file or hub id; or a transformers model in memory with ``tokenizer``.
        text: a source, or what :func:`read_parallel` read before with the same directions.
        directions, sentences, shots, ids, seed: see there.
        batch: sentences that are generated at a time.
        calibration: as for :func:`mwanda.jobs.evaluate.evaluate`.

    Raises:
        InputError: bad input, a library that is missing, text that calibrated the model, or a
            model that does not fit in memory whole.
    """
    options = options or RunOptions()
    need("sacrebleu", "BLEU and chrF++", "translation")
    check = LanguageCheck()
    if isinstance(text, ParallelText):
        parallel, chosen = text, [_direction(d) for d in directions]
    else:
        parallel, chosen = read_parallel(
            text, directions, sentences=sentences, shots=shots, ids=ids, seed=seed
        )

    def refuse(known: CalibrationRecord | None) -> None:
        refuse_overlap(parallel.texts, known, options)

    with opened_whole(model, tokenizer, calibration, options, refuse=refuse, verb="generate") as (
        whole,
        tokenizer,
        name,
    ):
        return _translate(whole, tokenizer, name, parallel, chosen, batch, check, options)


def _direction(given: str | Direction) -> Direction:
    return given if isinstance(given, Direction) else parse_direction(given)


def _translate(
    model: Any,
    tokenizer: Any,
    name: str,
    parallel: ParallelText,
    directions: Sequence[Direction],
    batch: int,
    check: LanguageCheck,
    options: RunOptions,
) -> TranslationResult:
    bos = bos_rule(tokenizer)
    found = {}
    for direction in directions:
        options.progress.stage(f"translate {direction}", -(-len(parallel.scored) // batch))
        found[str(direction)] = _one_direction(
            model, tokenizer, parallel, direction, batch, check, options, bos
        )
    settings = {
        "bos": "none" if bos is None else f"before every text: id {bos}",
        "compute_dtype": dtype_name(next(model.parameters()).dtype),
        "seed": parallel.seed,
        "sentences": len(parallel.scored),
        "batch": batch,
    }
    return TranslationResult(
        name, parallel.source, found, parallel.shots, parallel.sha256, settings
    )


def _one_direction(
    model: Any,
    tokenizer: Any,
    parallel: ParallelText,
    direction: Direction,
    batch: int,
    check: LanguageCheck,
    options: RunOptions,
    bos: int | None,
) -> Scored:
    sources, targets = (parallel.sentences[tag] for tag in (direction.source, direction.target))
    shots = [(sources[one], targets[one]) for one in parallel.shots]

    def ids_of(text: str) -> list[int]:
        return list(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])

    first = [] if bos is None else [bos]
    prompts = [first + ids_of(prompt_of(direction, shots, sources[one])) for one in parallel.scored]
    bounds = [token_bound(len(ids_of(targets[one]))) for one in parallel.scored]
    made = continue_ids(
        model, tokenizer, prompts, bounds,
        batch=batch, done=options.progress.block, one_line=True,
    )  # fmt: skip
    outputs = [cut(tokenizer.decode(new, skip_special_tokens=True)) for new in made]
    references = [targets[one] for one in parallel.scored]
    bleu, chrf, signatures = score(outputs, references, direction.target)
    rows = zip(parallel.scored, references, outputs, strict=True)
    return Scored(
        direction, bleu, chrf, signatures,
        check_generated(outputs, direction.target, check),
        check_generated(references, direction.target, check),
        tuple(Translated(one, sources[one], reference, made) for one, reference, made in rows),
    )  # fmt: skip
