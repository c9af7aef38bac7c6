"""The command line as a user meets it: a process, two streams and an exit code."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli.helpers import SMALL, Ran, check_refusal, process, run_process, tree, wait_for


def linears(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "mwanda.json").read_text())["linears"]


def test_prune_verify_and_eval(
    tiny: Callable[..., Path], corpus: Path, other_text: Path, tmp_path: Path
) -> None:
    source, before = tiny("llama"), tree(tiny("llama"))

    def run(*words: object) -> Ran:
        return run_process(*words, cwd=tmp_path)

    pruned = run("prune", source, "--out", "out", "--calibration", corpus, *SMALL, "--json")
    made = pruned.json()  # nothing but JSON on stdout, and the log on stderr
    assert pruned.err.splitlines() == [f"opening {source}", "wrote out"]
    assert made["totals"]["linears"] == 21
    assert abs(made["totals"]["sparsity"] - 0.5) < 0.02

    verified = run("verify", "out")
    assert (verified.code, verified.err) == (0, "")
    assert "files whole" in verified.out

    words = ["eval", "out", "--text", other_text, "--baseline", source, "--sentences", 2]
    compared = run(*words, "--json")
    assert compared.err.splitlines() == ["opening out", f"opening {source}"]
    assert run(*words, "--json", "--quiet").err == ""
    data = compared.json()
    seen = {tag: row["seen"] for tag, row in data["pruned"]["languages"].items()}
    assert seen == {"de": True, "fr": False, "sw": True}

    assert tree(source) == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_windows_fed_back_give_the_same_masks(
    tiny: Callable[..., Path], corpus: Path, tmp_path: Path
) -> None:
    text = ("--calibration", corpus, *SMALL)
    for words in (
        ["windows", tiny("llama"), "--out", "w.safetensors", *text],
        ["prune", tiny("llama"), "--out", "drawn", *text],
        ["prune", tiny("llama"), "--out", "given", "--calibration", "w.safetensors"],
    ):
        ran = run_process(*words, cwd=tmp_path)
        assert ran.code == 0, ran.err
    drawn, given = linears(tmp_path / "drawn"), linears(tmp_path / "given")
    assert len(drawn) == 21
    assert {n: row["mask_sha256"] for n, row in drawn.items()} == {
        n: row["mask_sha256"] for n, row in given.items()
    }
    one, other = (tmp_path / name / "model.safetensors" for name in ("drawn", "given"))
    assert one.read_bytes() == other.read_bytes()


def test_a_gate_that_is_not_met_is_exit_code_3(
    tiny: Callable[..., Path], other_text: Path, tmp_path: Path
) -> None:
    # Two unrelated random models: whichever is worse, one of the two directions fails.
    models = [tiny("llama"), tiny("llama", seed=1)]
    codes = {}
    for one, other in (models, models[::-1]):
        ran = run_process(
            "eval", one, "--baseline", other, "--text", other_text, "--no-generate",
            "--sentences", 2, "--languages", "de", "--fail-if-worse-than", "0.01%", "-q",
            cwd=tmp_path,
        )  # fmt: skip
        codes[ran.code] = ran
    assert set(codes) == {0, 3}
    assert "de +" in codes[3].err
    assert codes[3].err.startswith("error: ")
    assert len(codes[3].err.splitlines()) == 1
    assert codes[0].err == ""


def test_a_refusal_is_one_line_and_exit_code_2(
    tiny: Callable[..., Path], corpus: Path, tmp_path: Path
) -> None:
    words = ["prune", tiny("llama"), "--out", "out", "--calibration", corpus, *SMALL]
    ran = run_process(*words, "--skip-blocks", 7, "-q", cwd=tmp_path)
    check_refusal(ran, "--skip-blocks", "0 to 2", "found 7")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)], ids=["TERM", "INT"]
)
@pytest.mark.parametrize("replacing", [False, True])
def test_a_signal_leaves_nothing(
    tiny: Callable[..., Path],
    corpus: Path,
    pruned: Path,
    tmp_path: Path,
    number: signal.Signals,
    code: int,
    replacing: bool,
) -> None:
    source = tiny("llama", layers=40)
    if replacing:
        shutil.copytree(pruned, tmp_path / "out")
    before = tree(tmp_path)
    words = ["prune", source, "--out", "out", "--calibration", corpus, "--overwrite", "-q"]
    with process(*words, "--windows", 40, "--window-length", 64, cwd=tmp_path) as running:
        wait_for(".out.partial/output/*.safetensors", tmp_path, running)
        running.send_signal(number)
        out, err = running.communicate(timeout=60)
    assert running.returncode == code
    assert out == ""
    assert "Traceback" not in err
    assert len(err.splitlines()) == (1 if number == signal.SIGINT else 0)
    assert tree(tmp_path) == before


def test_a_reader_that_goes_away_is_no_traceback(tmp_path: Path) -> None:
    with process("ls", "criteria", cwd=tmp_path) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        running.stdout.close()
        err = running.stderr.read()
    assert "Traceback" not in err
    assert running.returncode in (0, 1)
