"""Tables of results that stand in the documentation."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from mwanda.study.document import StudyDocument
from mwanda.study.grid import points
from tests.support import REPOSITORY


def test_a_marked_table_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(REPOSITORY / "benchmarks"))
    from performance_table import fill

    table = {"header": ["language", "rise"], "rows": [["de", "+1.0%"]]}
    (tmp_path / "modes.json").write_text(json.dumps({"table": table}))
    text = "before\n<!-- table: modes -->\nold\n<!-- end of table -->\nafter\n"
    made = fill(text, tmp_path)
    assert "old" not in made
    assert "| de | +1.0% |" in made
    assert made.startswith("before\n")
    assert made.endswith("\nafter\n")
    assert fill(made, tmp_path) == made


STUDIES = ("finalists", "modes", "study", "trimmed")


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_file_is_a_study(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(REPOSITORY / "benchmarks"))
    from studies import placed, read_file
    from study_tables import TABLES

    assert TABLES.keys() == {*STUDIES}
    document = StudyDocument.model_validate(placed(read_file(name), Path("data")))
    assert document.evaluation.text == "data/flores"
    grid, problems = points(document, name)
    assert not problems
    assert {point.method for point in grid} == set(document.methods)


PAGES = sorted(
    page.name
    for page in (REPOSITORY / "docs").glob("*.md")
    if "<!-- end" in page.read_text(encoding="utf-8")
)


@pytest.mark.parametrize("name", PAGES)
def test_a_page_says_what_the_results_say(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(REPOSITORY / "benchmarks"))
    from performance_table import fill

    page = (REPOSITORY / "docs" / name).read_text(encoding="utf-8")
    assert fill(page, REPOSITORY / "benchmarks" / "results") == page


def test_the_readme_says_what_the_pages_say() -> None:
    told = _between(REPOSITORY / "README.md", "## What it gives", "## Beside other tools")
    pages = (REPOSITORY / "docs/results.md", REPOSITORY / "docs/constants-tables.md")
    text = "".join(page.read_text(encoding="utf-8") for page in pages)
    found = [float(number) for number in re.findall(r"\+(\d+\.\d+)%", text)]
    # "Gemma 3 270M at 50 %": sparsities, which no table needs to say.
    shares = [one for one in re.findall(r"(\d+(?:\.\d+)?) %", told) if one not in ("50", "30")]
    assert shares
    for share in shares:
        digits = len(share.partition(".")[2])
        assert any(f"{one:.{digits}f}" == share for one in found), share


def test_the_page_of_the_study_says_what_its_results_say() -> None:
    rows = json.loads((REPOSITORY / "benchmarks/results/study.json").read_text())["table"]["rows"]
    report = (REPOSITORY / "docs/study/report.md").read_text(encoding="utf-8")
    means = [row[2] for row in rows]
    assert means
    assert [mean for mean in means if mean.strip("+%") not in report] == []


def _between(page: Path, first: str, last: str) -> str:
    return page.read_text(encoding="utf-8").partition(first)[2].partition(last)[0]
