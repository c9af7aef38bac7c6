"""What ships as cells of a study: scored by its runtime, beside the model that it is a form of."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import mwanda
from mwanda import InputError
from mwanda.evaluation.cache import artefact_sha256
from mwanda.study.folder import StudyFolder
from mwanda.study.forms import weight_bytes
from mwanda.study.inputs import InputCheck
from mwanda.study.launch import start_study
from mwanda.study.records import ArtefactRecord
from mwanda.study.report.write import write_report
from mwanda.study.study_plan import make_plan
from mwanda.study.worker import Worker
from tests.study.helpers import Lab


@pytest.fixture
def shipped(lab: Lab, tmp_path: Path) -> Path:
    """The model pruned, as it would be given to transformers."""
    mwanda.prune(lab.models["tiny"], out=tmp_path / "shipped", criterion="magnitude",
                 allocation="uniform", sparsity=0.5)  # fmt: skip
    return tmp_path / "shipped"


def study(lab: Lab, **artefacts: Any) -> Path:
    return lab.document(criteria=["magnitude"], sparsities=[0.5], artefacts=artefacts)


def test_an_artefact_is_scored_as_by_eval_and_stands_in_the_report(
    lab: Lab, shipped: Path, tmp_path: Path
) -> None:
    document = study(lab, **{"trimmed int8": {"path": str(shipped), "runtime": "transformers"}})
    found = start_study(document, lab.out)
    assert found.counts == {"done": 3, "failed": 0, "running": 0, "waiting": 0}
    assert [one["method"] for one in found.entries] == ["dense", "trimmed int8", "magnitude"]
    folder = StudyFolder(lab.out)
    _, ships, pruned = (folder.result(one["key"]) or {} for one in found.entries)
    alone = mwanda.evaluate(shipped, lab.text, languages=["de", "hi", "sw"], runtime="transformers")
    for tag, result in alone.languages.items():
        assert ships["languages"][tag]["sentence_nll"] == list(result.sentence_nll)
        assert pruned["languages"][tag]["sentence_nll"] == pytest.approx(result.sentence_nll)
    assert ships["runtime"]["name"] == "transformers"
    weights = (shipped / "model.safetensors").stat().st_size
    assert ships["quantised"]["bytes"] == weights
    assert ships["quantised"]["source_bytes"] <= weights  # which has a header too
    write_report(lab.out, tmp_path / "report")
    page = (tmp_path / "report/report.md").read_text(encoding="utf-8")
    assert "| trimmed int8 |" in page
    assert "Methods: magnitude." in page


def test_its_content_counts_and_its_place_does_not(lab: Lab, shipped: Path, tmp_path: Path) -> None:
    start_study(study(lab, ships={"path": str(shipped)}), lab.out)
    moved = Path(shutil.copytree(shipped, tmp_path / "moved"))
    again = make_plan(study(lab, ships={"path": str(moved)}))
    assert all(StudyFolder(lab.out).result(key) is not None for key in again.cells)
    config = json.loads((moved / "config.json").read_text())
    (moved / "config.json").write_text(json.dumps(config | {"note": "another"}))
    other = make_plan(study(lab, ships={"path": str(moved)}))
    assert len(other.cells.keys() - again.cells.keys()) == 1
    assert make_plan(study(lab, named_anew={"path": str(moved)})).cells.keys() == other.cells.keys()


def test_weights_that_only_a_runtime_reads_count(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "ct2").mkdir()
    document = study(lab, ships={"path": str(tmp_path / "ct2"), "runtime": "transformers"})
    found = set()
    for content in (b"int8", b"int8_float16"):
        (tmp_path / "ct2" / "model.bin").write_bytes(content)
        found |= make_plan(document).cells.keys()
    assert len(found) == 4  # the dense model, a prune, and the artefact twice


def test_a_link_keeps_its_name_by_which_parts_beside_it_are_found(
    lab: Lab, shipped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("snapshot").symlink_to(shipped)
    plan = make_plan(study(lab, ships={"path": "snapshot", "tokenizer": "snapshot"}))
    (found,) = plan.artefacts.values()
    assert found.path == found.tokenizer == str(tmp_path / "snapshot")


def test_what_changes_after_planning_is_refused(lab: Lab, shipped: Path) -> None:
    folder = StudyFolder(lab.out)
    folder.make()
    document = study(lab, ships={"path": str(shipped)})
    folder.write_plan(make_plan(document).model_dump(mode="json"))
    (shipped / "model.bin").write_bytes(b"another")
    Worker(folder).run()
    (failed,) = (folder.failure(path.stem) for path in (lab.out / "failed").iterdir())
    assert "the artefact that the study was planned on" in (failed or {})["problems"][0]


def test_all_parts_of_a_split_gguf_count(tmp_path: Path) -> None:
    parts = [tmp_path / f"m-0000{n}-of-00002.gguf" for n in (1, 2)]
    for path in parts:
        path.write_bytes(b"four")
    sha256, named = artefact_sha256(parts[0]), {"runtime": "llama.cpp", "tokenizer": "t"}
    ships = ArtefactRecord(path=str(parts[0]), sha256=sha256, tokenizer_sha256=None, **named)
    assert weight_bytes(ships) == 8
    check = InputCheck()
    check.artefact(ships)
    parts[1].write_bytes(b"others")
    with pytest.raises(InputError, match="the artefact that the study was planned on"):
        check.artefact(ships)


def test_what_changes_before_it_is_scored_is_refused(lab: Lab, shipped: Path) -> None:
    document = study(lab, ships={"path": str(shipped)})
    plan = make_plan(document)
    (shipped / "generation_config.json").write_text("{}")
    folder = StudyFolder(lab.out)
    found = start_study(document, lab.out)
    assert found.counts["done"] == 3  # planned anew
    assert {*plan.cells} != {*folder.read_plan()["cells"]}


@pytest.mark.parametrize(
    ("artefacts", "says"),
    [
        ({"a": {"path": "no"}}, "artefacts.a: no: expected an artefact, found nothing there"),
        ({"a": {"path": ".", "runtime": "none"}}, "artefacts.a: --runtime none: expected"),
        ({"a": {"path": ".", "runtime": "openai"}}, "artefacts.a: runtime: expected one that"),
        ({"a": {"path": ".", "tokenizer": "no"}}, "artefacts.a: no: expected a tokenizer"),
        ({"a": {"paths": "."}}, "artefacts.a.paths: unknown field; did you mean 'path'"),
        ({"a": {"path": ".", "model": "tin"}}, "artefacts.a.model: did you mean 'tiny'"),
        ({"dense": {"path": "."}}, "artefacts.dense: expected a name that nothing else has"),
        ({"trimmed": {"path": "."}}, "artefacts.trimmed: expected a name that nothing else has"),
    ],
)
def test_mistakes_are_told_before_any_work(lab: Lab, artefacts: Any, says: str) -> None:
    with pytest.raises(InputError) as error:
        make_plan(study(lab, **artefacts))
    assert says in str(error.value)


def test_of_several_models_one_has_to_be_named(lab: Lab) -> None:
    several = {name: str(lab.models["tiny"]) for name in ("one", "two")}
    document = lab.document(models=several, artefacts={"a": {"path": "."}})
    with pytest.raises(InputError, match=r"artefacts\.a: expected a model, one of the study's"):
        make_plan(document)
