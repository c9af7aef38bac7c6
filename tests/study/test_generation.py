"""A study with quantised models, translations and continuations, and its report."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

import mwanda
from mwanda import InputError
from mwanda.study.document import load_study
from mwanda.study.folder import StudyFolder
from mwanda.study.launch import start_study
from mwanda.study.report.write import FILES, MORE, write_report
from mwanda.study.study_plan import make_plan
from tests.study.helpers import Lab, Tiny
from tests.study.report.helpers import Page

TRANSLATION = {"directions": ["de-sw"], "sentences": 2, "shots": 1}


def evaluation(lab: Lab, **fields: Any) -> dict[str, Any]:
    return {"text": str(lab.text), "languages": ["de", "hi", "sw"], **fields}


@pytest.fixture
def wide(lab: Lab, tiny: Tiny) -> Lab:
    """A model some of whose rows are multiples of 32."""
    return Lab({"wide": tiny("qwen3")}, lab.calibration, lab.text, lab.root)


METHODS = ["dense", "Q8_0", "Q4_0", "trimmed", "trimmed+Q8_0", "wanda"]


def test_everything_at_once(wide: Lab, tmp_path: Path) -> None:
    document = wide.document(
        criteria=["wanda"], sparsities=[0.5], quantised=["Q8_0", "q4_0", "trimmed", "trimmed+q8_0"],
        evaluation=evaluation(wide, continuations=2, translation=TRANSLATION),
    )  # fmt: skip
    found = start_study(document, wide.out)
    assert found.counts == {"done": 6, "failed": 0, "running": 0, "waiting": 0}
    assert [e["method"] for e in found.entries] == METHODS
    folder = StudyFolder(wide.out)
    cells = {e["method"]: folder.result(e["key"]) or {} for e in found.entries}
    mwanda.quantise(wide.models["wide"], tmp_path / "q", "Q4_0")
    single = mwanda.evaluate(tmp_path / "q", wide.text, languages=["de", "hi", "sw"])
    for tag, result in single.languages.items():
        assert cells["Q4_0"]["languages"][tag]["sentence_nll"] == list(result.sentence_nll)
    plain = mwanda.translate(wide.models["wide"], wide.text, ["de-sw"], sentences=2, shots=1)
    assert cells["dense"]["translation"] == plain.as_dict()["directions"]
    assert cells["Q4_0"]["quantised"]["bytes"] < cells["Q8_0"]["quantised"]["bytes"]
    assert "quantised" not in cells["dense"]
    small = cells["trimmed"]["quantised"]
    assert small["bytes"] < small["source_bytes"] == cells["Q8_0"]["quantised"]["source_bytes"]
    both = cells["trimmed+Q8_0"]["quantised"]
    assert both["bytes"] < min(small["bytes"], cells["Q8_0"]["quantised"]["bytes"])
    assert (both["type"], both["weights"]) == ("trimmed+Q8_0", small["weights"])
    for cell in cells.values():
        assert set(cell["generated"]) == {"de", "hi", "sw"}
        assert cell["generated"]["de"]["outputs"]["texts"] == 2

    report = tmp_path / "report"
    write_report(wide.out, report)
    assert {p.name for p in report.iterdir()} == {*FILES, *MORE[:3]}
    page = (report / "report.md").read_text(encoding="utf-8")
    for title in ("## Instead: quantised or trimmed", "## Translation", "## Generated text"):
        assert title in page
    assert "dense in Q4_0" in page
    assert "Methods: wanda. Sparsities: 50%." in page
    assert "tok:13a" in page
    html = Page((report / "index.html").read_text(encoding="utf-8"))  # every element closed
    assert "Instead: quantised" in " ".join(html.words)
    rows = {
        name: list(csv.DictReader((report / name).read_text(encoding="utf-8").splitlines()))
        for name in MORE[:3]
    }
    assert [r["method"] for r in rows["translation.csv"]] == METHODS
    assert float(rows["translation.csv"][0]["bleu"]) == plain.directions["de-sw"].bleu
    assert len(rows["generated.csv"]) == 6 * 3
    assert {r["type"] for r in rows["quantised.csv"]} == {"Q8_0", "Q4_0", "trimmed", "trimmed+Q8_0"}
    assert len(rows["quantised.csv"]) == 4 * (1 + 3)
    write_report(wide.out, report, overwrite=True)


def test_without_any_of_it_keys_and_files_are_what_they_were(lab: Lab, tmp_path: Path) -> None:
    plan = make_plan(lab.document(sparsities=[0.5]))
    for cell in plan.cells.values():
        assert not {"quantised", "translation", "continuations"} & cell.settings.keys()
    more = make_plan(lab.document(sparsities=[0.5], quantised=["Q8_0"]))
    assert plan.cells.keys() < more.cells.keys()  # types add cells, and change none
    other = make_plan(lab.document(sparsities=[0.5], evaluation=evaluation(lab, continuations=1)))
    assert not plan.cells.keys() & other.cells.keys()
    start_study(lab.document(sparsities=[0.5], criteria=["magnitude"]), lab.out)
    write_report(lab.out, tmp_path / "report")
    assert {p.name for p in (tmp_path / "report").iterdir()} == {*FILES}


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"quantised": ["Q4_K"]}, "quantised: Q4_K: expected a GGUF type"),
        ({"quantised": ["trimmed+"]}, "quantised: trimmed+: expected a GGUF type"),
        ({"evaluation": {"translation": {"directions": []}}}, "evaluation.translation.directions"),
        ({"evaluation": {"translation": {"directions": ["de"]}}}, "de: expected two languages"),
        ({"evaluation": {"translation": {"directions": ["de-sw"], "shot": 1}}}, "'shots'"),
        ({"evaluation": {"continuations": -1}}, "evaluation.continuations"),
    ],
)
def test_mistakes(lab: Lab, fields: dict[str, Any], says: str) -> None:
    if "evaluation" in fields:
        fields = {**fields, "evaluation": evaluation(lab, **fields["evaluation"])}
    with pytest.raises(InputError) as error:
        load_study(lab.document(**fields))
    assert any(says in problem for problem in error.value.problems), error.value.problems


def test_text_that_is_not_there_is_told_before_any_work(lab: Lab) -> None:
    given = evaluation(lab, translation={"directions": ["de-fr"]})
    with pytest.raises(InputError, match="evaluation: language 'fr'"):
        make_plan(lab.document(evaluation=given))


def test_a_failed_quantisation_stops_nothing(lab: Lab) -> None:
    found = start_study(lab.document(sparsities=[0.5], quantised=["Q8_0"]), lab.out)
    assert found.counts["failed"] == 1  # no row of this model is a multiple of 32
    assert "rows of a multiple of 32" in next(iter(found.failures.values()))[0]


def test_sentences_that_changed_since_the_plan(lab: Lab) -> None:
    given = evaluation(lab, languages=["de", "hi"], translation=TRANSLATION)
    plan = make_plan(lab.document(evaluation=given))
    assert plan.read_parallel() is not None
    path = lab.text / "sw.jsonl"  # not scored, only translated
    path.write_text(path.read_text(encoding="utf-8").replace('"text": "', '"text": "x'))
    with pytest.raises(InputError, match="the sentences that the study was planned on"):
        plan.read_parallel()
