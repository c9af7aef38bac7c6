"""The commands around saved statistics."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import mwanda
from tests.cli.helpers import SMALL, Bench
from tests.pruning.pipeline.helpers import shard_bytes
from tests.support.text import write_corpus


@pytest.fixture
def file(bench: Bench) -> Path:
    path = bench.root / "s.safetensors"
    bench.run("stats", bench.source, "--calibration", bench.corpus, *SMALL, "--out", path)
    return path


def test_taken_shown_and_used(bench: Bench, file: Path) -> None:
    shown = bench.run("stats", "show", file, "--json").json()
    assert [block["block"] for block in shown["blocks"]] == [0, 1, 2]
    assert list(shown["languages"]) == ["de", "sw"]
    text = bench.run("stats", "show", file).out
    assert "most shared by the languages: blocks" in text
    assert "de German" in text
    made = bench.run(
        "prune", bench.source, "--out", bench.out, "--statistics", file, "--json"
    ).json()
    assert made["recipe"]["windows"] == 2
    assert made["recipe"]["window_length"] == 32
    assert "dense pass" not in made["seconds"]
    assert made["recipe"]["allocation"]["name"] == "cwl"  # from text it would be measured
    words = [*bench.prune()[:2], "--out", bench.root / "text", *bench.prune()[4:]]
    bench.run(*words, "--allocation", "cwl")
    assert shard_bytes(bench.out) == shard_bytes(bench.root / "text")
    manifest = json.loads((bench.out / "mwanda.json").read_text())
    assert manifest["statistics_file"]["name"] == "s.safetensors"
    assert bench.run("verify", bench.out).code == 0


def test_the_summary(bench: Bench) -> None:
    line = ["stats", bench.source, "--calibration", bench.corpus, *SMALL, "--gram"]
    line += ["--language-weights", "de=3", "--out", bench.root / "s.safetensors"]
    out = bench.run(*line).out
    assert "21 linears fed by 12 different inputs, with Gram matrices" in out
    assert "0.750" in out
    made = bench.run(*line, "--json", "--overwrite").json()
    assert made["needs"] == ["square", "activity", "activity-sign", "gram"]
    assert made["bytes"] == (bench.root / "s.safetensors").stat().st_size


def test_merged(bench: Bench, file: Path) -> None:
    more = bench.root / "more"
    write_corpus(more, ["fr", "de"], lines=60, seed=8)
    second, out = bench.root / "second.safetensors", bench.root / "merged.safetensors"
    bench.run("stats", bench.source, "--calibration", more, *SMALL, "--out", second)
    made = bench.run("stats", "merge", file, second, "--out", out, "--json").json()
    tokens = {tag: d["tokens"] for tag, d in made["calibration"]["languages"].items()}
    assert tokens == {"de": 128, "sw": 64, "fr": 64}
    assert "2 files of statistics" in bench.run("stats", "show", out).out


def test_an_evaluation_knows_the_text(bench: Bench, file: Path) -> None:
    """What calibrated is known from the file: the same text is refused, other languages unseen."""
    line = ["prune", bench.source, "--statistics", file, "--languages", "de", "--out", bench.out]
    assert bench.run(*line).code == 0
    score = ["eval", bench.out, "--text", bench.corpus, "--no-generate"]
    bench.refuse([*score, "--languages", "de"], "share sentences with it")
    assert bench.run(*score, "--languages", "sw").code == 0


def test_a_plan_counts_no_forward(bench: Bench, file: Path) -> None:
    text = bench.run("plan", *bench.prune()[1:2], *bench.prune()[4:], "--json").json()
    line = ["plan", bench.source, "--statistics", file, "--json"]
    made = bench.run(*line).json()
    assert made["passes"] == made["flops"] == made["compute_seconds"] == 0
    assert text["passes"] > 0
    assert made["languages"] == ["de", "sw"]
    assert made["tokens"] == text["tokens"] == 128


def test_masks_alone(bench: Bench, file: Path) -> None:
    out = bench.root / "m.safetensors"
    line = ["prune", bench.source, "--statistics", file, "--masks-only", "--out", out]
    made = bench.run(*line, "--json").json()
    assert made["masks"] == str(out)
    assert made["folder"] is None
    assert "the masks alone" in bench.run(*line, "--overwrite").out


def test_help(bench: Bench) -> None:
    ran = bench.run("stats", "--help")
    assert ran.code == 0
    assert "--gram" in ran.out
    assert "merge" in ran.out
    assert "--overwrite" in bench.run("stats", "merge", "--help").out


def test_from_python(bench: Bench, file: Path) -> None:
    result = mwanda.prune(bench.source, out=bench.out, statistics=file, languages=["sw"])
    assert result.windows is None
    assert result.manifest.seen == ("sw",)
