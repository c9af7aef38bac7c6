"""``mwanda translate``, ``mwanda tasks`` and ``mwanda quantise`` as they are typed."""

from __future__ import annotations

from pathlib import Path

import pytest

from mwanda.evaluation.tasks.harness import harness_version
from tests.cli.helpers import Bench, run_process
from tests.support.tasks import write_xcopa, write_xwinograd
from tests.support.text import write_parallel


@pytest.fixture
def parallel(tmp_path: Path) -> Path:
    """Short parallel sentences of German and Swahili."""
    return write_parallel(tmp_path / "parallel", ["de", "sw"])


def test_translate(bench: Bench, parallel: Path) -> None:
    words = ["translate", bench.source, "--text", parallel, "--direction", "de-sw",
             "--sentences", "2", "--shots", "1"]  # fmt: skip
    found = bench.run(*words, "--direction", "sw-de", "--json").json()
    assert list(found["directions"]) == ["de-sw", "sw-de"]
    assert found["settings"]["sentences"] == 2
    shown = bench.run(*words)
    assert shown.code == 0, shown.err
    assert "chrF++" in shown.out
    assert "tok:13a" in shown.out


def test_translate_without_the_extra(
    bench: Bench, parallel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib.util

    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec",
        lambda name, *more: None if name == "sacrebleu" else real(name, *more),
    )  # fmt: skip
    words = ["translate", bench.source, "--text", parallel, "--direction", "de-sw"]
    bench.refuse(words, "library sacrebleu", "pip install 'mwanda[translation]'")


def test_quantise(bench: Bench, tiny: object) -> None:
    source = tiny("qwen3")  # type: ignore[operator]
    words = ["quantise", source, "--type", "q8_0", "--out", bench.out]
    shown = bench.run(*words)
    assert shown.code == 0, shown.err
    assert "3 matrices in Q8_0; all weights take 0.2 MB in GGUF" in shown.out
    assert "as it was: model.layers.0.mlp.down_proj.weight, rows of 80" in shown.out
    assert bench.run(*words, "--overwrite", "--json").json()["type"] == "Q8_0"


def test_eval_counts_repetition_and_other_languages(bench: Bench, other_text: Path) -> None:
    words = ["eval", bench.source, "--text", other_text, "--languages", "de,sw"]
    plain = bench.run(*words, "--json").json()
    assert "generated" not in plain
    found = bench.run(*words, "--continuations", "2", "--no-generate", "--json").json()
    assert found["languages"] == plain["languages"]
    assert found["continuations"] == {}
    assert found["generated"]["de"]["outputs"]["texts"] == 2
    assert len(found["generated"]["sw"]["texts"]) == 2
    shown = bench.run(*words, "--continuations", "1")
    assert "repeats itself" in shown.out
    assert "continuations (prompt | generated)" in shown.out


def test_tasks(bench: Bench, tmp_path: Path) -> None:
    folder = write_xcopa(tmp_path / "xcopa", ["et", "sw"])
    file = write_xwinograd(tmp_path / "dataset.tsv", ["en"])
    words = ["tasks", bench.source, "--task", f"xcopa={folder}"]
    found = bench.run(*words, "--task", f"xwinograd={file}", "--items", "3", "--json").json()
    assert {task: list(rows) for task, rows in found["tasks"].items()} == {
        "xcopa": ["et", "sw"], "xwinograd": ["en"],
    }  # fmt: skip
    assert found["settings"]["harness"] == harness_version()
    assert len(found["tasks"]["xcopa"]["et"]["correct"]) == 3
    shown = bench.run(*words, "--all", "--languages", "sw")
    assert shown.code == 0, shown.err
    assert "Swahili (sw)" in shown.out
    assert "Estonian" not in shown.out


def test_tasks_as_a_process(bench: Bench, tmp_path: Path) -> None:
    folder = write_xcopa(tmp_path / "xcopa", ["et"])
    words = ["tasks", bench.source, "--task", f"xcopa={folder}", "--items", "2"]
    done = run_process(*words, cwd=bench.root)
    assert done.code == 0, done.err
    assert "Estonian (et)" in done.out
    assert done.err.splitlines() == [f"opening {bench.source}"]


def test_tasks_without_the_extra(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib.util

    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec",
        lambda name, *more: None if name == "lm_eval" else real(name, *more),
    )  # fmt: skip
    words = ["tasks", bench.source, "--task", f"xcopa={write_xcopa(tmp_path / 'x', ['et'])}"]
    bench.refuse(words, "library lm_eval", "pip install 'mwanda[eval]'")
