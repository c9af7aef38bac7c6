"""``mwanda eval`` with a report as HTML, Markdown and JUnit XML."""

from __future__ import annotations

import errno
import re
import shlex
import shutil
import tempfile
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml

from mwanda.errors import MwandaError
from tests.cli.helpers import Bench
from tests.study.report.helpers import Page
from tests.support import REPOSITORY


def words(bench: Bench, pruned: Path, text: Path) -> list[object]:
    return ["eval", pruned, "--text", text, "--no-generate", "--baseline", bench.source,
            "--fail-if-worse-than", "0.01%"]  # fmt: skip


def test_a_gate_that_is_not_met_leaves_its_reports(
    bench: Bench, pruned: Path, other_text: Path
) -> None:
    files = {kind: bench.root / f"r.{kind}" for kind in ("html", "md", "xml")}
    asked = [*words(bench, pruned, other_text), "--html", files["html"], "--markdown", files["md"],
             "--junit", files["xml"]]  # fmt: skip
    ran = bench.run(*asked)
    assert ran.code == 3, ran.err
    (suite,) = ElementTree.parse(files["xml"]).getroot()
    failed = [one.attrib["name"].split()[0] for one in suite if one.find("failure") is not None]
    assert failed
    assert f"gate: FAIL: {', '.join(failed)} " in ran.out
    page = " ".join(Page(files["html"].read_text(encoding="utf-8")).words)
    markdown = files["md"].read_text(encoding="utf-8")
    for text in (page, markdown):
        assert "The gate is not met" in text
        assert "mwanda prune" in text  # the command that made it
    assert sorted(path.name for path in bench.root.iterdir()) == ["r.html", "r.md", "r.xml"]
    bench.refuse(asked, "r.html", "choose another --html, or pass --overwrite")
    assert bench.run(*asked, "--overwrite").code == 3


def test_reports_are_written_before_anything_is_printed(
    bench: Bench, pruned: Path, other_text: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("mwanda.cli.options.show", stopped)
    page = bench.root / "r.md"
    ran = bench.run(*words(bench, pruned, other_text), "--sentences", 1, "--markdown", page)
    assert ran.code == 130
    assert "The gate is" in page.read_text(encoding="utf-8")


def test_a_card_that_cannot_take_the_table_is_told_before_any_work(
    bench: Bench, pruned: Path, other_text: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = bench.root / "copy"
    shutil.copytree(pruned, folder)
    asked = [*words(bench, folder, other_text), "--update-card"]
    card = folder / "README.md"
    card.write_bytes("é".encode("latin-1"))
    bench.refuse(asked, str(card), "UTF-8", "--update-card")
    card.write_text("mine")

    def read_only(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(tempfile, "mkdtemp", read_only)
    bench.refuse(asked, str(folder), "Read-only file system", "--update-card")


@pytest.mark.parametrize(("limit", "code"), [("0.01%", 3), ("9000%", 1)])
def test_a_card_that_fails_hides_no_gate(
    bench: Bench, pruned: Path, other_text: Path, monkeypatch: pytest.MonkeyPatch, limit: str,
    code: int,
) -> None:  # fmt: skip
    def failing(*_: object) -> None:
        raise MwandaError("a full disk")

    folder = bench.root / "copy"
    shutil.copytree(pruned, folder)
    monkeypatch.setattr("mwanda.pruning.folder.card.update_card", failing)
    asked = [*words(bench, folder, other_text)[:-1], limit, "--update-card", "--sentences", 2]
    ran = bench.run(*asked)
    assert ran.code == code
    assert ("in NLL per sentence" if code == 3 else "a full disk") in ran.err.splitlines()[-1]


def test_a_report_that_cannot_be_written_is_refused_before_any_work(
    bench: Bench, pruned: Path, other_text: Path
) -> None:
    asked = words(bench, pruned, other_text)
    bench.refuse([*asked[:4], "--junit", bench.root / "r.xml"], "--junit", "--fail-if-worse-than")
    bench.refuse([*asked, "--junit", bench.root / "r.txt"], "a name ending in .xml")
    bench.refuse([*asked, "--html", bench.root / "none" / "r.html"], "no such folder")
    kinds = {"--markdown": "README.md", "--html": "r.html", "--junit": "r.xml"}
    for option, name in kinds.items():
        mine = bench.root / name
        mine.write_text("<p>what I think of mwanda</p>\n")
        bench.refuse([*asked, option, mine, "--overwrite"], "the only kind that --overwrite")


def test_the_example_for_ci_runs(
    bench: Bench, pruned: Path, other_text: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (REPOSITORY / "docs" / "ci.md").read_text(encoding="utf-8")
    job = yaml.safe_load(re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)[0])["jobs"]["gate"]
    steps = {step["name"]: step["run"] for step in job["steps"] if "name" in step}
    places = {"ORGANISATION/PRUNED": pruned, "ORGANISATION/BASE": bench.source, "texts": other_text}
    monkeypatch.chdir(bench.root)
    for name, codes in (("Files", (0,)), ("Gate", (0, 3))):
        program, *asked = shlex.split(steps[name])
        assert program == "mwanda"
        assert bench.run(*(places.get(word, word) for word in asked)).code in codes
    kept = next(step["with"]["path"] for step in job["steps"] if "upload" in step.get("uses", ""))
    assert all((bench.root / name).is_file() for name in kept.split())
    assert (bench.root / "languages.md").is_file()
