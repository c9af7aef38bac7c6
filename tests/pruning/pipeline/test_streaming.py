"""What is written is what was meant: read back by plain transformers, from any layout of files."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import mwanda
from mwanda import RunOptions
from tests.pruning.pipeline.helpers import (
    Tiny,
    masks_of,
    same_masks,
    shard_bytes,
    tensors,
    token_windows,
    windows_file,
)
from tests.support.models import FAMILIES
from tests.support.walk import plain, streamed


def prune(folder: Path, out: Path, *, options: RunOptions | None = None, **fields: Any) -> Path:
    mwanda.prune(
        folder,
        out=out,
        calibration=windows_file(out.parent),
        options=options,
        **({"criterion": "wanda", "allocation": "uniform"} | fields),
    )
    return out


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_pruned_folder_runs_as_streamed(
    tiny: Tiny, tmp_path: Path, family: str, tied: bool
) -> None:
    out = prune(tiny(family, tied=tied), tmp_path / "out")
    expected = plain(out)
    assert (expected - plain(tiny(family, tied=tied))).abs().max() > 0.01  # pruning did something
    torch.testing.assert_close(streamed(out), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("family", ["gemma3", "bloom"])
def test_bfloat16_stays_bfloat16(tiny: Tiny, tmp_path: Path, family: str) -> None:
    source = tiny(family, dtype=torch.bfloat16)
    out = prune(source, tmp_path / "out", options=RunOptions(compute_dtype="float32"))
    before, after = tensors(source), tensors(out)
    assert {t.dtype for t in after.values()} == {torch.bfloat16}
    for name, tensor in after.items():
        assert torch.equal(tensor, torch.where(tensor == 0, 0, before[name]))
    torch.testing.assert_close(streamed(out), plain(out), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_many_shards_in_and_out(tiny: Tiny, tmp_path: Path, family: str) -> None:
    single = prune(tiny(family), tmp_path / "single")
    sharded = tiny(family, max_shard_size="40KB")
    assert len(list(sharded.glob("*.safetensors"))) > 3
    out = prune(sharded, tmp_path / "out", options=RunOptions(max_shard_size=40_000))
    shards = shard_bytes(out)
    assert len(shards) > 3
    index = json.loads((out / "model.safetensors.index.json").read_text())
    written = tensors(out)
    assert index["weight_map"].keys() == written.keys() == tensors(sharded).keys()
    assert index["metadata"]["total_size"] == sum(t.nbytes for t in written.values())
    assert set(index["weight_map"].values()) == set(shards)
    for shard in shards:
        held = [written[name].nbytes for name, at in index["weight_map"].items() if at == shard]
        assert len(held) == 1 or sum(held) <= 40_000
    for name, tensor in tensors(single).items():
        assert torch.equal(tensor, written[name])
    torch.testing.assert_close(streamed(out), plain(out), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("family", ["gpt2", "bloom"])
def test_names_without_the_base_prefix_stay_as_they_are(
    tiny: Tiny, tmp_path: Path, family: str
) -> None:
    source = tmp_path / "source"
    shutil.copytree(tiny(family), source)
    short = {n.removeprefix("transformer."): t for n, t in tensors(source).items()}
    assert short.keys().isdisjoint(tensors(source))
    save_file(short, source / "model.safetensors", metadata={"format": "pt"})
    out = prune(source, tmp_path / "out")
    assert tensors(out).keys() == short.keys()
    same_masks(masks_of(out), masks_of(prune(tiny(family), tmp_path / "long")))
    torch.testing.assert_close(streamed(out), plain(out), rtol=1e-5, atol=1e-5)
    assert mwanda.verify(out).problems == ()


@pytest.mark.parametrize("family", ["gemma3", "gpt2"])
@pytest.mark.parametrize("fields", [{}, {"mode": "dense"}, {"allocation": "cwl"}], ids=str)
def test_spilling_and_batches_change_nothing(
    tiny: Tiny, tmp_path: Path, family: str, fields: dict[str, Any]
) -> None:
    def run(name: str, **how: Any) -> tuple[dict[str, torch.Tensor], int]:
        result = mwanda.prune(
            tiny(family),
            out=tmp_path / name,
            calibration=windows_file(tmp_path),
            options=RunOptions(**how),
            **({"criterion": "m-wanda", "allocation": "uniform"} | fields),
        )
        return masks_of(tmp_path / name), result.spilled

    expected, nothing = run("whole")
    assert nothing == 0
    for name, how in {
        "spilled": {"activation_memory": 0},
        "some": {"activation_memory": 10_000},
        "ones": {"batch_tokens": 1},
        "pairs": {"batch_tokens": 48},
    }.items():
        masks, spilled = run(name, **how)
        same_masks(masks, expected)
        whole = sum(ids.numel() for ids in token_windows().values()) * 48 * 4
        most = {"spilled": whole, "some": whole - 1}.get(name, 0)
        assert (spilled == most) if name != "some" else (0 < spilled <= most)
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


def test_two_runs_write_the_same_bytes(tiny: Tiny, tmp_path: Path) -> None:
    one = prune(tiny("qwen3"), tmp_path / "one", criterion="m-wanda", allocation="cwl")
    two = prune(tiny("qwen3"), tmp_path / "two", criterion="m-wanda", allocation="cwl")
    assert shard_bytes(one) == shard_bytes(two)
    records = [json.loads((out / "mwanda.json").read_text())["linears"] for out in (one, two)]
    assert records[0] == records[1]


def test_nothing_is_left_when_the_work_fails(tiny: Tiny, tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(tiny("llama"), source)
    damaged = tensors(source)
    damaged["model.layers.2.mlp.down_proj.weight"][3, 5] = float("nan")
    save_file(damaged, source / "model.safetensors", metadata={"format": "pt"})
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(mwanda.DataError):
        prune(source, tmp_path / "out")
    assert sorted({path.name for path in tmp_path.iterdir()} - {"windows.safetensors"}) == before
