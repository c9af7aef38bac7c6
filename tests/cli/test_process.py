"""The command line as a user meets it: a process, two streams and an exit code."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from mwanda.model.stored.writer import ShardWriter
from tests.cli.helpers import SMALL, Ran, process, run_process, tree, wait_for
from tests.support.forked import Forked


def lines_of(ran: Ran) -> list[str]:
    """What a command logged, but for the progress that a slow machine is told every half minute."""
    return [one for one in ran.err.splitlines() if not re.search(r" \d+ of \d+(,|$)", one)]


def test_prune_verify_and_eval(
    tiny: Callable[..., Path], corpus: Path, other_text: Path, tmp_path: Path
) -> None:
    source, before = tiny("llama"), tree(tiny("llama"))

    def run(*words: object) -> Ran:
        with Forked(*words, cwd=tmp_path) as running:
            out, err = running.communicate()
        return Ran(running.wait(), out, err)

    pruned = run_process(
        "prune", source, "--out", "out", "--calibration", corpus, *SMALL, "--json", cwd=tmp_path
    )
    made = pruned.json()  # nothing but JSON on stdout, and the log on stderr
    assert lines_of(pruned) == [f"opening {source}", "wrote out"]
    assert made["totals"]["linears"] == 21
    assert abs(made["totals"]["sparsity"] - 0.5) < 0.02

    verified = run("verify", "out")
    assert (verified.code, verified.err) == (0, "")
    assert "files whole" in verified.out

    words = ["eval", "out", "--text", other_text, "--baseline", source, "--sentences", 2]
    compared = run_process(*words, "--json", cwd=tmp_path)
    scored = r"3 languages x 2 sentences, [\d,]+ tokens"
    said = ["opening out", f"scoring out: {scored}", "out: generating text in each language",
            f"opening {source}", f"scoring {source}: {scored}"]  # fmt: skip
    for line, pattern in zip(lines_of(compared), said, strict=True):
        assert re.fullmatch(pattern, line)
    assert run_process(*words, "--json", "--quiet", cwd=tmp_path).err == ""
    data = compared.json()
    seen = {tag: row["seen"] for tag, row in data["pruned"]["languages"].items()}
    assert seen == {"de": True, "fr": False, "sw": True}

    assert tree(source) == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def write_slowly() -> None:
    """So that a run takes half a minute, and no signal comes after its end on a busy machine."""
    write = ShardWriter.write_parts

    def slowly(*given: Any) -> None:
        time.sleep(0.1)
        write(*given)

    ShardWriter.write_parts = slowly  # type: ignore[method-assign]  # in a fork of its own


@pytest.mark.parametrize(
    ("number", "code", "replacing"),
    [(signal.SIGTERM, 143, True), (signal.SIGINT, 130, False)],
    ids=["TERM", "INT"],
)
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
    words = ["prune", source, "--out", "out", "--calibration", corpus, *SMALL, "--overwrite", "-q"]
    with Forked(*words, cwd=tmp_path, before=write_slowly) as running:
        wait_for(".out.partial/output/*.safetensors", tmp_path, running)
        ended = None
        while ended is None:  # Python drops what a signal raises as an object is being destroyed
            running.send_signal(number)
            with suppress(subprocess.TimeoutExpired):
                ended = running.wait(timeout=10)
        out, err = running.communicate(timeout=60)
    assert running.returncode == code, err
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
