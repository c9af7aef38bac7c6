"""``mwanda tasks``: accuracy in multiple-choice tasks, by lm-eval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from mwanda.evaluation.by_language import refuse_overlap
from mwanda.evaluation.tasks.accuracy import TaskScore, TasksResult
from mwanda.evaluation.tasks.harness import drawn, local_task, need_harness, run_task, wrapped
from mwanda.evaluation.tasks.published import TaskText
from mwanda.evaluation.tasks.reading import Given, read_tasks, stock_tasks
from mwanda.evaluation.texts import TextSet
from mwanda.evaluation.whole_model import opened_whole
from mwanda.model.run.plain_outputs import PlainOutputs
from mwanda.pruning.folder.known_text import Calibrations, KnownText
from mwanda.pruning.given_arguments import options_given
from mwanda.system.arguments import whole_given
from mwanda.system.device import dtype_name
from mwanda.system.run_options import RunOptions
from mwanda.system.speaking import speaking
from mwanda.system.surroundings import undisturbed
from mwanda.text.languages import tags_of
from mwanda.text.start import shown_start, start_of

BATCH = 8
"""Requests of one forward."""

ITEMS = 100


@speaking
@undisturbed()
def evaluate_tasks(
    model: Any,
    tasks: Given,
    *,
    languages: Sequence[str] | None = None,
    items: int | None = ITEMS,
    seed: int = 0,
    hub: bool = False,
    batch: int = BATCH,
    tokenizer: Any = None,
    calibration: KnownText = None,
    options: RunOptions | None = None,
) -> TasksResult:
    """Accuracy in tasks, by language, with lm-eval's prompts and log-likelihoods, zero-shot.

    Every language of a task is asked on its own, so that no number depends on what else is asked.

    Args:
        model: a folder, GGUF file or hub id; or a transformers model in memory with ``tokenizer``.
        tasks, languages, hub: see :func:`read_tasks`.
        items: most items a language, drawn by ``seed``; all by None. Files of one length give the
            same places, so XCOPA's languages are asked the same questions.
        batch: requests of one forward.
        calibration: as for :func:`mwanda.evaluation.evaluate.evaluate`.

    Raises:
        InputError: bad input, lm-eval is missing, files that calibrated the model, or a model that
            does not fit in memory whole.
    """
    options = options_given(options)
    for name, value, least in (("items", items, 1), ("batch", batch, 1), ("seed", seed, 0)):
        if value is not None:
            whole_given(name, value, least)
    need_harness()
    texts = read_tasks(tasks, languages, hub=hub)
    tags = None if languages is None else tags_of(languages)
    how: dict[str, Any] = {"items": items, "seed": seed, "batch": batch}
    refuse = partial(_refuse, texts, options)
    opened = opened_whole(model, tokenizer, calibration, options, refuse=refuse, verb="evaluate")
    with opened as (whole, tokenizer, name), PlainOutputs(whole)():
        return _run(whole, tokenizer, name, texts, tags, how, options)


def _refuse(
    texts: Mapping[str, TaskText | None], options: RunOptions, calibration: Calibrations
) -> None:
    """Refuse files that calibrated the model; what the hub has is not looked at."""
    for text in texts.values():
        if text is not None:
            found = {
                tag: ["\n".join(v for v in doc.values() if isinstance(v, str)) for doc in rows]
                for tag, rows in text.documents.items()
            }
            whole = TextSet(text.source, found, None, text.sha256)
            refuse_overlap(whole, calibration, options)


def _run(
    model: Any,
    tokenizer: Any,
    name: str,
    texts: Mapping[str, TaskText | None],
    tags: Sequence[str] | None,
    how: Mapping[str, Any],
    options: RunOptions,
) -> TasksResult:
    lm = wrapped(model, tokenizer, how["batch"])
    scores: dict[str, dict[str, TaskScore]] = {}
    sources: dict[str, dict[str, str]] = {}
    for task, text in texts.items():
        if text is None:
            made = stock_tasks(task, tags)
            there = {tag: len(one.eval_docs) for tag, one in made.items()}
            sources[task] = {"path": "the hub", "sha256": ""}
        else:
            made = {tag: local_task(task, tag, rows) for tag, rows in text.documents.items()}
            there = {tag: len(rows) for tag, rows in text.documents.items()}
            sources[task] = {"path": text.source, "sha256": text.sha256}
        options.progress.stage(f"task {task}", len(made), unit="language")
        scores[task] = {}
        for tag, one in made.items():
            ids = drawn(how["items"], there[tag], how["seed"])
            scores[task][tag] = run_task(lm, task, tag, one, ids)
            options.progress.block(len(ids))
    settings = {
        **how,
        "compute_dtype": dtype_name(next(model.parameters()).dtype),
        "bos": shown_start(start_of(tokenizer), "before every text"),
        "harness": next(one.harness for rows in scores.values() for one in rows.values()),
    }
    return TasksResult(name, scores, sources, settings)
