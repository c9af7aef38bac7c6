"""What pruning costs in tasks: XCOPA and XWinograd through lm-eval, from their published files.

Every model is asked the same items, drawn by ``--seed``. Each finished piece (model, task,
language) is kept in ``--work``, so a run can be stopped anywhere, or made in pieces with
``--minutes``. ``--direct N`` also runs XCOPA by ``lm_eval.simple_evaluate`` on the saved folders,
with a task file of its own and lm-eval's own functions for prompts, and compares every item.
"""

from __future__ import annotations

import argparse
import json
import logging
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
import yaml
from scipy.stats import binomtest

from harness import RESULTS, Table, kept, parsed, save
from mwanda.evaluation.score_tasks import evaluate_tasks
from mwanda.evaluation.tasks.harness import drawn
from mwanda.evaluation.tasks.published import TaskText, read_task
from mwanda.evaluation.whole_model import load_whole
from mwanda.model.source import load_tokenizer
from mwanda.pruning.folder.manifest import MANIFEST, read_manifest
from mwanda.study.report.task_table import accuracy, mean_accuracy
from mwanda.system.device import choose_device
from mwanda.system.run_options import RunOptions
from mwanda.text.languages import display_name, parse_languages
from performance_table import fill_page
from real_models import add_comparing_options, folders_given, piece_of

FILES = {"xcopa": "xcopa", "xwinograd": "xwinograd/dataset.tsv"}
BATCH = 8
CERTAIN = 0.05


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="has xcopa/ and xwinograd/")
    add_comparing_options(parser, "tasks")
    parser.add_argument("--tasks", nargs="+", default=list(FILES), choices=list(FILES))
    parser.add_argument("--languages", help="tags with commas between; all by default")
    parser.add_argument("--items", type=int, default=100, help="most items a language")
    parser.add_argument("--direct", type=int, default=0, metavar="N",
                        help="items a language of XCOPA by lm-eval called directly")  # fmt: skip
    parser.add_argument("--device", default="cpu")
    given = parsed(parser)
    tags = parse_languages(given.languages) if given.languages else None
    texts = {task: read_task(task, given.data / FILES[task]) for task in given.tasks}
    pieces = Pieces(given)
    found: dict[str, Any] = {}
    direct: dict[str, Any] = {}
    for name, folder in models(given).items():
        for task, text in texts.items():
            for tag in chosen(text, tags):
                row = pieces.of(name, folder, text, tag, given.items)
                if row is None:
                    return
                found.setdefault(task, {}).setdefault(tag, {})[name] = row
        for tag in chosen(texts["xcopa"], tags) if given.direct and "xcopa" in texts else ():
            ours = pieces.of(name, folder, texts["xcopa"], tag, given.direct)
            theirs = ours and pieces.direct_of(name, folder, texts["xcopa"], tag)
            if ours is None or theirs is None:
                return
            direct.setdefault(name, {})[tag] = compared(ours, theirs)
    data = {
        "items": given.items, "seed": given.seed, "device": given.device, "batch": BATCH,
        "sources": {task: text.sha256 for task, text in texts.items()},
        "tasks": {task: {tag: {name: _short(row) for name, row in rows.items()}
                         for tag, rows in by_tag.items()} for task, by_tag in found.items()},
        "direct": direct,
    }  # fmt: skip
    save(given.results, data, tables=tables(found, direct))
    if given.page.is_file() and given.results == RESULTS / "tasks.json":
        fill_page(given.page, given.results.parent)


def chosen(text: TaskText, tags: Sequence[str] | None) -> list[str]:
    """The languages of a task that are asked."""
    return [tag for tag in text.documents if tags is None or tag in tags]


def models(given: argparse.Namespace) -> dict[str, Path]:
    """Name -> folder."""
    named = {} if given.dense is None else {"dense": given.dense}
    named |= folders_given(given.made)
    if not named:
        raise SystemExit("expected --dense or --made")
    return named


