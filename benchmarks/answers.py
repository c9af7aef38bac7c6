"""What models answer in tasks, and what they write when asked to translate.

Every model is asked the same items of XCOPA and XWinograd, and translates the same FLORES
sentences, ids from 1000, after the same five examples, greedily. What was asked of a folder is kept
in ``--work`` under its name.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from harness import Table, kept, options_of, parsed, save
from mwanda.study.report.score_tables import HEADER, accuracy, direction_row, mean_accuracy
from mwanda.text.languages import display_name
from processes import call

TASKS = {"xcopa": "xcopa", "xwinograd": "xwinograd/dataset.tsv"}
DIRECTIONS = ("en-de", "de-en", "en-hi", "hi-en")

Answers = Mapping[str, Mapping[str, Any]]
"""Model -> what ``mwanda tasks`` and ``mwanda translate`` found, under these names."""


def tasks(given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    words = [word for name, path in TASKS.items()
             for word in ("--task", f"{name}={given.data / path}")]  # fmt: skip
    return dict(call(given, "tasks", folder, *words, "--items", given.items, "--json").output)


def translations(given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    words = [word for one in DIRECTIONS for word in ("--direction", one)]
    text = ["--text", given.data / "flores", "--sentences", given.sentences, "--ids", "1000:"]
    return dict(call(given, "translate", folder, *words, *text, "--json").output)


def task_table(found: Answers, task: str) -> Table:
    models = [one["tasks"]["tasks"][task] for one in found.values()]
    rows = [
        [display_name(tag), str(one["items"]), *(accuracy(model[tag]) for model in models)]
        for tag, one in models[0].items()
    ]
    items = sum(one["items"] for one in models[0].values())
    rows.append(["mean", str(items), *(accuracy(mean_accuracy(model)) for model in models)])
    return Table([task, "items", *found], rows)


def translation_table(found: Answers) -> Table:
    rows = [
        [direction, name, *direction_row(one["translate"]["directions"][direction])]
        for direction in DIRECTIONS
        for name, one in found.items()
    ]
    return Table(["direction", "model", *HEADER], rows)


def first_sentences(found: Answers) -> Table:
    def sentence(model: str, direction: str) -> dict[str, Any]:
        return dict(found[model]["translate"]["directions"][direction]["sentences"][0])

    rows = []
    for direction in DIRECTIONS:
        reference = sentence(next(iter(found)), direction)["reference"]
        rows.append([direction, "a person", reference])
        rows += [[direction, model, sentence(model, direction)["output"]] for model in found]
    return Table(["direction", "by", "the first sentence"], rows)


def main() -> None:
    parser = options_of(__doc__, "answers", "xcopa/, xwinograd/ and flores/")
    parser.add_argument("--folders", nargs="+", required=True, metavar="NAME=FOLDER")
    parser.add_argument("--items", type=int, default=100, help="a language of a task")
    parser.add_argument("--sentences", type=int, default=60, help="a direction")
    parser.set_defaults(threads=1)
    given = parsed(parser)
    found: dict[str, dict[str, Any]] = {}
    for name, _, place in (one.rpartition("=") for one in given.folders):
        print(name, flush=True)
        ways, folder = {"tasks": tasks, "translate": translations}, Path(place)
        found[name] = {
            what: kept(given.work / f"{folder.name}-{what}.json", partial(way, given, folder))
            for what, way in ways.items()
        }
    tables = [*(task_table(found, task) for task in TASKS), translation_table(found)]
    save(given.results, {}, tables=[*tables, first_sentences(found)])


if __name__ == "__main__":
    main()
