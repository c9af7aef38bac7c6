"""What a study reads is hashed when it is used, and its keys hold what it is computed in."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from mwanda import InputError
from mwanda.study.folder import StudyFolder
from mwanda.study.report.data import load_results
from mwanda.study.study_plan import make_plan, read_plan
from mwanda.study.worker import Worker
from mwanda.system import device
from tests.study.helpers import Lab, Tiny, results


def planned(lab: Lab, **fields: Any) -> StudyFolder:
    """A study that is planned and not begun."""
    folder = StudyFolder(lab.out)
    folder.make()
    folder.write_plan(make_plan(lab.document(**fields)).model_dump(mode="json"))
    return folder


def problems(folder: StudyFolder) -> list[str]:
    found = [folder.failure(path.stem) for path in (folder.path / "failed").iterdir()]
    return [line for one in found if one is not None for line in one["problems"]]


def change_quietly(path: Path) -> None:
    """Other bytes, as many, and the old times."""
    stat, data = path.stat(), bytearray(path.read_bytes())
    data[-2] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def test_a_model_that_changed_after_planning_is_refused(lab: Lab, tmp_path: Path) -> None:
    model = tmp_path / "copy"
    shutil.copytree(lab.models["tiny"], model)
    folder = planned(lab, models={"tiny": str(model)})
    change_quietly(model / "model.safetensors")
    Worker(folder).run()
    assert not results(lab.out)
    assert len(problems(folder)) == 5
    assert all("the model that the study was planned on" in line for line in problems(folder))


@pytest.mark.parametrize("mode", ["dense", "sequential"])
def test_the_text_of_a_background_counts_and_its_place_does_not(
    lab: Lab, mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(lab.calibration, tmp_path / "background")
    (tmp_path / "background" / "de.txt").rename(tmp_path / "background" / "fr.txt")
    monkeypatch.chdir(tmp_path)
    recipe = {"windows": 2, "window_length": 32, "mode": mode, "background_windows": 2}
    fields: dict[str, Any] = {"criteria": ["wanda"], "sparsities": [0.5], "languages": "sw"}
    first = planned(lab, **fields, recipe=recipe | {"background": "background"})
    before = keys(first)
    (cell,) = (c for c in first.read_plan()["cells"].values() if c["settings"]["recipe"])
    assert cell["settings"]["recipe"]["background"] == str(tmp_path / "background")
    shutil.copytree("background", tmp_path / "moved")
    Worker(first).run()
    grown = fields | {"sparsities": [0.25, 0.5]}
    there = recipe | {"background": "moved"}
    Worker(planned(lab, **grown, recipe=there)).run()
    assert (len(results(lab.out)), problems(first)) == (3, [])
    shutil.rmtree(lab.out)
    assert keys(planned(lab, **fields, recipe=there)) == before
    change_quietly(tmp_path / "moved" / "fr.txt")
    Worker(first := StudyFolder(lab.out)).run()
    (line,) = problems(first)
    assert "fr: expected the calibration text that the study was planned on" in line
    assert len(keys(planned(lab, **fields, recipe=recipe | {"background": "moved"})) - before) == 1


def keys(folder: StudyFolder) -> set[str]:
    return set(folder.read_plan()["cells"])


def test_a_size_of_no_background_is_told_before_the_first_cell(lab: Lab, tmp_path: Path) -> None:
    method = {"criterion": "wanda", "allocation": "uniform"}
    sized = {**method, "background_weight": 0.2}
    fields: dict[str, Any] = {"criteria": None, "allocations": None, "sparsities": [0.5]}
    with pytest.raises(InputError, match="--background-weight: expected a background, found none"):
        planned(lab, **fields, methods={"plain": method, "sized": sized})
    shutil.copytree(lab.calibration, tmp_path / "named")  # of which nothing is left
    only = {**sized, "background": str(tmp_path / "named")}
    folder = planned(lab, **fields, methods={"only named languages": only})
    Worker(folder).run()
    assert problems(folder) == []


@pytest.mark.parametrize("mode", ["dense", "sequential"])
def test_the_english_text_counts_where_it_cleans(lab: Lab, mode: str) -> None:
    recipe = {"windows": 2, "window_length": 32, "mode": mode}
    fields: dict[str, Any] = {"criteria": ["wanda"], "sparsities": [0.5], "languages": "sw"}
    keeps = fields | {"recipe": recipe | {"keep_english": True}}
    fields |= {"recipe": recipe}
    without, kept = keys(planned(lab, **fields)), keys(planned(lab, **keeps))
    english = lab.calibration / "en.txt"
    english.write_text("A line that was never translated at all\n")
    folder = planned(lab, **fields)
    assert len(keys(folder) - without) == 1  # the dense model reads none
    english.write_text("Another line that was never translated\n")
    Worker(folder).run()
    (line,) = problems(folder)
    assert "sw: expected the calibration text that the study was planned on" in line
    assert keys(planned(lab, **keeps)) == kept


@pytest.mark.parametrize("mode", ["dense", "sequential"])
def test_text_that_changed_after_planning_is_refused(lab: Lab, mode: str) -> None:
    recipe = {"windows": 2, "window_length": 32, "mode": mode}
    folder = planned(lab, criteria=["wanda"], sparsities=[0.5], recipe=recipe)
    change_quietly(next(lab.calibration.glob("sw*")))
    Worker(folder).run()
    assert len(results(lab.out)) == 1  # the dense model, which reads none
    (line,) = problems(folder)
    assert "sw: expected the calibration text that the study was planned on" in line


def test_a_model_that_changes_while_a_cell_runs_gives_no_result(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tmp_path / "copy"
    shutil.copytree(lab.models["tiny"], model)
    folder = planned(lab, models={"tiny": str(model)}, criteria=["magnitude"], sparsities=[0.5])
    measure: Callable[..., Any] = Worker._measure

    def changed(*given: Any) -> Any:
        found = measure(*given)
        change_quietly(model / "model.safetensors")
        return found

    monkeypatch.setattr(Worker, "_measure", changed)
    Worker(folder).run()
    assert not results(lab.out)


def test_what_was_not_touched_is_hashed_once(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    from mwanda.study import inputs

    folder, count = planned(lab, sparsities=[0.5]), []
    hashed = inputs.model_sha256
    monkeypatch.setattr(inputs, "model_sha256", lambda path: count.append(path) or hashed(path))
    Worker(folder).run()
    assert len(results(lab.out)) == 3
    assert len(count) == 1


def test_keys_hold_the_dtype_that_auto_comes_to(
    lab: Lab, tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = {"tiny": str(tiny("llama", dtype=torch.bfloat16))}

    def keys(**run: Any) -> set[str]:
        return set(make_plan(lab.document(models=models, run=run)).cells)

    monkeypatch.setattr(device, "_cpu_has_bf16_units", lambda: False)
    plain = keys()
    assert plain == keys(compute_dtype="float32")
    monkeypatch.setattr(device, "_cpu_has_bf16_units", lambda: True)
    assert not plain & keys()


def test_a_worker_elsewhere_computes_in_what_was_planned(
    lab: Lab, tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = {"tiny": str(tiny("llama", dtype=torch.bfloat16))}
    monkeypatch.setattr(device, "_cpu_has_bf16_units", lambda: False)
    fields = {"models": models, "criteria": ["magnitude"], "sparsities": [0.5]}
    folder = planned(lab, **fields)
    Worker(folder).run()
    first = results(lab.out)
    shutil.rmtree(lab.out)
    folder = planned(lab, **fields)
    monkeypatch.setattr(device, "_cpu_has_bf16_units", lambda: True)
    Worker(folder).run()
    assert results(lab.out) == first


@pytest.mark.parametrize(
    ("place", "asked", "apart", "articles"),
    [("text", {}, 5, [0, 0, 1, 1]), ("text", {"neighbours": 0}, 0, [0, 1, 2, 3]),
     ("text", {"neighbours": 2}, 2, [0, 1, 2, 3]), ("lines", {}, None, None)],
)  # fmt: skip
def test_neighbouring_ids_are_one_article(
    lab: Lab, place: str, asked: dict[str, int], apart: int | None, articles: list[int] | None
) -> None:
    for path in lab.text.glob("*.jsonl"):
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        rows = [row | {"id": number} for row, number in zip(rows, (0, 4, 20, 24), strict=True)]
        path.write_text("".join(map("{}\n".format, map(json.dumps, rows))), encoding="utf-8")
    fields = {"text": str(lab.root / place), "languages": ["de", "sw"], **asked}
    folder = planned(lab, evaluation=fields)
    assert read_plan(folder).evaluation.neighbours == apart
    assert load_results(folder).models[0].clusters == articles


def test_articles_may_be_told_by_names(lab: Lab) -> None:
    for path in lab.text.glob("*.jsonl"):
        path.write_text(path.read_text(encoding="utf-8").replace('"id": ', '"id": "a/')
                        .replace(', "text"', '", "text"'), encoding="utf-8")  # fmt: skip
    fields = {"text": str(lab.text), "languages": ["de", "sw"], "neighbours": 7}
    plan = make_plan(lab.document(evaluation=fields))
    assert plan.ids is not None
    assert plan.ids[:2] == ("a/0", "a/7")
