"""From scores of texts to an evaluation: put together by language, and what is refused of texts."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

from mwanda.errors import DataError, InputError
from mwanda.evaluation.cache import Scores
from mwanda.evaluation.language import LanguageResult
from mwanda.evaluation.likelihood import TextScore
from mwanda.evaluation.results import Evaluation
from mwanda.evaluation.texts import TextSet
from mwanda.pruning.folder.known_text import Calibrations
from mwanda.pruning.folder.manifest import background_in, seen_in
from mwanda.system.run_options import RunOptions
from mwanda.text.languages import seen_among
from mwanda.text.shared_sentences import overlap, unpack_hashes

log = logging.getLogger("mwanda")


def flat(texts: TextSet) -> list[str]:
    """All texts, language after language: the order that scores come in."""
    return [text for group in texts.texts.values() for text in group]


def by_language(
    texts: TextSet, scored: Sequence[TextScore], settings: Mapping[str, Any], name: str
) -> Scores:
    """Every language's result, out of one score a text in the order of :func:`flat`."""
    languages, start = {}, 0
    for tag, group in texts.texts.items():
        own = scored[start : start + len(group)]
        start += len(group)
        languages[tag] = LanguageResult(
            tag,
            tuple(score.nll for score in own),
            sum(score.tokens for score in own),
            sum(score.size for score in own if score.tokens),
            sum(not score.tokens for score in own),
        )
    broken = [tag for tag, result in languages.items() if not math.isfinite(result.nll)]
    if broken:
        raise DataError(
            f"{name}, language {broken[0]}",
            expected="a finite negative log-likelihood",
            found=f"NaN or infinity ({len(broken)} such languages)",
            fix="check the weights with mwanda verify, or compute in float32",
        )
    return Scores(languages, dict(settings))


def refuse_unscored(texts: TextSet, name: str, counts: Sequence[int]) -> None:
    """Say which texts have nothing to score, and refuse languages that have nothing else."""
    problems, left, start = [], [], 0
    for tag, group in texts.texts.items():
        empty = sum(not count for count in counts[start : start + len(group)])
        start += len(group)
        if empty == len(group):
            problems.append(
                f"{texts.source}, {tag}: expected text of which {name} can score something, found "
                f"{empty} texts without a token that has a token before it; give longer text"
            )
        elif empty:
            left.append(f"{tag} {empty} of {len(group)}")
    if problems:
        raise InputError.several(problems)
    if left:
        log.warning("%s: texts of which nothing can be scored, left out: %s", name, ", ".join(left))


def evaluation_of(
    name: str, texts: TextSet, scores: Scores, calibrations: Calibrations
) -> Evaluation:
    named, others = seen_in(calibrations), background_in(calibrations)
    seen, pooled = (seen_among(scores.languages, tags) for tags in (named, others))
    return Evaluation(
        name,
        scores.languages,
        seen,
        texts.source,
        texts.sha256,
        scores.settings | {"seed": texts.seed},
        ids=texts.own_ids,
        background=tuple(tag for tag in pooled if tag not in seen),
        calibrated=bool(named or others),
    )


def refuse_overlap(texts: TextSet, calibrations: Calibrations, options: RunOptions) -> None:
    """Refuse texts that calibrated the model, by whichever prune."""
    if options.allow_overlap:
        return
    draws = [draw for record in calibrations for draw in record.languages.values()]
    drawn = [unpack_hashes(draw.sentences) for draw in draws]
    if not all(drawn):
        log.warning("what calibrated the model is not known: overlap cannot be checked")
    known = frozenset().union(*drawn)
    problems = []
    for tag, group in texts.texts.items():
        shared = overlap(group, known)
        if shared:
            problems.append(
                f"{texts.source}, {tag}: expected text that did not calibrate the model, found "
                f"{len(shared)} of {len(group)} texts that share sentences with it, first number "
                f"{shared[0] + 1}; evaluate on other text, or pass --allow-overlap, "
                "in Python RunOptions(allow_overlap=True)"
            )
    if problems:
        raise InputError.several(problems)