class Pieces:
    """Scores of one model in one language, each kept in a file of its own."""

    def __init__(self, given: argparse.Namespace) -> None:
        self._given = given
        self._end = time.monotonic() + 60 * given.minutes
        self._options = RunOptions(compute_dtype="float32", device=given.device)
        # Of one model at a time, and of none whose pieces are all there.
        self._loaded = cache_last(partial(_load, options=self._options))

    def of(
        self, name: str, folder: Path, text: TaskText, tag: str, items: int
    ) -> dict[str, Any] | None:
        """mwanda's; None where the time is over."""
        return self._kept(name, folder, text, tag, items, "", self._measure)

    def direct_of(self, name: str, folder: Path, text: TaskText, tag: str) -> dict[str, Any] | None:
        """lm-eval's, called directly."""
        return self._kept(name, folder, text, tag, self._given.direct, "direct.", self._call)

    def _kept(
        self, name: str, folder: Path, text: TaskText, tag: str, items: int, kind: str,
        measure: Callable[..., dict[str, Any]],
    ) -> dict[str, Any] | None:  # fmt: skip
        told = [text.sha256, tag, items, self._given.seed, self._given.device]
        made_of = piece_of(name, folder, f"{text.task}.{tag}", told)
        piece: Path = self._given.work / f"{kind}{made_of}"
        if not piece.is_file():
            if time.monotonic() > self._end:
                print("stopped by --minutes; run again to go on")
                return None
            start = time.monotonic()
            made = kept(piece, partial(measure, folder, text, tag, items))
            seconds = time.monotonic() - start
            print(
                f"{kind}{name}, {text.task}, {tag}: {accuracy(made)}, {seconds:.0f} s", flush=True
            )
        return kept(piece, dict)

    def _measure(self, folder: Path, text: TaskText, tag: str, items: int) -> dict[str, Any]:
        model, tokenizer = self._loaded(folder)
        manifest = folder / MANIFEST
        calibration = read_manifest(folder).calibration if manifest.is_file() else None
        result = evaluate_tasks(
            model, {text.task: text}, languages=[tag], items=items, seed=self._given.seed,
            batch=BATCH, tokenizer=tokenizer, calibration=calibration, options=self._options,
        )  # fmt: skip
        return result.scores[text.task][tag].as_dict()

    def _call(self, folder: Path, text: TaskText, tag: str, items: int) -> dict[str, Any]:
        """A task file in the work folder, as lm-eval's guide has it, and one call."""
        import lm_eval.tasks

        logging.getLogger("lm_eval").setLevel(logging.ERROR)
        stock = Path(str(lm_eval.tasks.__file__)).parent / "xcopa/utils.py"
        made = self._given.work / f"task.{tag}"
        made.mkdir(exist_ok=True)
        shutil.copy(stock, made / "utils.py")
        rows = text.documents[tag]
        ids = drawn(items, len(rows), self._given.seed)
        lines = [json.dumps(rows[one], ensure_ascii=False) + "\n" for one in ids]
        (made / "items.jsonl").write_text("".join(lines), encoding="utf-8")
        fields = {
            "task": f"direct_{tag}", "dataset_path": "json", "output_type": "multiple_choice",
            "dataset_kwargs": {"data_files": {"test": str((made / "items.jsonl").resolve())},
                               "cache_dir": str((made / "cache").resolve())},
            "test_split": "test", "doc_to_target": "label",
            "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
        }  # fmt: skip
        functions = (f"doc_to_text: !function utils.doc_to_text_{tag}\n"
                     "doc_to_choice: !function utils.doc_to_choice\n")  # fmt: skip
        (made / "task.yaml").write_text(yaml.safe_dump(fields) + functions, encoding="utf-8")
        manager = lm_eval.tasks.TaskManager(include_defaults=False, include_path=str(made))
        found = lm_eval.simple_evaluate(
            model="hf", model_args=f"pretrained={folder},dtype=float32", tasks=[f"direct_{tag}"],
            device=self._given.device, batch_size=BATCH, task_manager=manager, bootstrap_iters=1,
        )  # fmt: skip
        row, samples = found["results"][f"direct_{tag}"], found["samples"][f"direct_{tag}"]
        error = row["acc_stderr,none"]
        return {
            "accuracy": row["acc,none"],
            "stderr": None if isinstance(error, str) else error,
            "items": len(samples),
            "ids": ids,
            "correct": [int(one["acc"]) for one in samples],
            "log_likelihoods": [[one[0] for one in s["filtered_resps"]] for s in samples],
        }


