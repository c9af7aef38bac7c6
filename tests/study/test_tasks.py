"""A study with tasks, and its report."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

import mwanda
from mwanda import InputError
from mwanda.evaluation.tasks.harness import harness_version
from mwanda.study.document import load_study
from mwanda.study.folder import StudyFolder
from mwanda.study.launch import start_study
from mwanda.study.report.write import FILES, write_report
from mwanda.study.study_plan import make_plan
from tests.study.helpers import Lab
from tests.study.report.helpers import Page
from tests.support.tasks import write_xcopa, write_xwinograd


@pytest.fixture
def tasks(tmp_path: Path) -> dict[str, str]:
    return {
        "xcopa": str(write_xcopa(tmp_path / "xcopa", ["et", "sw"])),
        "xwinograd": str(write_xwinograd(tmp_path / "dataset.tsv", ["en"])),
    }


def evaluation(lab: Lab, **fields: Any) -> dict[str, Any]:
    return {"text": str(lab.text), "languages": ["de", "hi"], **fields}


def test_a_study_and_its_report(lab: Lab, tasks: dict[str, str], tmp_path: Path) -> None:
    document = lab.document(
        criteria=["wanda"], sparsities=[0.5], evaluation=evaluation(lab, tasks=tasks, task_items=4)
    )
    found = start_study(document, lab.out)
    assert found.counts == {"done": 2, "failed": 0, "running": 0, "waiting": 0}, found.failures
    folder = StudyFolder(lab.out)
    cells = [folder.result(e["key"]) or {} for e in found.entries]
    plain = mwanda.evaluate_tasks(lab.models["tiny"], tasks, items=4)
    assert cells[0]["tasks"] == plain.as_dict()["tasks"]
    assert cells[1]["tasks"].keys() == tasks.keys()

    report = tmp_path / "report"
    write_report(lab.out, report)
    assert {p.name for p in report.iterdir()} == {*FILES, "tasks.csv"}
    page = (report / "report.md").read_text(encoding="utf-8")
    assert "## Tasks" in page
    assert "tiny: accuracy in xcopa, %, and its standard error" in page
    assert "the same 4 items a language for all" in page
    html = Page((report / "index.html").read_text(encoding="utf-8"))  # every element closed
    assert "Tasks" in " ".join(html.words)
    text = (report / "tasks.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(text.splitlines()))
    assert [(row["method"], row["task"], row["language"]) for row in rows] == [
        (method, *one)
        for method in ("dense", "wanda")
        for one in (("xcopa", "et"), ("xcopa", "sw"), ("xwinograd", "en"))
    ]
    assert float(rows[0]["accuracy"]) == plain.scores["xcopa"]["et"].accuracy
    assert rows[0]["harness"] == harness_version()


def test_keys(lab: Lab, tasks: dict[str, str]) -> None:
    plan = make_plan(lab.document(evaluation=evaluation(lab)))
    assert all("tasks" not in cell.settings for cell in plan.cells.values())
    same = make_plan(lab.document(evaluation=evaluation(lab, task_items=7)))
    assert plan.cells.keys() == same.cells.keys()
    asked = make_plan(lab.document(evaluation=evaluation(lab, tasks=tasks)))
    assert not plan.cells.keys() & asked.cells.keys()
    fewer = evaluation(lab, tasks=tasks, task_languages=["sw", "en"])
    narrow = make_plan(lab.document(evaluation=fewer))
    assert not asked.cells.keys() & narrow.cells.keys()
    assert list(narrow.read_tasks()["xcopa"].documents) == ["sw"]


def test_files_that_changed_since_the_plan(lab: Lab, tasks: dict[str, str]) -> None:
    plan = make_plan(lab.document(evaluation=evaluation(lab, tasks=tasks)))
    assert plan.read_tasks().keys() == tasks.keys()
    path = Path(tasks["xcopa"]) / "test.et.jsonl"
    path.write_text(path.read_text(encoding="utf-8").replace("fell", "rose"), encoding="utf-8")
    with pytest.raises(InputError, match="the tasks that the study was planned on"):
        plan.read_tasks()


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"tasks": {}}, "evaluation.tasks"),
        ({"tasks": {"xnli": "x"}}, "xnli: expected xcopa or xwinograd"),
        ({"task_items": 0}, "evaluation.task_items"),
        ({"task": {}}, "'tasks'"),
    ],
)
def test_mistakes(lab: Lab, fields: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError) as error:
        load_study(lab.document(evaluation=evaluation(lab, **fields)))
    assert any(says in problem for problem in error.value.problems), error.value.problems


def test_files_that_are_not_there_are_told_before_any_work(lab: Lab) -> None:
    given = evaluation(lab, tasks={"xcopa": "nowhere", "xwinograd": "nothing"})
    with pytest.raises(InputError) as error:
        make_plan(lab.document(evaluation=given))
    assert len(error.value.problems) == 2
    assert all("evaluation: x" in problem for problem in error.value.problems)
