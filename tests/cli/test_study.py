"""``mwanda study`` and its status in this process."""

from __future__ import annotations

import pytest

from mwanda import InputError
from mwanda.cli.commands.studies import named_paths
from mwanda.cli.program import COMMANDS, SHARED
from tests.cli.helpers import Bench
from tests.study.helpers import Lab, make_lab


@pytest.fixture
def lab(bench: Bench) -> Lab:
    return make_lab(lambda *_: bench.source, bench.root)


def test_a_study_and_its_status(bench: Bench, lab: Lab) -> None:
    words = ["study", lab.document(criteria=["magnitude"]), "--out", lab.out]
    made = bench.run(*words)
    assert made.code == 0, made.err
    assert "3 cells, 3 done, 0 failed, 0 running, 0 waiting" in made.out
    shown = bench.run("study", "status", lab.out)
    assert (shown.code, shown.out) == (0, made.out)
    told = bench.run("study", "status", lab.out, "--json").json()
    assert told["counts"] == {"done": 3, "failed": 0, "running": 0, "waiting": 0}
    assert {e["state"] for e in told["entries"]} == {"done"}
    assert bench.run(*words, "--json").json()["counts"]["done"] == 3
    assert bench.run("study", "work", lab.out).code == 0


def test_progress_says_what_is_done_and_what_is_left(
    bench: Bench, lab: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    bench.run("study", lab.document(criteria=["magnitude"]), "--out", lab.out)
    lines = [record.getMessage() for record in caplog.records if record.name == "mwanda"]
    assert any(line.startswith("[1/3] tiny, dense: ") and " left" in line for line in lines)
    assert any(line.startswith("[3/3] tiny, magnitude, 0.5: ") for line in lines)


def test_failed_cells_are_exit_code_1(bench: Bench, lab: Lab) -> None:
    words = ["study", lab.document(recipe={"windows": 9999}), "--out", lab.out]
    ran = bench.run(*words)
    assert ran.code == 1
    assert "2 of 5 that failed" in ran.err
    assert "--retry-failed" in ran.err
    assert "failed: tiny, wanda, 0.25, seed 0: " in ran.out


def test_the_extra_is_asked_for(bench: Bench, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "submitit", None)
    ran = bench.run("study", lab.document(), "--out", lab.out, "--cluster", 1)
    assert ran.code == 2
    assert "mwanda[cluster]" in ran.err


def test_a_report_of_it(bench: Bench, lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    words = ["study", lab.document(seeds=[0, 1]), "--out", lab.out]
    assert bench.run(*words).code == 0
    assert caplog.messages[-1] == f"next:\n  mwanda report {lab.out}"
    made = bench.run("report", lab.out)
    assert made.code == 0, made.err
    assert bench.run(*words).code == 0
    assert caplog.messages[-1] == f"next:\n  mwanda report {lab.out} --overwrite"
    page = (lab.out / "report" / "index.html").read_text(encoding="utf-8")
    assert "7 of 7 cells are done" in page
    assert "tiny, wanda" in page
    sizes = bench.run("report", lab.out, "--overwrite", "--json").json()
    assert [path.rpartition("/")[2] for path in sizes] == [
        "index.html", "report.md", "languages.csv", "differences.csv", "blocks.csv",
    ]  # fmt: skip
    bench.refuse(["report", lab.out], "--overwrite")
    assert bench.run("study", "status", lab.out).code == 0


def test_a_search(bench: Bench, lab: Lab) -> None:
    words = ["search", bench.source, "--text", lab.text, "--text-languages", "de,sw"]
    words += ["--calibration", lab.calibration, "--windows", 2, "--window-length", 32]
    words += ["--step", 0.2, "--highest", 0.6, "--criterion", "wanda"]
    found = bench.run(*words, "--max-loss", "99999%", "--out", bench.out, "--json").json()
    assert [trial["sparsity"] for trial in found["trials"]] == [0.4, 0.6]
    assert found["sparsity"] == 0.6
    assert bench.run("verify", bench.out).code == 0
    shown = bench.run(*words, "--max-loss", "99999%")
    assert "0.6 is the highest tried that passed; nothing higher was tried" in shown.out


def test_options_of_a_cluster_want_one(bench: Bench, lab: Lab) -> None:
    words = ["study", lab.document(), "--out", lab.out, "--cluster-option", "timeout_min=5"]
    bench.refuse(words, "--cluster-option: expected a --cluster, found none")


def test_several_processes_of_torchrun_are_refused(
    bench: Bench, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    bench.refuse(["study", lab.document(), "--out", lab.out], "study", "without torchrun")
    words = ["search", bench.source, "--text", lab.text, "--max-loss", "5%"]
    bench.refuse([*words, "--criterion", "magnitude"], "search", "without torchrun")
    bench.refuse(["study", "status", lab.out], "study status", "without torchrun")
    for words in (["eval", bench.source, "--text", lab.text], ["ls", "methods"],
                  ["trim", bench.source, "--languages", "de", "--plan"]):  # fmt: skip
        bench.refuse(words, f"{words[0]}: expected one process", "without torchrun")


def test_of_several_processes_the_first_shows_a_plan(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    words = ["plan", bench.source, "--criterion", "magnitude", "--allocation", "uniform"]
    for rank in (0, 1):
        monkeypatch.setenv("RANK", str(rank))
        ran = bench.run(*words)
        assert (ran.code, "no text needed" in ran.out) == (0, rank == 0)


def test_what_may_be_shared_is_a_command() -> None:
    assert {row[:2] for row in COMMANDS} > SHARED


def test_an_artefact_keeps_its_name_and_path_as_written() -> None:
    assert named_paths(["q4-k-m=out/1.gguf", "v=1.10"]) == {"q4-k-m": "out/1.gguf", "v": "1.10"}
    for wrong in (["a"], ["=b"], ["a=b", "a=c"]):
        with pytest.raises(InputError, match="--artefact: expected NAME=PATH, each name once"):
            named_paths(wrong)
