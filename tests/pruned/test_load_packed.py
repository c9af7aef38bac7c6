"""A model out of an archive is the model out of the unpacked folder."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM

import mwanda
from mwanda.errors import InputError
from mwanda.pruned.archive.reader import Archive
from tests.support.folders_made import Tiny, copied, pruned
from tests.support.models import tiny_model


def same(one: Any, other: Any) -> None:
    states = one.state_dict(), other.state_dict()
    assert states[0].keys() == states[1].keys()
    for name, tensor in states[0].items():
        assert tensor.dtype == states[1][name].dtype, name
        assert torch.equal(tensor, states[1][name]), name
    ids = torch.arange(3, 20)[None]
    with torch.no_grad():
        assert torch.equal(one(input_ids=ids).logits, other(input_ids=ids).logits)
    assert one.generation_config.to_dict() == other.generation_config.to_dict()
    assert type(one) is type(other)
    assert not one.training


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma3", "mixtral"])
def test_it_is_the_folders_model(tiny: Tiny, tmp_path: Path, family: str) -> None:
    folder = pruned(tiny, tmp_path / "out", family)
    mwanda.pack(folder, tmp_path / "a.mwz", threads=1)
    same(mwanda.load_packed(tmp_path / "a.mwz"), AutoModelForCausalLM.from_pretrained(folder))


def test_shards_dtypes_and_options(tmp_path: Path) -> None:
    folder = tiny_model("llama", tmp_path / "m", dtype=torch.bfloat16, max_shard_size="40KB")
    assert len(list(folder.glob("*.safetensors"))) > 1
    mwanda.pack(folder, tmp_path / "a.mwz", threads=1)
    for options in ({}, {"dtype": torch.float32}, {"attn_implementation": "eager"}):
        plain = AutoModelForCausalLM.from_pretrained(folder, **options)
        same(mwanda.load_packed(tmp_path / "a.mwz", **options), plain)


def test_every_tensor_is_decoded_once_and_no_other_large_file(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mwanda.pack(tiny("llama"), tmp_path / "a.mwz", threads=1)
    tensors, files = [], []
    read, read_file = Archive.read, Archive.read_file

    def watched(self: Archive, path: str, name: str) -> torch.Tensor:
        tensors.append(name)
        return read(self, path, name)

    def watched_file(self: Archive, path: str) -> bytes:
        files.append(path)
        return read_file(self, path)

    monkeypatch.setattr(Archive, "read", watched)
    monkeypatch.setattr(Archive, "read_file", watched_file)
    mwanda.load_packed(tmp_path / "a.mwz")
    with Archive.open(tmp_path / "a.mwz") as archive:
        assert sorted(tensors) == sorted(archive.tensors("model.safetensors"))
    assert sorted(files) == ["config.json", "generation_config.json"]


def test_a_damaged_tensor_is_named(tiny: Tiny, tmp_path: Path) -> None:
    path = tmp_path / "a.mwz"
    mwanda.pack(tiny("llama"), path, threads=1)
    data = bytearray(path.read_bytes())
    name = "model.layers.1.mlp.up_proj.weight"
    with Archive.open(path) as archive:
        place = next(archive.places(archive.tensors("model.safetensors")[name], name))
    data[place.offset + 7] ^= 1
    path.write_bytes(data)
    with pytest.raises(InputError, match=f"{name}, chunk 0"):
        mwanda.load_packed(path)


def test_what_is_no_model(tiny: Tiny, tmp_path: Path) -> None:
    def refused(says: str, **options: Any) -> None:
        mwanda.pack(folder, tmp_path / "a.mwz", threads=1, overwrite=True)
        with pytest.raises(InputError, match=says):
            mwanda.load_packed(tmp_path / "a.mwz", **options)

    folder = copied(tiny("llama"), tmp_path / "m")
    refused("mwanda unpack it", trust_remote_code=True)
    (folder / "model.safetensors").rename(folder / "x.bin")
    refused("found 0 safetensors")
    index = {"weight_map": {"w": "../x.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    refused(r"found no \.\./x.safetensors")
    (folder / "config.json").unlink()
    refused("the config of a model")


def test_weights_that_are_not_there_are_not_random(tiny: Tiny, tmp_path: Path) -> None:
    """A pointer to a file, and half of one among whole shards: packed as they are."""

    def refused(folder: Path, tensor: str) -> None:
        mwanda.pack(folder, folder.with_suffix(".mwz"), threads=1)
        with pytest.raises(InputError, match=rf"{tensor}: expected every tensor of the model"):
            mwanda.load_packed(folder.with_suffix(".mwz"))

    pointer = copied(tiny("llama"), tmp_path / "pointer")
    (pointer / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\n")
    refused(pointer, "lm_head.weight")
    half = tiny_model("llama", tmp_path / "half", max_shard_size="40KB")
    shard = sorted(half.glob("*.safetensors"))[1]
    with safe_open(shard, "pt") as file:
        first = min(file.keys())
    shard.write_bytes(shard.read_bytes()[: shard.stat().st_size // 2])
    refused(half, re.escape(first))
