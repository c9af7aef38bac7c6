"""lm-eval (https://github.com/EleutherAI/lm-evaluation-harness), called for one task in one
language: our own task files for documents in memory, its prompts, its log-likelihoods."""

from __future__ import annotations

import hashlib
import importlib
import json
import logging
import math
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from threading import RLock
from typing import Any

from mwanda.errors import DataError, InputError
from mwanda.evaluation.tasks.accuracy import TaskScore
from mwanda.model.run.context import context_of
from mwanda.system.extras import need
from mwanda.text.start import start_of
from mwanda.text.tokens import token_ids

Document = dict[str, Any]

_IN_LM_EVAL = RLock()

CONNECTORS = {
    "et": ("sest", "seetõttu"),
    "ht": ("poukisa", "donk sa"),
    "id": ("karena", "maka"),
    "it": ("perché", "quindi"),
    "qu": ("imataq", "chaymi"),
    "sw": ("kwa sababu", "kwa hiyo"),
    "ta": ("காரணமாக", "எனவே"),
    "th": ("เพราะ", "ดังนั้น"),
    "tr": ("çünkü", "bu yüzden"),
    "vi": ("bởi vì", "vì vậy"),
    "zh": ("因为", "所以"),
}
"""XCOPA: what stands before a cause and before an effect, as lm-eval's task files have it."""

STANDARD_ERROR = 1
"""lm-eval computes standard errors for 1 and more; an accuracy's by a formula, whatever it is."""


def need_harness() -> None:
    """Refuse to begin without lm-eval."""
    for name in ("lm_eval", "accelerate"):
        need(name, "tasks", "eval")


def harness_version() -> str:
    """Of the lm-eval that is installed."""
    from importlib.metadata import version

    return version("lm_eval")


def drawn(items: int | None, there: int, seed: int) -> list[int]:
    """Places of the items that are asked, in order; of files of one length always the same."""
    if items is None or items >= there:
        return list(range(there))
    return sorted(random.Random(seed).sample(range(there), items))


def wrapped(model: Any, tokenizer: Any, batch: int) -> Any:
    """A transformers model as lm-eval takes it: texts begin as everywhere else, end with nothing,
    and are no longer than the model's context."""
    start = start_of(tokenizer)
    with silent():
        from lm_eval.models.huggingface import HFLM

        class _Model(HFLM):
            def tok_encode(
                self,
                string: str,
                add_special_tokens: bool | None = None,
                left_truncate_len: int | None = None,
                **_: Any,
            ) -> list[int]:
                first = [] if add_special_tokens is False else start
                ids = [*first, *token_ids(tokenizer, string)]
                return ids[-left_truncate_len:] if left_truncate_len else ids

        return _Model(
            pretrained=model,
            tokenizer=tokenizer,
            batch_size=batch,
            max_length=context_of(model),
            prefix_token_id=start[-1] if start else None,
        )


def local_task(task: str, tag: str, documents: Sequence[Document]) -> Any:
    """An lm-eval task over documents in memory."""
    prompts = _xcopa_prompts(tag) if task == "xcopa" else XWINOGRAD
    with silent():
        from datasets import Dataset
        from lm_eval.api.task import ConfigurableTask

        rows = Dataset.from_list([dict(one) for one in documents])
        config = {
            "task": f"{task}_{tag}",
            "custom_dataset": lambda **_: {"test": rows},
            "test_split": "test",
            "output_type": "multiple_choice",
            "num_fewshot": 0,
            "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
            **prompts,
        }
        return ConfigurableTask(config=config)


