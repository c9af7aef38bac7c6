"""Several processes that share a prune give what one gives, or a clear error and nothing."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import torch

import mwanda
from mwanda import InputError
from mwanda.pruning.folder.mask_file import MaskFile
from mwanda.system.ranks import ALONE, Ranks, launched
from tests.cli.helpers import wait_for
from tests.pruning.pipeline.helpers import Tiny, shard_bytes, tensors, windows_file
from tests.pruning.saved.helpers import content
from tests.support.forked import Several, torchrun

RECIPE = ("--sparsity", "0.5", "--device", "cpu", "--batch-tokens", "24")


@pytest.mark.parametrize(("mode", "size"), [("sequential", 2), ("dense", 3)])
def test_the_same_bytes_as_one_process(tiny: Tiny, tmp_path: Path, mode: str, size: int) -> None:
    source, windows = tiny("gemma3"), windows_file(tmp_path)
    options = mwanda.RunOptions(device="cpu", batch_tokens=24)
    mwanda.prune(
        source, out=tmp_path / "one", calibration=windows, sparsity=0.5, mode=mode, options=options
    )
    words = ["prune", source, "--out", "many", "--calibration", windows, *RECIPE, "--mode", mode]
    with Several(size, *words, "--json", cwd=tmp_path) as running:
        out, err = running.communicate(timeout=120)
    assert running.returncode == 0, err
    assert out.count('"folder"') == 1
    assert shard_bytes(tmp_path / "many") == shard_bytes(tmp_path / "one")
    assert not mwanda.verify(tmp_path / "many").problems
    one, many = (mwanda.verify(tmp_path / name).manifest for name in ("one", "many"))
    assert many.linears == one.linears
    assert many.files == one.files


def test_more_processes_than_batches(tiny: Tiny, tmp_path: Path) -> None:
    """A process without text of its own still does its share of the masks."""
    source, windows = tiny("llama"), windows_file(tmp_path, counts={"de": (2, 8)})
    mwanda.prune(source, out=tmp_path / "one", calibration=windows, sparsity=0.5)
    words = ["prune", source, "--out", "many", "--calibration", windows, "--sparsity", "0.5"]
    with Several(3, *words, cwd=tmp_path) as running:
        _, err = running.communicate(timeout=120)
    assert running.returncode == 0, err
    assert shard_bytes(tmp_path / "many") == shard_bytes(tmp_path / "one")


@pytest.mark.parametrize("allocation", ["uniform", "owl"])
def test_reconstructed_weights_travel_too(tiny: Tiny, tmp_path: Path, allocation: str) -> None:
    """Of two languages in three batches, so that one process of four has no text at all."""
    source = tiny("gpt2")
    windows = windows_file(tmp_path, counts={"de": (2, 20), "sw": (1, 20)})
    options = mwanda.RunOptions(device="cpu", batch_tokens=20)
    fields = {"criterion": "wanda", "allocation": allocation, "mode": "dense"}
    fields |= {"reconstruction": "admm"}
    out = tmp_path / "one"
    mwanda.prune(source, out=out, calibration=windows, options=options, **fields)
    words = ["prune", source, "--out", "many", "--calibration", windows, "--batch-tokens", "20"]
    words += [word for name, value in fields.items() for word in (f"--{name}", value)]
    with Several(4, *words, "--device", "cpu", cwd=tmp_path) as running:
        _, err = running.communicate(timeout=120)
    assert running.returncode == 0, err
    assert not mwanda.verify(tmp_path / "many").problems
    one, many = tensors(tmp_path / "one"), tensors(tmp_path / "many")
    for name, tensor in one.items():
        assert torch.equal(many[name] == 0, tensor == 0)
        torch.testing.assert_close(many[name], tensor, rtol=1e-3, atol=1e-5)


def test_errors_of_masked_blocks_are_added_up(tiny: Tiny, tmp_path: Path) -> None:
    """Of two languages in six batches, the first of which are compared, by two of three processes
    only; a sparsity at the edge of one more weight a row can fall either way."""
    source, windows = tiny("gemma3"), windows_file(tmp_path, counts={"de": (4, 20), "sw": (2, 20)})
    options = mwanda.RunOptions(device="cpu", batch_tokens=20)
    allocation = {"name": "measured", "windows": 1}
    one = mwanda.prune(
        source, out=tmp_path / "one", calibration=windows, allocation=allocation, options=options
    )
    words = ["prune", source, "--out", "many", "--calibration", windows, "--batch-tokens", "20"]
    words += ["--allocation", "measured", "--allocation-option", "windows=1", "--device", "cpu"]
    with Several(3, *words, cwd=tmp_path) as running:
        _, err = running.communicate(timeout=120)
    assert running.returncode == 0, err
    found = mwanda.verify(tmp_path / "many")
    assert not found.problems
    for mine, theirs in zip(one.manifest.signals, found.manifest.signals, strict=True):
        for tag in ("de", "sw"):
            assert theirs.errors[tag] == pytest.approx(mine.errors[tag], rel=1e-4)
    for name, record in one.manifest.linears.items():
        assert found.manifest.linears[name].sparsity == pytest.approx(record.sparsity, abs=1 / 48)


def test_a_process_that_dies_ends_the_run_and_leaves_nothing(tiny: Tiny, tmp_path: Path) -> None:
    source = tiny("llama", layers=40)
    windows = windows_file(tmp_path, counts={"de": (40, 64), "sw": (40, 64)})
    words = ["prune", source, "--out", "out", "--calibration", windows, *RECIPE]
    with torchrun(2, *words, cwd=tmp_path) as running:
        wait_for(".out.partial/output/*.safetensors", tmp_path, running)
        os.kill(workers(running.pid)[-1], signal.SIGKILL)
        _, err = running.communicate(timeout=90)
    assert running.returncode != 0
    assert "SIGKILL" in err or "Signal 9" in err
    assert [path.name for path in tmp_path.iterdir()] == ["windows.safetensors"]


def test_bad_input_is_said_with_the_process_that_says_it(tiny: Tiny, tmp_path: Path) -> None:
    with Several(2, "prune", tiny("llama"), "--out", "out", cwd=tmp_path) as running:
        _, err = running.communicate(timeout=60)
    assert running.returncode != 0
    assert "error: process 0 of 2: --calibration: expected text" in err
    assert list(tmp_path.iterdir()) == []


def workers(parent: int) -> list[int]:
    """The processes that a launcher started, in order."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == parent:
            found.append(int(status.parent.name))
    return sorted(found)


