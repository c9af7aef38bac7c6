"""JUnit XML, which every CI shows: a test suite, and a case for everything that was judged."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that no XML 1.0 may hold, escaped or not."""


class Case(NamedTuple):
    """What was judged.

    Attributes:
        passed: None where nothing was asked of it.
        said: why.
    """

    name: str
    passed: bool | None
    said: str


def junit_xml(
    command: str, model: str | Path, facts: Mapping[str, str], cases: Sequence[Case], error: str
) -> str:
    """A suite by the name of the model's folder; its whole path is among the facts.

    Args:
        error: the kind of a failure.
    """
    states = [case.passed for case in cases]
    counts = {"tests": str(len(cases)), "failures": str(states.count(False)), "errors": "0",
              "skipped": str(states.count(None))}  # fmt: skip
    root = ElementTree.Element("testsuites", {"name": f"mwanda {command}", **counts})
    name = _words(_name(str(model)))
    suite = ElementTree.SubElement(root, "testsuite", {"name": name, **counts})
    properties = ElementTree.SubElement(suite, "properties")
    for key, value in {"model": str(model), **facts}.items():
        ElementTree.SubElement(properties, "property", {"name": key, "value": _words(value)})
    for case in cases:
        about = {"classname": name, "name": _words(case.name)}
        shown, said = ElementTree.SubElement(suite, "testcase", about), _words(case.said)
        if case.passed is None:
            ElementTree.SubElement(shown, "skipped", {"message": said})
        elif case.passed:
            ElementTree.SubElement(shown, "system-out").text = said
        else:
            ElementTree.SubElement(shown, "failure", {"message": said, "type": error}).text = said
    ElementTree.indent(root)
    text: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return text.decode() + "\n"


def _name(model: str) -> str:
    """The last part of a path; a hub id is a name as it is."""
    path = Path(model)
    if path.is_absolute() or model.startswith("."):
        return path.resolve().name or model
    return model


def _words(text: str) -> str:
    return NOT_XML.sub("\ufffd", text)
