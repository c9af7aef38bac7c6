"""XCOPA by mwanda beside XCOPA by lm-eval itself, item by item."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import yaml

import mwanda
from mwanda.evaluation.tasks.harness import drawn
from mwanda.evaluation.tasks.published import read_task
from tests.support.tasks import write_xcopa

TAG, ITEMS, SEED = "et", 4, 1


def test_log_likelihoods_are_lm_evals_own(tiny: Callable[..., Path], tmp_path: Path) -> None:
    """A task file as lm-eval's guide has it, on the saved folder, with its own functions."""
    import lm_eval
    import lm_eval.tasks

    folder = tiny("llama")
    rows = read_task("xcopa", write_xcopa(tmp_path / "xcopa", [TAG])).documents[TAG]
    ids = drawn(ITEMS, len(rows), SEED)
    task = tmp_path / "task"
    task.mkdir()
    shutil.copy(Path(str(lm_eval.tasks.__file__)).parent / "xcopa/utils.py", task / "utils.py")
    (task / "items.jsonl").write_text("".join(json.dumps(rows[one]) + "\n" for one in ids))
    fields = {
        "task": "direct", "dataset_path": "json", "output_type": "multiple_choice",
        "dataset_kwargs": {"data_files": {"test": str(task / "items.jsonl")},
                           "cache_dir": str(task / "cache")},
        "test_split": "test", "doc_to_target": "label",
        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
    }  # fmt: skip
    (task / "task.yaml").write_text(
        yaml.safe_dump(fields) + f"doc_to_text: !function utils.doc_to_text_{TAG}\n"
        "doc_to_choice: !function utils.doc_to_choice\n"
    )
    found = lm_eval.simple_evaluate(
        model="hf", model_args=f"pretrained={folder},dtype=float32", tasks=["direct"],
        device="cpu", batch_size=8, bootstrap_iters=1,
        task_manager=lm_eval.tasks.TaskManager(include_defaults=False, include_path=str(task)),
    )  # fmt: skip
    asked = mwanda.evaluate_tasks(
        folder, {"xcopa": tmp_path / "xcopa"}, items=ITEMS, seed=SEED
    ).scores["xcopa"][TAG]
    theirs = found["samples"]["direct"]
    assert list(asked.ids) == ids
    assert [list(row) for row in asked.log_likelihoods] == [
        [one[0] for one in item["filtered_resps"]] for item in theirs
    ]
    assert [int(one) for one in asked.correct] == [int(item["acc"]) for item in theirs]
    row = found["results"]["direct"]
    assert (asked.accuracy, asked.stderr) == (row["acc,none"], row["acc_stderr,none"])
