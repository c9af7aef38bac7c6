"""pack, unpack and gguf-check from the command line."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from gguf import GGMLQuantizationType
from safetensors.torch import save_file

from tests.cli.helpers import Bench, tree, wait_for
from tests.pruned.test_gguf_check import written
from tests.support.forked import Forked


def test_there_and_back(bench: Bench, pruned: Path) -> None:
    path, out = bench.root / "a.mwz", bench.root / "out"
    made = bench.run("pack", pruned, "--out", path, "--threads", 2, "--json").json()
    assert made["stored"] == path.stat().st_size < made["raw"]
    back = bench.run("unpack", path, "--out", out)
    assert back.code == 0
    assert "MB packed" in back.out
    assert bench.run("verify", out).code == 0
    names = [{key.removeprefix(str(place)): value for key, value in tree(place).items()}
             for place in (pruned, out)]  # fmt: skip
    assert names[0] == names[1]
    assert bench.run("unpack", path, "--out", out, "--overwrite").code == 0
    assert bench.run("pack", pruned, "--out", path, "--overwrite", "--level", 3).code == 0


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)], ids=["TERM", "INT"]
)
def test_a_signal_leaves_nothing(tmp_path: Path, number: signal.Signals, code: int) -> None:
    source = tmp_path / "source"
    source.mkdir()
    save_file({"w": torch.randn(24_000_000)}, source / "model.safetensors")
    with Forked("pack", "source", "--out", "a.mwz", "--level", 19, cwd=tmp_path) as running:
        wait_for(".a.mwz.partial/work/*", tmp_path, running)
        running.send_signal(number)
        out, err = running.communicate(timeout=60)
    assert running.returncode == code
    assert out == ""
    assert len(err.splitlines()) == (1 if number == signal.SIGINT else 0)
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_zeros_of_a_gguf(bench: Bench, tiny: Callable[..., Path]) -> None:
    pruned = bench.out
    assert bench.run(*bench.prune(model=tiny("qwen3"))).code == 0
    path = written(pruned, bench.root / "a.gguf", GGMLQuantizationType.Q8_0, arch="qwen3")
    ran = bench.run("gguf-check", path, pruned, "--fail-below", "100%")
    assert ran.code == 0, ran.err
    assert "100.0000% of the zeros kept" in ran.out
    assert bench.run("gguf-check", path, pruned, "--json").json()["share"] == 1.0
    path.unlink()
    written(pruned, path, GGMLQuantizationType.Q4_1, arch="qwen3")
    ran = bench.run("gguf-check", path, pruned, "--fail-below", "99%", "--json")
    assert ran.code == 3
    assert json.loads(ran.out)["share"] < 0.9
    assert [line.partition(":")[0] for line in ran.err.splitlines()] == ["warning", "error"]
