"""Tasks as they are asked for: by files, or by the names that lm-eval has for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from mwanda.errors import InputError
from mwanda.evaluation.tasks.published import LOCAL, TaskText, read_task
from mwanda.evaluation.tasks.stock import check_stock
from mwanda.text.languages import tags_of

Given = Mapping[str, "str | Path | TaskText | None"]
"""Name -> files, or None for the stock task of that name."""


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
