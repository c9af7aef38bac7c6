"""The texts of a study: those that are scored, those that are translated, and those of tasks."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from mwanda.errors import InputError
from mwanda.evaluation.articles import ARTICLE
from mwanda.evaluation.parallel import ParallelText, read_parallel
from mwanda.evaluation.tasks.harness import need_harness
from mwanda.evaluation.tasks.published import TaskText
from mwanda.evaluation.tasks.reading import read_tasks
from mwanda.evaluation.texts import TextSet, parse_ids, read_texts
from mwanda.evaluation.translation import Direction
from mwanda.study.document import EvaluationPart
from mwanda.system.extras import need
from mwanda.text.sources import placed_source


def placed(part: EvaluationPart, texts: TextSet) -> EvaluationPart:
    """The same with whole paths, for workers that begin elsewhere, and with what is an article."""
    more: dict[str, Any] = {"text": placed_source(part.text)}
    if part.neighbours is None and texts.ids is not None:
        more["neighbours"] = ARTICLE
    if part.tasks is not None:
        more["tasks"] = {name: os.path.abspath(path) for name, path in part.tasks.items()}
    return part.model_copy(update=more)


def study_texts(part: EvaluationPart) -> TextSet:
    """What ``evaluation`` scores."""
    ids = None if part.ids is None else parse_ids(part.ids)
    texts = read_texts(part.text, part.languages, sentences=part.sentences, seed=part.seed, ids=ids)
    if part.neighbours and texts.ids is None:
        raise InputError(
            "neighbours", expected="parallel text with an id in every record",
            found="other text", fix="leave it out",
        )  # fmt: skip
    return texts


def study_parallel(part: EvaluationPart) -> tuple[ParallelText, list[Direction]] | None:
    """What ``evaluation.translation`` translates; None where nothing is."""
    given = part.translation
    if given is None:
        return None
    need("sacrebleu", "translation", "translation")
    need("py3langid", "translation", "translation")
    return read_parallel(
        part.text, given.directions, sentences=given.sentences, shots=given.shots,
        ids=None if part.ids is None else parse_ids(part.ids), seed=part.seed,
    )  # fmt: skip


def generation_settings(
    part: EvaluationPart, parallel: tuple[ParallelText, list[Direction]] | None
) -> dict[str, Any]:
    """What cells depend on where something is generated; nothing where it is not, so that the keys
    of studies without it stay what they were.
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
        need("py3langid", "continuations", "translation")
        found["continuations"] = part.continuations
    return found


def study_tasks(part: EvaluationPart) -> dict[str, TaskText]:
    """The files of ``evaluation.tasks``; nothing where no task is asked."""
    if part.tasks is None:
        return {}
    need_harness()
    found = read_tasks(part.tasks, part.task_languages)
    return {name: text for name, text in found.items() if text is not None}


def task_settings(part: EvaluationPart, texts: Mapping[str, TaskText]) -> dict[str, Any]:
    """What cells depend on where tasks are asked; nothing where they are not."""
    if not texts:
        return {}
    asked = {name: text.sha256 for name, text in texts.items()}
    return {"tasks": {"sha256": asked, "items": part.task_items, "seed": part.seed}}
