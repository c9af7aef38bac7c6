"""mask extract and mask apply from the command line."""

from __future__ import annotations

from pathlib import Path

from tests.cli.helpers import Bench
from tests.pruning.pipeline.helpers import shard_bytes


def test_out_and_on_again(bench: Bench, pruned: Path) -> None:
    file = bench.root / "m.safetensors"
    made = bench.run("mask", "extract", pruned, "--out", file, "--json").json()
    assert made["bytes"] == file.stat().st_size
    assert made["zero_before"] == 0
    ran = bench.run("mask", "apply", file, bench.source, "--out", bench.out)
    assert ran.code == 0, ran.err
    assert "50.0000% of" in ran.out
    assert "other weights" not in ran.err
    assert shard_bytes(bench.out) == shard_bytes(pruned)
    assert bench.run("verify", bench.out).code == 0
    again = bench.run("mask", "apply", file, bench.source, "--out", bench.out, "--overwrite",
                      "--dtype", "float16", "--json").json()  # fmt: skip
    assert again["dtype"] == "float16"
    assert again["mask_file"]["same"]
    assert "MB, masks of 21 linears" in bench.run(
        "mask", "extract", pruned, "--out", file, "--overwrite"
    ).out  # fmt: skip
