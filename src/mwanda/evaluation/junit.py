"""A gate as JUnit XML: a test case a language."""

from __future__ import annotations

from mwanda.evaluation.gate import DECIDES, Gate
from mwanda.evaluation.results import Comparison
from mwanda.system.junit import Case, junit_xml
from mwanda.text.languages import display_name


def gate_xml(compared: Comparison, gate: Gate) -> str:
    """A test suite of all languages: one that lost more than it may fails, one without a limit is
    skipped.
    """
    judged = {one.language: one for one in gate.judge(compared)}
    facts = {"baseline": compared.baseline.model, "text": compared.pruned.text,
             "text_sha256": compared.pruned.text_sha256, "judged by": DECIDES[gate.on]}  # fmt: skip
    cases = []
    for rise in compared.rises:
        name, one = f"{rise.language} {display_name(rise.language)}", judged.get(rise.language)
        passed, said = (None, "no limit") if one is None else (one.passed, str(one))
        cases.append(Case(name, passed, said))
    return junit_xml("eval", compared.pruned.model, facts, cases, "GateError")
