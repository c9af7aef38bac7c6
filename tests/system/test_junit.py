"""JUnit XML of anything."""

from __future__ import annotations

import os
from pathlib import Path
from xml.etree import ElementTree

import pytest

from mwanda.system.junit import Case, junit_xml


@pytest.mark.parametrize(
    ("model", "name"),
    [("/somewhere/made/pruned", "pruned"), ("organisation/model", "organisation/model"),
     ("pruned", "pruned"), (".", "here"), ("/", "/")],
)  # fmt: skip
def test_a_suite_has_the_name_of_the_folder(
    model: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    root = ElementTree.fromstring(junit_xml("eval", model, {}, [Case("a", True, "")], "Error"))
    (suite,) = root
    (case,) = suite.iter("testcase")
    assert (suite.attrib["name"], case.attrib["classname"]) == (name, name)
    (fact,) = suite.iter("property")
    assert fact.attrib == {"name": "model", "value": model}
    assert os.fspath(tmp_path) not in suite.attrib["name"]
