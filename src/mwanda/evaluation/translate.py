"""``mwanda translate``: few-shot translation of parallel sentences, scored by sacrebleu."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mwanda.evaluation.by_language import refuse_overlap
from mwanda.evaluation.decode import continue_ids
from mwanda.evaluation.generated import LanguageCheck, check_generated
from mwanda.evaluation.parallel import SHOTS, ParallelText, directions_of, read_parallel
from mwanda.evaluation.translation import (
    Direction,
    Scored,
    Translated,
    TranslationResult,
    cut,
    prompt_of,
    score,
    token_bound,
)
from mwanda.evaluation.whole_model import opened_whole
from mwanda.pruning.folder.known_text import Calibrations, KnownText
from mwanda.pruning.given_arguments import options_given
from mwanda.system.arguments import whole_given
from mwanda.system.device import dtype_name
from mwanda.system.extras import need
from mwanda.system.run_options import RunOptions
from mwanda.system.speaking import speaking
from mwanda.system.surroundings import undisturbed
from mwanda.text.start import shown_start, start_of
from mwanda.text.tokens import token_ids

BATCH = 8
"""Sentences that are generated at a time."""


@speaking
@undisturbed()
def translate(
    model: Any,
    text: str | Path | Mapping[str, Any] | ParallelText,
    directions: str | Sequence[str | Direction],
    *,
    sentences: int | None = None,
    shots: int = SHOTS,
    ids: tuple[int, int | None] | None = None,
    seed: int = 0,
    batch: int = BATCH,
    tokenizer: Any = None,
    calibration: KnownText = None,
    options: RunOptions | None = None,
) -> TranslationResult:
    """Translate sentences after a few examples, and score what comes out.

    Decoding is greedy, ends at the first line feed, and at twice the reference's tokens and 16.

    Args:
        model: a folder, GGUF file or hub id; or a transformers model in memory with ``tokenizer``.
        text: a source, or what :func:`read_parallel` read before with the same directions.
        directions, sentences, shots, ids, seed: see there.
        batch: sentences that are generated at a time.
        calibration: as for :func:`mwanda.evaluation.evaluate.evaluate`.

    Raises:
        InputError: bad input, a library that is missing, text that calibrated the model, or a
            model that does not fit in memory whole.
    """
    options = options_given(options)
    whole_given("batch", batch, 1)
    need("sacrebleu", "BLEU and chrF++", "translation")
    check = LanguageCheck()
    if isinstance(text, ParallelText):
        parallel, chosen = text, directions_of(directions)
    else:
        parallel, chosen = read_parallel(
            text, directions, sentences=sentences, shots=shots, ids=ids, seed=seed
        )

    def refuse(known: Calibrations) -> None:
        refuse_overlap(parallel.texts, known, options)

    opened = opened_whole(model, tokenizer, calibration, options, refuse=refuse, verb="generate")
    with opened as (whole, tokenizer, name):
        return _translate(whole, tokenizer, name, parallel, chosen, batch, check, options)


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
    start = start_of(tokenizer)
    found = {}
    for direction in directions:
        options.progress.stage(
            f"translate {direction}", -(-len(parallel.scored) // batch), unit="batch"
        )
        found[str(direction)] = _one_direction(
            model, tokenizer, parallel, direction, batch, check, options, start
        )
    settings = {
        "bos": shown_start(start, "before every text"),
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
    start: Sequence[int],
) -> Scored:
    sources, targets = (parallel.sentences[tag] for tag in (direction.source, direction.target))
    shots = [(sources[one], targets[one]) for one in parallel.shots]
    asked = [prompt_of(direction, shots, sources[one]) for one in parallel.scored]
    prompts = [[*start, *token_ids(tokenizer, prompt)] for prompt in asked]
    bounds = [token_bound(len(token_ids(tokenizer, targets[one]))) for one in parallel.scored]
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
