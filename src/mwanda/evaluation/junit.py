"""A gate as JUnit XML, which every CI shows: a test case a language."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from mwanda.evaluation.gate import DECIDES, Gate
from mwanda.evaluation.results import Comparison
from mwanda.text.languages import display_name

NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that no XML 1.0 may hold, escaped or not."""


def junit_xml(compared: Comparison, gate: Gate) -> str:
    """A test suite of all languages: one that lost more than it may fails, one without a limit is
    skipped.

    Raises:
        InputError: a limit for a language that is not there.
    """
    judged = {one.language: one for one in gate.judge(compared)}
    failed = [one for one in judged.values() if not one.passed]
    counts = {"tests": str(len(compared.rises)), "failures": str(len(failed)), "errors": "0",
              "skipped": str(len(compared.rises) - len(judged))}  # fmt: skip
    root = ElementTree.Element("testsuites", {"name": "mwanda eval", **counts})
    name = _words(compared.pruned.model)
    suite = ElementTree.SubElement(root, "testsuite", {"name": name, **counts})
    properties = ElementTree.SubElement(suite, "properties")
    facts = {"baseline": compared.baseline.model, "text": compared.pruned.text,
             "text_sha256": compared.pruned.text_sha256, "judged by": DECIDES[gate.on]}  # fmt: skip
    for key, value in facts.items():
        ElementTree.SubElement(properties, "property", {"name": key, "value": _words(value)})
    for rise in compared.rises:
        said = f"{rise.language} {display_name(rise.language)}"
        case = ElementTree.SubElement(suite, "testcase", {"classname": name, "name": said})
        one = judged.get(rise.language)
        if one is None:
            ElementTree.SubElement(case, "skipped", {"message": "no limit"})
        elif not one.passed:
            about = {"message": _words(str(one)), "type": "GateError"}
            ElementTree.SubElement(case, "failure", about).text = _words(str(one))
        else:
            ElementTree.SubElement(case, "system-out").text = _words(str(one))
    ElementTree.indent(root)
    text: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return text.decode() + "\n"


def _words(text: str) -> str:
    return NOT_XML.sub("\ufffd", text)
