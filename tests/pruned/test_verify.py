"""Whatever is changed in a pruned folder is noticed without its source."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

import mwanda
from mwanda import InputError, MwandaError
from mwanda.pruning.folder.manifest import manifest_sha256
from mwanda.system.files import sha256_of
from tests.support.folders_made import Tiny, copied, pruned

SHARD = "model.safetensors"
LINEAR = "model.layers.1.mlp.up_proj"


@pytest.fixture(scope="module")
def folder(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pruned(tiny, tmp_path_factory.mktemp("verify") / "out")


def edited(folder: Path, change: Callable[[dict[str, Any]], None], *, careful: bool = True) -> None:
    """Change the manifest, and its own hash too if careful."""
    path = folder / "mwanda.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    change(manifest)
    if careful:
        manifest["sha256"] = manifest_sha256(manifest)
    path.write_text(json.dumps(manifest), encoding="utf-8")


def problems(folder: Path) -> str:
    found = mwanda.verify(folder)
    with pytest.raises(MwandaError) as error:
        found.raise_for_problems(folder)
    assert error.value.exit_code == 1
    return " | ".join(found.problems)


@pytest.mark.parametrize("family", ["gpt2", "bloom", "gemma3"])
def test_what_was_just_written_is_right(tiny: Tiny, tmp_path: Path, family: str) -> None:
    found = mwanda.verify(pruned(tiny, tmp_path / "out", family))
    assert found.problems == ()
    found.raise_for_problems(tmp_path)
    assert len(found.linears) == found.manifest.totals.linears
    assert sum(linear.zeros for linear in found.linears) == found.manifest.totals.pruned


def test_a_flipped_bit(folder: Path, tmp_path: Path) -> None:
    spoilt = copied(folder, tmp_path / "m")
    data = bytearray((spoilt / SHARD).read_bytes())
    data[-1000] ^= 1
    (spoilt / SHARD).write_bytes(data)
    assert f"{SHARD}: contents changed since it was written" in problems(spoilt)


def test_a_weight_where_the_mask_has_none_even_with_a_matching_hash(
    folder: Path, tmp_path: Path
) -> None:
    spoilt = copied(folder, tmp_path / "m")
    weights = load_file(spoilt / SHARD)
    weight = weights[f"{LINEAR}.weight"]
    place = tuple((weight == 0).nonzero()[5].tolist())
    weight[place] = 0.5
    save_file(weights, spoilt / SHARD, metadata={"format": "pt"})
    new = sha256_of(spoilt / SHARD)
    edited(spoilt, lambda manifest: manifest["files"].__setitem__(SHARD, new))
    # up_proj is 80 by 48, half of it pruned: 1920 zeros, now one fewer.
    assert problems(spoilt) == f"{LINEAR}: 1919 zeros instead of 1920"
    other = tuple((weight != 0).nonzero()[7].tolist())
    weight[other] = 0
    save_file(weights, spoilt / SHARD, metadata={"format": "pt"})
    new = sha256_of(spoilt / SHARD)
    edited(spoilt, lambda manifest: manifest["files"].__setitem__(SHARD, new))
    assert problems(spoilt) == f"{LINEAR}: zeros are in other places than when it was written"


@pytest.mark.parametrize("name", ["tokenizer.json", "generation_config.json"])
def test_a_missing_file(folder: Path, tmp_path: Path, name: str) -> None:
    spoilt = copied(folder, tmp_path / "m")
    (spoilt / name).unlink()
    assert problems(spoilt) == f"{name}: missing"


def set_in(manifest: dict[str, Any], path: str, value: Any) -> None:
    *parents, last = path.split("/")
    for part in parents:
        manifest = manifest[part]
    assert last in manifest
    manifest[last] = value


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("totals/pruned", 1, "totals do not add up"),
        ("totals/weights", 10**6, "totals do not add up"),
        ("totals/sparsity", 0.9, "totals do not add up"),
        ("totals/linears", 3, "totals do not add up"),
        ("totals/source_zeros", 3, "totals do not add up"),
        (f"linears/{LINEAR}/pruned", 1900, "its sparsity in mwanda.json is not what its zeros say"),
        (f"linears/{LINEAR}/sparsity", 0.6, "its sparsity in mwanda.json is not what"),
        (f"linears/{LINEAR}/zeros", 5, "1920 zeros instead of 5"),
        (f"linears/{LINEAR}/zeros_sha256", "0" * 64, "zeros are in other places"),
        (f"linears/{LINEAR}/shape", [48, 80], r"shape [80, 48] instead of [48, 80]"),
        (f"linears/{LINEAR}/tensor", "x.weight", "tensor x.weight is not in the checkpoint"),
        ("files/config.json", "0" * 64, "config.json: contents changed"),
        ("files", {"../x": "0"}, "../x: missing"),
    ],
)
def test_an_edited_manifest(
    folder: Path, tmp_path: Path, path: str, value: Any, message: str
) -> None:
    spoilt = copied(folder, tmp_path / "m")
    edited(spoilt, lambda manifest: set_in(manifest, path, value))
    assert message in problems(spoilt)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "expected JSON"),
        ("[]", "expected format 1, found 'list'"),
        ('{"format": 9}', "expected format 1, found 9"),
        ('{"format": 1}', "a manifest that mwanda wrote"),
    ],
)
def test_what_is_no_manifest(folder: Path, tmp_path: Path, content: str, message: str) -> None:
    spoilt = copied(folder, tmp_path / "m")
    (spoilt / "mwanda.json").write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        mwanda.verify(spoilt)


def test_what_is_no_pruned_folder(tiny: Tiny, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a folder that mwanda wrote, found no folder"):
        mwanda.verify(tmp_path / "none")
    with pytest.raises(InputError, match="the manifest of a folder that mwanda wrote"):
        mwanda.verify(tiny("llama"))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("base", "another/model"),
        ("recipe/seed", 7),
        ("versions/torch", "1.0"),
        ("totals/model_weights", 5),
        (f"linears/{LINEAR}/mask_sha256", "0" * 64),
    ],
)
def test_any_edit_of_a_manifest_is_seen_by_its_own_hash(
    folder: Path, tmp_path: Path, path: str, value: Any
) -> None:
    spoilt = copied(folder, tmp_path / "m")
    edited(spoilt, lambda manifest: set_in(manifest, path, value), careful=False)
    assert "mwanda.json: edited since it was written" in problems(spoilt)
    edited(spoilt, lambda manifest: manifest.pop("sha256"), careful=False)
    assert "mwanda.json: its own hash is missing" in problems(spoilt)


def test_a_manifest_laid_out_anew_is_the_same(folder: Path, tmp_path: Path) -> None:
    spoilt = copied(folder, tmp_path / "m")
    edited(spoilt, lambda manifest: None, careful=False)
    assert mwanda.verify(spoilt).problems == ()


@pytest.mark.parametrize("cut", [100, 10**9])
def test_a_shard_that_cannot_be_opened_is_a_finding(folder: Path, tmp_path: Path, cut: int) -> None:
    spoilt = copied(folder, tmp_path / "m")
    data = (spoilt / SHARD).read_bytes()
    (spoilt / SHARD).write_bytes(data[:-cut])
    found = problems(spoilt)
    assert f"{SHARD}: contents changed since it was written" in found
    assert "truncated" in found
    (spoilt / SHARD).unlink()
    assert f"{SHARD}: missing" in problems(spoilt)


def test_weights_that_were_not_written_are_named(folder: Path, tmp_path: Path) -> None:
    spoilt = copied(folder, tmp_path / "m")
    shutil.copy(spoilt / SHARD, spoilt / "more.safetensors")
    assert problems(spoilt) == "more.safetensors: not one of the files that were written"
