"""The texts of a study: those that are scored, and those that are translated."""

from __future__ import annotations

from typing import Any

from mwanda.errors import InputError
from mwanda.evaluation.generated import need
from mwanda.evaluation.parallel import ParallelText, read_parallel
from mwanda.evaluation.texts import TextSet, parse_ids
from mwanda.evaluation.translation import Direction
from mwanda.jobs.evaluate import read_texts
from mwanda.study.document import EvaluationPart

__all__ = ["generation_settings", "study_parallel", "study_texts"]


def study_texts(part: EvaluationPart) -> TextSet:
    """What ``evaluation`` scores.

    Raises:
        InputError: unreadable text, or neighbours without numbers.
    """
    ids = None if part.ids is None else parse_ids(part.ids)
    texts = read_texts(part.text, part.languages, sentences=part.sentences, seed=part.seed, ids=ids)
    if part.neighbours and not all(isinstance(one, int) for one in texts.ids or ("",)):
        raise InputError(
            "neighbours", expected="parallel text with a number as id in every record",
            found="other text", fix="leave it out",
        )  # fmt: skip
    return texts


def study_parallel(part: EvaluationPart) -> tuple[ParallelText, list[Direction]] | None:
    """What ``evaluation.translation`` translates; None where nothing is.

    Raises:
        InputError: a missing library, or text that is not there.
    """
    given = part.translation
    if given is None:
        return None
    need("sacrebleu", "translation")
    need("py3langid", "translation")
    return read_parallel(
        part.text, given.directions, sentences=given.sentences, shots=given.shots,
        ids=None if part.ids is None else parse_ids(part.ids), seed=part.seed,
    )  # fmt: skip


def generation_settings(
    part: EvaluationPart, parallel: tuple[ParallelText, list[Direction]] | None
) -> dict[str, Any]:
    """What cells depend on where something is generated; nothing where it is not, so that the keys
    of studies without it stay what they were.

    Raises:
        InputError: a missing library.
    """
    found: dict[str, Any] = {}
    if parallel is not None:
        text, directions = parallel
        found["translation"] = {
            "directions": [str(one) for one in directions],
            "sentences": list(text.scored),
            "shots": list(text.shots),
            "text_sha256": text.sha256,
        }
    if part.continuations:
        need("py3langid", "continuations")
        found["continuations"] = part.continuations
    return found
