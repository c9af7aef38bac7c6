"""Tasks as they are asked for: by files, or by the names of lm-eval's own task files, whose data it
fetches from the hub."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mwanda.errors import InputError, nearest
from mwanda.evaluation.tasks.harness import silent
from mwanda.evaluation.tasks.published import LOCAL, TaskText, read_task
from mwanda.text.languages import canonical, tags_of

Given = Mapping[str, "str | Path | TaskText | None"]
"""Name -> files, or None for the stock task of that name."""

STOCK = {
    "xnli": ("xnli", "xnli_"),
    "xstorycloze": ("xstorycloze", "xstorycloze_"),
    "xcopa": ("xcopa", "xcopa_"),
    "xwinograd": ("xwinograd", "xwinograd_"),
    "paws-x": ("paws-x", "paws_"),
    "m_mmlu": ("okapi/mmlu_multilingual", "m_mmlu_"),
    "belebele": ("belebele", "belebele_"),
    "lambada_mt": ("lambada_multilingual", "lambada_openai_mt_"),
}
"""Name -> folder among lm-eval's task files, and how the names of its languages' tasks begin."""

OWN_TAGS = {"jp": "ja", "vn": "vi"}


def parse_tasks(words: Sequence[str]) -> dict[str, str | None]:
    """``xcopa=FOLDER``, or ``xnli`` without files."""
    found: dict[str, str | None] = {}
    for word in words:
        name, sign, path = word.partition("=")
        if not name or (sign and not path):
            raise InputError(f"--task {word}", expected="NAME=PATH", found="one part of it")
        if name in found:
            raise InputError(f"--task {word}", expected="every task once", found=f"{name} twice")
        found[name] = path or None
    return found


def read_tasks(
    tasks: Given, languages: Sequence[str] | None = None, *, hub: bool = False
) -> dict[str, TaskText | None]:
    """The files of tasks, read and checked; None for those of the hub.

    Args:
        tasks: name -> folder or file; None for lm-eval's stock task of that name.
        languages: those asked for, by any common code; all by default.
        hub: whether stock tasks may be fetched.
    """
    if not tasks:
        raise InputError("--task", expected="at least one", found="none",
                         fix="e.g. --task xcopa=FOLDER")  # fmt: skip
    tags = None if languages is None else tags_of(languages)
    found: dict[str, TaskText | None] = {}
    problems: list[str] = []
    for name, given in tasks.items():
        try:
            if isinstance(given, TaskText):
                found[name] = given.only(tags)
            elif given is not None:
                found[name] = read_task(name, given, tags)
            elif hub:
                found[check_stock(name)] = None
            else:
                raise InputError(
                    f"--task {name}", expected="NAME=PATH", found="no path",
                    fix=f"give the files of {' or '.join(LOCAL)}, or pass --hub",
                )  # fmt: skip
        except InputError as error:
            problems.extend(error.problems)
    texts = [text for text in found.values() if text is not None]
    if len(texts) == len(tasks):  # what the hub has of a stock task is not known yet
        there = dict.fromkeys(tag for text in texts for tag in text.documents)
        strange = [tag for tag in tags or () if tag not in there]
        if strange:
            problems.append(
                f"--languages: expected languages of a task, {', '.join(there)}, found "
                f"{', '.join(strange)}"
            )
    if problems:
        raise InputError.several(problems)
    return found


def check_stock(name: str) -> str:
    """A name that :data:`STOCK` has."""
    if name not in STOCK:
        raise InputError(f"--task {name}", expected=f"one of {', '.join(STOCK)}", found=repr(name),
                         fix=nearest(name, STOCK))  # fmt: skip
    return name


@silent()
def stock_tasks(name: str, languages: Sequence[str] | None) -> dict[str, Any]:
    """Language -> lm-eval task. Only the folder of that name is indexed: all take long."""
    import lm_eval.tasks

    folder, start = STOCK[check_stock(name)]
    root = Path(str(lm_eval.tasks.__file__)).parent / folder
    manager = lm_eval.tasks.TaskManager(include_defaults=False, include_path=str(root))
    there: dict[str, str] = {}
    for task in manager.all_subtasks:
        if task.startswith(start):
            try:
                code = task.removeprefix(start)
                there.setdefault(canonical(OWN_TAGS.get(code, code)), task)
            except InputError:  # not a language, e.g. a variant of the task
                continue
    chosen = {tag: task for tag, task in there.items() if languages is None or tag in languages}
    if not chosen:
        raise InputError(f"{name}, --languages", expected=f"one of {', '.join(there)}",
                         found=", ".join(languages or ()) or "none")  # fmt: skip
    made = {}
    for tag, task in chosen.items():
        try:
            made[tag] = manager.load([task])["tasks"][task]
        except (OSError, ValueError, RuntimeError) as error:
            raise InputError(
                f"{name}, {tag}", expected="its data from the hub",
                found=" ".join(str(error).split())[:120],
                fix="go online, or give its files as NAME=PATH",
            ) from error  # fmt: skip
        if made[tag].get_config("num_fewshot") is None:
            made[tag].set_config(key="num_fewshot", value=0)
        made[tag].set_fewshot_seed(seed=1234)  # lm-eval's default
    return made
