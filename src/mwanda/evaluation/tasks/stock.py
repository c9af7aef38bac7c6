"""lm-eval's own task files by their names, whose data it fetches from the hub."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mwanda.errors import InputError, nearest
from mwanda.evaluation.tasks.harness import silent
from mwanda.text.languages import canonical

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