def run_task(lm: Any, task: str, tag: str, made: Any, ids: Sequence[int]) -> TaskScore:
    """Ask a model a task's items.

    Args:
        lm: from :func:`wrapped`.
        task, tag: what the result is called.
        made: the lm-eval task.
        ids: places of the items in it.
    """
    name = made.task_name
    with silent():
        from lm_eval import evaluate

        try:
            found = evaluate(
                lm=lm,
                task_dict={"tasks": {name: made}},
                samples={name: list(ids)},
                bootstrap_iters=STANDARD_ERROR,
            )
        except AssertionError as error:  # how lm-eval refuses an answer it cannot score
            raise InputError(
                f"{task}, {tag}", expected="answers of at least one token that the model has room "
                "for", found="another", fix="leave the language out by --languages",
            ) from error  # fmt: skip
    row, samples = found["results"][name], found["samples"][name]
    # Stock tasks can have several filters; each counts every item again.
    kind = next(key for key in row if key.startswith("acc,"))
    samples = [one for one in samples if one["filter"] == kind.partition(",")[2]]
    told = json.dumps([[list(args) for args in one["arguments"]] for one in samples],
                      ensure_ascii=False)  # fmt: skip
    likelihoods = tuple(
        tuple(float(answer[0]) for answer in one["filtered_resps"]) for one in samples
    )
    broken = sum(not all(map(math.isfinite, answers)) for answers in likelihoods)
    if broken:
        raise DataError(
            f"{task}, {tag}",
            expected="finite log-likelihoods of all answers",
            found=f"NaN or infinity in {broken} of {len(samples)} items",
            fix="check the weights with mwanda verify, or compute in float32",
        )
    stderr = row.get(kind.replace("acc,", "acc_stderr,"))
    return TaskScore(
        task,
        tag,
        float(row[kind]),
        float(stderr) if isinstance(stderr, int | float) else None,
        tuple(int(one["doc_id"]) for one in samples),
        tuple(bool(one["acc"]) for one in samples),
        likelihoods,
        harness_version(),
        hashlib.sha256(told.encode()).hexdigest(),
    )


def _xcopa_prompts(tag: str) -> dict[str, Any]:
    if tag not in CONNECTORS:
        raise InputError(
            f"xcopa, language {tag!r}", expected=f"one of {', '.join(CONNECTORS)}", found=tag,
            fix="leave it out by --languages",
        )  # fmt: skip
    return {
        "doc_to_text": partial(_xcopa_text, connectors=CONNECTORS[tag]),
        "doc_to_target": "label",
        "doc_to_choice": _xcopa_choices,
    }


def _xcopa_text(doc: Document, connectors: tuple[str, str]) -> str:
    """The premise without its last sign, a full stop, and the connector."""
    word = connectors[0 if doc["question"] == "cause" else 1]
    return f"{doc['premise'].strip()[:-1]} {word}"


def _xcopa_choices(doc: Document) -> list[str]:
    return [doc[name][0].lower() + doc[name][1:] for name in ("choice1", "choice2")]


def _xwinograd_text(doc: Document) -> int:
    """Which answer is right: lm-eval takes a number for one continuation of several contexts."""
    return 0 if doc["answer"] == "1" else 1


def _xwinograd_target(doc: Document) -> str:
    return str(doc["sentence"].partition("_")[2].strip())


def _xwinograd_choices(doc: Document) -> list[str]:
    start = doc["sentence"].partition("_")[0]
    return [start + doc[name] for name in ("option1", "option2")]


XWINOGRAD = {
    "doc_to_text": _xwinograd_text,
    "doc_to_target": _xwinograd_target,
    "doc_to_choice": _xwinograd_choices,
}
"""Partial evaluation: what follows the pronoun, after the sentence with either candidate."""


@contextmanager
def silent() -> Iterator[None]:
    """Without lm-eval's warnings and bars, which are about its own options.

    They belong to the whole process, so one thread at a time is here.
    """
    with _IN_LM_EVAL:
        logger = logging.getLogger("lm_eval")
        level = logger.level
        logger.setLevel(logging.ERROR)
        names = ("lm_eval.api.task", "lm_eval.api.model", "lm_eval.models.huggingface")
        modules = [importlib.import_module(name) for name in names]
        bars = [vars(module)["tqdm"] for module in modules]

        def no_bar(*given: Any, **more: Any) -> Any:
            return bars[0](*given, **{**more, "disable": True})

        try:
            for module in modules:
                vars(module)["tqdm"] = no_bar
            yield
        finally:
            logger.setLevel(level)
            for module, bar in zip(modules, bars, strict=True):
                vars(module)["tqdm"] = bar
