"""What differs between two prunes is counted where it is, from folders and from files of masks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import mwanda
from mwanda import InputError
from tests.pruning.pipeline.helpers import windows_file
from tests.support.folders_made import Tiny, copied, pruned

SHARD = "model.safetensors"
UP = "model.layers.1.mlp.up_proj"


@pytest.fixture(scope="module")
def folder(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pruned(tiny, tmp_path_factory.mktemp("diff") / "out")


def moved(folder: Path, to: Path) -> Path:
    """A copy in which one weight of one linear was kept instead of another."""
    other = copied(folder, to)
    weights = load_file(other / SHARD)
    weight = weights[f"{UP}.weight"]
    removed = torch.nonzero(weight[3] == 0)[0]
    kept = torch.nonzero(weight[3])[0]
    weight[3, removed], weight[3, kept] = 1.0, 0.0
    save_file(weights, other / SHARD, metadata={"format": "pt"})
    return other


def test_the_same_twice_is_no_difference(folder: Path) -> None:
    found = mwanda.diff(folder, folder)
    assert (found.total.differing, found.total.overlap) == (0, 1.0)
    assert len(found.linears) == 21
    assert list(found.blocks) == [0, 1, 2]
    assert found.kinds.keys() >= {"q_proj", "down_proj"}


def test_a_difference_is_where_it_was_made(folder: Path, tmp_path: Path) -> None:
    found = mwanda.diff(folder, moved(folder, tmp_path / "b"))
    assert [row.name for row in found.linears if row.masks.differing] == [UP]
    masks = next(row.masks for row in found.linears if row.name == UP)
    assert (masks.differing, masks.rows, masks.columns) == (2, 1, 2)
    assert masks.first == masks.second == 80 * 48 // 2
    assert masks.overlap == (masks.first - 1) / (masks.first + 1)
    assert [block for block, row in found.blocks.items() if row.differing] == [1]
    assert [kind for kind, row in found.kinds.items() if row.differing] == ["up_proj"]
    data = found.as_dict()
    assert data["total"]["differing"] == data["linears"][UP]["differing"] == 2


@pytest.mark.parametrize("family", ["gpt2", "mixtral"])
def test_a_file_of_masks_is_like_the_folder_they_are_in(
    tiny: Tiny, tmp_path: Path, family: str
) -> None:
    given: dict[str, Any] = {"criterion": "wanda", "allocation": "uniform"}
    folder = pruned(tiny, tmp_path / "out", family)
    masks = tmp_path / "masks.safetensors"
    mwanda.prune(
        tiny(family), out=masks, masks_only=True, calibration=windows_file(tmp_path), **given
    )
    for one, other in ((folder, masks), (masks, folder), (masks, masks)):
        found = mwanda.diff(one, other)
        assert found.total.differing == 0
        assert len(found.linears) == len(mwanda.verify(folder).linears)
        assert not found.only_first + found.only_second + found.reshaped


def test_folders_without_a_manifest(folder: Path, tiny: Tiny, tmp_path: Path) -> None:
    bare = copied(folder, tmp_path / "bare")
    (bare / "mwanda.json").unlink()
    half = mwanda.diff(tiny("llama"), bare)
    assert len(half.linears) == 21
    assert half.total.share == 0.5
    assert half.total.first == half.total.weights
    assert mwanda.diff(folder, tiny("llama")).total.share == 0.5
    assert mwanda.diff(bare, tiny("llama")).total.differing == half.total.differing


def test_linears_that_only_one_has(folder: Path, tiny: Tiny, tmp_path: Path) -> None:
    masks = tmp_path / "part.safetensors"
    mwanda.prune(
        tiny("llama"), out=masks, masks_only=True, calibration=windows_file(tmp_path),
        criterion="wanda", allocation="uniform", skip_blocks=[0],
    )  # fmt: skip
    found = mwanda.diff(masks, folder)
    assert (len(found.linears), len(found.only_first), len(found.only_second)) == (14, 0, 7)
    assert len(mwanda.diff(folder, masks).only_first) == 7
    wider = mwanda.diff(folder, pruned(tiny, tmp_path / "out", "qwen3"))
    assert wider.reshaped or wider.only_first
    with pytest.raises(InputError, match="none of"):
        mwanda.diff(folder, pruned(tiny, tmp_path / "other", "gpt2"))


def test_what_is_neither(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing there"):
        mwanda.diff(folder, tmp_path / "none")
    with pytest.raises(InputError, match="safetensors"):
        mwanda.diff(folder, folder / "config.json")
    with pytest.raises(InputError, match="a foreign file"):
        mwanda.diff(folder / SHARD, folder)
