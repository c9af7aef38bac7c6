"""A study run in this process: every cell once, resumed, and what failed beside what did not."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import mwanda
from mwanda import InputError, RunOptions
from mwanda.pruning.draw_windows import draw_windows
from mwanda.pruning.folder.manifest import read_manifest
from mwanda.pruning.recipe import recovery
from mwanda.study.folder import StudyFolder
from mwanda.study.launch import _Watch, start_study
from mwanda.study.records import Cell
from mwanda.study.report.write import write_report
from mwanda.study.status import Status
from mwanda.study.study_plan import read_plan
from mwanda.study.worker import Worker
from mwanda.text.languages import MULTIPLE
from tests.study.helpers import Lab, events, results


def test_every_cell_is_what_prune_and_evaluate_give(lab: Lab, tmp_path: Path) -> None:
    found = start_study(lab.document(), lab.out)
    assert found.counts == {"done": 5, "failed": 0, "running": 0, "waiting": 0}
    assert len(events(lab.out, "done statistics")) == 1  # of one set and seed
    assert not list((lab.out / "work").iterdir())
    assert not (lab.out / "models").exists()
    entry = next(e for e in found.entries if e["method"] == "wanda" and e["sparsity"] == 0.5)
    kept = StudyFolder(lab.out).result(entry["key"])
    assert kept is not None
    mwanda.prune(
        lab.models["tiny"], out=tmp_path / "one", calibration=lab.calibration, sparsity=0.5,
        criterion="wanda", allocation="uniform", mode="dense", windows=2, window_length=32,
    )  # fmt: skip
    single = mwanda.evaluate(tmp_path / "one", lab.text, languages=["de", "hi", "sw"])
    for tag, result in single.languages.items():
        assert kept["languages"][tag]["sentence_nll"] == list(result.sentence_nll)
    assert kept["seen"] == ["de", "sw"]
    assert kept["sparsity"] == pytest.approx(0.5, abs=0.01)
    assert set(kept["blocks"]) == {"0", "1", "2"}
    dense = next(e for e in found.entries if e["method"] == "dense")
    base = StudyFolder(lab.out).result(dense["key"])
    assert base is not None
    assert base["seen"] == []
    assert "blocks" not in base


def test_a_cell_whose_time_is_not_written_yet_is_done(
    lab: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    start_study(lab.document(), lab.out)
    folder = StudyFolder(lab.out)
    caplog.set_level("INFO", "mwanda")
    watch = _Watch(folder, read_plan(folder), 1, None)
    watch.waiting = [*watch.plan.cells][:1]
    (lab.out / "log.jsonl").unlink()
    assert not watch.look()
    assert caplog.messages[-1].endswith("tiny, dense: done")


def test_a_finished_study_computes_nothing(lab: Lab) -> None:
    start_study(lab.document(), lab.out)
    before, log = results(lab.out), (lab.out / "log.jsonl").read_bytes()
    start_study(lab.document(), lab.out)
    assert results(lab.out) == before
    assert (lab.out / "log.jsonl").read_bytes() == log


def test_a_kill_in_its_first_write_is_no_obstacle(lab: Lab) -> None:
    lab.out.mkdir()
    (lab.out / "cells").mkdir()
    (lab.out / "plan.json.new").write_text("{", encoding="utf-8")
    assert start_study(lab.document(sparsities=[0.5]), lab.out).counts["done"] == 3
    assert not (lab.out / "plan.json.new").exists()


def test_a_grown_study_computes_what_is_new(lab: Lab) -> None:
    start_study(lab.document(sparsities=[0.5]), lab.out)
    first = results(lab.out)
    start_study(lab.document(sparsities=[0.5, 0.25]), lab.out)
    assert {name: data for name, data in results(lab.out).items() if name in first} == first
    assert len(results(lab.out)) == 5
    done = events(lab.out, "done")
    assert len(done) == len(set(done)) == 5
    assert len(events(lab.out, "done statistics")) == 1


def test_keys_go_by_content(lab: Lab, tmp_path: Path) -> None:
    def keys(**fields: Any) -> set[str]:
        start = lab.document(**fields)
        from mwanda.study.study_plan import make_plan

        return set(make_plan(start).cells)

    first = keys()
    shutil.copytree(lab.models["tiny"], tmp_path / "copy")
    assert keys(models={"other name": str(tmp_path / "copy")}) == first
    (lab.text / "de.jsonl").write_text((lab.text / "hi.jsonl").read_text())
    assert not keys() & first
    plan_of_other_seed = keys(seeds=[1])
    magnitude_and_dense = keys() & plan_of_other_seed
    assert len(magnitude_and_dense) == 3  # no text is drawn for these


def test_a_cell_that_fails_is_told_and_stops_nothing(lab: Lab) -> None:
    document = lab.document(
        criteria=None,
        allocations=None,
        methods={
            "fits": {"criterion": "magnitude"},
            "does not": {"criterion": "magnitude", "pattern": "9:11"},
        },
    )
    found = start_study(document, lab.out)
    assert found.counts["failed"] == 1
    assert found.counts["done"] == 3
    (problems,) = found.failures.values()
    assert "9:11" in problems[0]
    log = (lab.out / "log.jsonl").read_bytes()
    start_study(document, lab.out)
    assert (lab.out / "log.jsonl").read_bytes() == log  # not tried again
    start_study(document, lab.out, retry_failed=True)
    assert len(events(lab.out, "failed")) == 2


def test_what_own_code_raises_fails_its_cell(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    def raises(*_: Any) -> Any:
        raise AttributeError("a model's own code has no such thing")

    monkeypatch.setattr(Worker, "_measure", raises)
    found = start_study(lab.document(), lab.out)
    assert found.counts["done"] == 0
    assert all("no such thing" in problem for (problem, *_) in found.failures.values())


def test_statistics_that_fail_fail_their_cells_once(lab: Lab) -> None:
    document = lab.document(recipe={"windows": 9999, "window_length": 32})
    found = start_study(document, lab.out)
    assert found.counts == {"done": 3, "failed": 2, "running": 0, "waiting": 0}
    assert all("9999" in problem for (problem, *_) in found.failures.values())
    assert len(events(lab.out, "begin statistics")) == 1


def test_models_are_kept_where_asked(lab: Lab) -> None:
    found = start_study(lab.document(keep=True, sparsities=[0.5], criteria=["wanda"]), lab.out)
    entry = next(e for e in found.entries if e["method"] == "wanda")
    assert mwanda.verify(lab.out / "models" / entry["key"]).problems == ()


def test_a_claimed_cell_is_left_to_who_claimed_it(lab: Lab) -> None:
    from mwanda.study.study_plan import make_plan

    folder = StudyFolder(lab.out)
    folder.make()
    plan = make_plan(lab.document())
    folder.write_plan(plan.model_dump(mode="json"))
    held = list(plan.cells)[-1]
    done: list[str] = []
    with folder.claim(held) as mine:
        assert mine
        assert Status.of(folder).cells[held] == "running"
        worker = Worker(folder, done=done.append, go_on=lambda: len(done) < len(plan.cells) - 1)
        worker.run()
        assert not folder.has_result(held)
    assert len(done) == len(plan.cells) - 1
    Worker(folder, done=done.append).run()
    assert done[-1] == held
    assert read_plan(folder) == plan


def test_texts_that_change_under_way_are_refused(lab: Lab) -> None:
    start_study(lab.document(), lab.out)
    (lab.text / "de.jsonl").write_text((lab.text / "hi.jsonl").read_text())
    with pytest.raises(InputError, match="the texts that the study was planned on"):
        Worker(StudyFolder(lab.out))


def test_sequential_recipes_and_reconstructions(lab: Lab) -> None:
    wanda = {"criterion": "wanda", "allocation": "uniform"}
    document = lab.document(
        criteria=None,
        allocations=None,
        sparsities=[0.5],
        methods={
            "plain": wanda,
            "in two passes": wanda | {"mode": "sequential"},
            "made anew": wanda | {"reconstruction": "sparsegpt-update"},
            "recovered": wanda | {"recover": {"steps": 2, "learning_rate": 1e-3}},
        },
    )
    found = start_study(document, lab.out)
    assert found.counts["done"] == 5
    assert len(events(lab.out, "done statistics")) == 1  # one file, with Gram matrices, for two
    plan = read_plan(StudyFolder(lab.out))
    used = {e.method: plan.cells[e.key].statistics for e in plan.entries}
    assert used["plain"] == used["made anew"] is not None
    assert used["in two passes"] is used["recovered"] is None  # it learns from text
    kept = {e.method: StudyFolder(lab.out).result(e.key) or {} for e in plan.entries}
    masks = {method: one.get("masks_sha256") for method, one in kept.items()}
    assert masks["plain"] != masks["in two passes"]
    assert masks["plain"] == masks["recovered"]
    write_report(lab.out, lab.root / "report")
    with (lab.root / "report" / "languages.csv").open(encoding="utf-8", newline="") as file:
        steps = {row["method"]: row["recovery_steps"] for row in csv.DictReader(file)}
    assert (steps["plain"], steps["recovered"]) == ("", "2")
    assert "2 steps" in (lab.root / "report" / "report.md").read_text(encoding="utf-8")
    assert kept["plain"]["languages"] != kept["recovered"]["languages"]


def test_a_log_line_cut_short_is_no_obstacle(lab: Lab) -> None:
    start_study(lab.document(criteria=["magnitude"]), lab.out)
    with (lab.out / "log.jsonl").open("a") as file:
        file.write('{"time": 1, "ev')
    assert Status.of(StudyFolder(lab.out)).counts["done"] == 3
    json.dumps(Status.of(StudyFolder(lab.out)).as_dict(), allow_nan=False)


def test_options_reach_the_run(lab: Lab) -> None:
    start_study(lab.document(run={"batch_tokens": 64, "activation_memory": "1MiB"}), lab.out)
    options = read_plan(StudyFolder(lab.out)).options("float32")
    assert (options.batch_tokens, options.activation_memory) == (64, 1 << 20)
    assert isinstance(options, RunOptions)


def test_models_that_were_not_kept_are_told_of(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    fields: dict[str, Any] = {"criteria": ["magnitude"], "sparsities": [0.5]}
    start_study(lab.document(**fields), lab.out)
    start_study(lab.document(**fields, keep=True), lab.out)
    assert "keep: 1 models were pruned before it was asked for, and are not there" in caplog.text


def test_a_windows_file_keeps_its_background(lab: Lab) -> None:
    windows = lab.root / "windows.safetensors"
    draw_windows(
        str(lab.models["tiny"]), windows, str(lab.calibration), windows=2, length=32,
        background="udhr", background_windows=2, languages=None,
    )  # fmt: skip
    document = lab.document(
        criteria=["wanda"], sparsities=[0.5], calibration=str(windows), recipe={}, keep=True,
        methods={"without": {"criterion": "wanda", "allocation": "uniform", "background": "none"}},
    )  # fmt: skip
    found = start_study(document, lab.out)
    assert found.counts["done"] == 3
    texts = {
        entry["method"]: read_manifest(lab.out / "models" / entry["key"]).calibration
        for entry in found.entries
        if entry["method"] != "dense"
    }
    named = {method: [*text.languages] for method, text in texts.items() if text is not None}
    assert named == {"wanda": ["de", "sw", MULTIPLE], "without": ["de", "sw"]}


def test_how_a_recovery_is_watched_makes_no_other_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    def key(**recover: Any) -> str:
        return Cell(settings={"recipe": {"recover": {"steps": 2} | recover}}, model="m").key

    assert key() == key(report_to=["wandb"], gradient_checkpointing=True)
    assert key() != key(never_worse=True)
    assert key() != key(steps=3)
    # What the default rate is made of counts: it may be another than that of an older study.
    before, asked = key(), key(learning_rate=2e-5)
    monkeypatch.setattr(recovery, "FAR", 0.3)
    assert key() != before
    assert key(learning_rate=2e-5) == asked