def cache_last(load: Callable[[Path], Any]) -> Callable[[Path], Any]:
    """Loaded once, and only the last one is held."""
    held: dict[Path, Any] = {}

    def get(folder: Path) -> Any:
        if folder not in held:
            held.clear()
            held[folder] = load(folder)
        return held[folder]

    return get


def _load(folder: Path, options: RunOptions) -> tuple[Any, Any]:
    device = choose_device(options.device)
    return load_whole(folder, torch.float32, device, options), load_tokenizer(folder)


def compared(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, Any]:
    """Two runs of the same items, item by item."""
    pairs = list(zip(ours["log_likelihoods"], theirs["log_likelihoods"], strict=True))
    assert ours["ids"] == theirs["ids"]
    return {
        "items": len(pairs),
        "accuracy": [ours["accuracy"], theirs["accuracy"]],
        "stderr": [ours["stderr"], theirs["stderr"]],
        "choices_differ": sum(a.index(max(a)) != b.index(max(b)) for a, b in pairs),
        "log_likelihoods_differ": sum(a != b for a, b in pairs),
        "largest_difference": max(
            abs(x - y) for a, b in pairs for x, y in zip(a, b, strict=True)
        ),
    }  # fmt: skip


def _short(row: Mapping[str, Any]) -> dict[str, Any]:
    """Without log-likelihoods, and the items on one line each."""
    shown = {name: row[name] for name in ("accuracy", "stderr", "items", "harness",
                                          "prompt_sha256")}  # fmt: skip
    return shown | {"correct": "".join(map(str, row["correct"]))}


def tables(
    found: Mapping[str, Mapping[str, Mapping[str, Any]]], direct: Mapping[str, Mapping[str, Any]]
) -> list[Table]:
    """Language by model for every task; then what a direct call gave."""
    made = []
    for task, by_tag in found.items():
        names = list(next(iter(by_tag.values())))
        first = names[0]
        rows = []
        for tag in sorted(by_tag):
            cells = by_tag[tag]
            marked = [accuracy(cells[n]) + mark(cells[first], cells[n]) for n in names]
            rows.append([f"{display_name(tag)} ({tag})", str(cells[first]["items"]), *marked])
        means = [mean_accuracy({tag: by_tag[tag][n] for tag in by_tag}) for n in names]
        items = str(sum(by_tag[tag][first]["items"] for tag in by_tag))
        rows.append(["mean", items, *map(accuracy, means)])
        made.append(Table([task, "items", *names], rows))
    rows = [
        [name, str(len(by_tag)), *(str(sum(row[key] for row in by_tag.values())) for key in
         ("items", "choices_differ", "log_likelihoods_differ")),
         f"{max(row['largest_difference'] for row in by_tag.values()):.2g}"]
        for name, by_tag in direct.items()
    ]  # fmt: skip
    header = ["XCOPA by lm-eval directly", "languages", "items", "choices that differ",
              "items whose log-likelihoods differ", "largest difference"]  # fmt: skip
    return [*made, Table(header, rows)]


def mark(first: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """`` *`` where a model differs from the first by more than the choice of items explains: the
    exact sign test over items that only one of the two has right (McNemar), p < 0.05."""
    pairs = list(zip(first["correct"], other["correct"], strict=True))
    worse, better = pairs.count((1, 0)), pairs.count((0, 1))
    if not worse + better:
        return ""
    return " *" if binomtest(worse, worse + better).pvalue < CERTAIN else ""


if __name__ == "__main__":
    main()
