"""A gate as JUnit XML."""

from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree

from mwanda import Comparison, Gate
from mwanda.study.report.one_model import gate_xml
from tests.evaluation.test_shown import COMPARED, DENSE, NASTY, PRUNED


def test_a_language_that_lost_too_much_fails_and_one_without_a_limit_is_skipped() -> None:
    root = ElementTree.fromstring(gate_xml(COMPARED, Gate(languages={"hi": 0.1, "sw": 0.1})))
    (suite,) = root
    counts = {name: suite.attrib[name] for name in ("tests", "failures", "errors", "skipped")}
    assert counts == {"tests": "3", "failures": "1", "errors": "0", "skipped": "1"}
    assert counts.items() <= root.attrib.items()
    cases = {case.attrib["name"]: case for case in suite.iter("testcase")}
    assert {name: case[0].tag for name, case in cases.items()} == {
        "de German": "skipped", "hi Hindi": "failure", "sw Swahili": "system-out",
    }  # fmt: skip
    assert cases["hi Hindi"][0].attrib["message"].startswith("FAIL hi: +25.00%")
    assert cases["hi Hindi"].attrib["classname"] == NASTY


def test_no_name_breaks_the_file() -> None:
    strange = replace(PRUNED, model="a\x00\x0b\ufffe<b>&\"'", text="t\x1b")
    text = gate_xml(Comparison.of(DENSE, strange), Gate("5%"))
    (suite,) = ElementTree.fromstring(text)
    assert suite.attrib["name"] == "a\ufffd\ufffd\ufffd<b>&\"'"
    assert text.startswith("<?xml version='1.0' encoding='utf-8'?>")


def test_a_language_that_is_not_a_number_fails() -> None:
    rows = {**PRUNED.languages, "sw": replace(PRUNED.languages["sw"], sentence_nll=(float("nan"),))}
    compared = Comparison.of(DENSE, replace(PRUNED, languages=rows))
    (suite,) = ElementTree.fromstring(gate_xml(compared, Gate("50%")))
    assert [
        case.attrib["name"] for case in suite.iter("testcase") if case.find("failure") is not None
    ] == ["sw Swahili"]