def test_items_are_shared_out_whole() -> None:
    shares = [Ranks(rank, 3).share(range(8)) for rank in range(3)]
    assert shares == [[0, 3, 6], [1, 4, 7], [2, 5]]
    assert all(Ranks(Ranks(0, 3).owner(k), 3).share(range(8)).count(k) == 1 for k in range(8))
    tensor = torch.ones(3)
    ALONE.total([tensor])
    assert ALONE.send(tensor, 0) is tensor
    assert ALONE.writes


@pytest.mark.parametrize(("rank", "size"), [("2", "2"), ("-1", "2"), ("one", "2"), ("0", "0")])
def test_a_senseless_environment_is_refused(
    monkeypatch: pytest.MonkeyPatch, rank: str, size: str
) -> None:
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setenv("WORLD_SIZE", size)
    with pytest.raises(InputError, match="as torchrun sets them"):
        launched()


def test_statistics_by_several_processes(tiny: Tiny, tmp_path: Path) -> None:
    """Taken by two, used by two: the bytes of one. Merging is one process's work."""
    source, windows = tiny("qwen3_moe"), windows_file(tmp_path)
    options = mwanda.RunOptions(device="cpu", batch_tokens=24)
    take = ["stats", source, "--calibration", windows, "--gram", *RECIPE[2:]]
    with Several(2, *take, "--out", "many.safetensors", "--json", cwd=tmp_path) as running:
        out, err = running.communicate(timeout=120)
    assert running.returncode == 0, err
    assert out.count('"file"') == 1
    mwanda.collect_statistics(
        source, tmp_path / "one.safetensors", calibration=windows, gram=True, options=options
    )
    (many, record), (one, known) = (content(tmp_path / f"{n}.safetensors") for n in ("many", "one"))
    assert many.keys() == one.keys()
    assert record["inputs"] == known["inputs"]
    for name, tensor in many.items():
        torch.testing.assert_close(tensor, one[name], rtol=1e-5, atol=1e-6)
    use = ["prune", source, "--statistics", "many.safetensors", "--masks-only", "--out"]
    with Several(2, *use, "two.safetensors", "--json", cwd=tmp_path) as running:
        out, err = running.communicate(timeout=120)
    assert running.returncode == 0, err
    mwanda.prune(
        source, out=tmp_path / "alone.safetensors", statistics=tmp_path / "many.safetensors",
        masks_only=True,
    )  # fmt: skip
    two, alone = (MaskFile.open(tmp_path / f"{n}.safetensors").manifest for n in ("two", "alone"))
    assert two.linears == alone.linears


def test_merging_is_refused_under_torchrun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="stats merge: expected one process"):
        mwanda.merge_statistics([tmp_path / "a", tmp_path / "b"], tmp_path / "c.safetensors")
