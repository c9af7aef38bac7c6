"""Masks taken out of a pruned folder, and applied: to its source, and to a trained sibling."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import mwanda
from mwanda import DataError, InputError, RunOptions
from mwanda.pruning.folder.card import CARD
from mwanda.pruning.folder.mask_file import MaskFile
from tests.pruning.pipeline.helpers import Tiny, same_masks, shard_bytes, tensors
from tests.pruning.pipeline.helpers import masks_of as zeros_of
from tests.pruning.saved.helpers import content, from_text, spoiled

FAMILIES = ("llama", "gemma3", "gpt2", "qwen3_moe", "phi3")
NAME = "model.layers.1.mlp.down_proj"


def changed(source: Path, to: Path, change: Callable[[dict[str, torch.Tensor]], Any]) -> Path:
    """A copy with other weights."""
    shutil.copytree(source, to)
    for path in to.glob("*.safetensors"):
        held = load_file(path)
        change(held)
        save_file(held, path, {"format": "pt"})
    return to


def trained(source: Path, to: Path) -> Path:
    """A sibling: every weight a little different."""
    return changed(source, to, lambda held: [t.mul_(1.25).add_(0.001) for t in held.values()])


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", ["extracted", "masks only"])
def test_the_source_becomes_the_pruned_model(
    tiny: Tiny, tmp_path: Path, family: str, kind: str
) -> None:
    """Transposed, fused and expert weights too, in several shards."""
    source, file = tiny(family), tmp_path / "m.safetensors"
    options = RunOptions(max_shard_size=30_000, batch_tokens=48)
    from_text(source, tmp_path / "pruned", options=options)
    if kind == "extracted":
        mwanda.extract_masks(tmp_path / "pruned", file)
    else:
        from_text(source, file, masks_only=True)
    made = mwanda.apply_masks(file, source, tmp_path / "again", options=options)
    assert len(shard_bytes(tmp_path / "again")) > 1
    assert shard_bytes(tmp_path / "again") == shard_bytes(tmp_path / "pruned")
    found = mwanda.verify(tmp_path / "again")
    assert not found.problems
    assert found.manifest.linears == mwanda.verify(tmp_path / "pruned").manifest.linears
    assert made.manifest.mask_file is not None
    assert made.manifest.mask_file.same
    assert "masks chosen on this model" in (tmp_path / "again" / CARD).read_text()


def test_a_sibling(tiny: Tiny, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source, pruned, file = tiny("gemma3"), tmp_path / "pruned", tmp_path / "m.safetensors"
    from_text(source, pruned, pattern="2:4")
    mwanda.extract_masks(pruned, file)
    sibling = trained(source, tmp_path / "sibling")
    made = mwanda.apply_masks(file, sibling, tmp_path / "out")
    assert "has other weights" in caplog.text
    origin = made.manifest.mask_file
    assert origin is not None
    assert not origin.same
    assert (origin.name, origin.base) == ("m.safetensors", str(source))
    assert made.manifest.base == str(sibling)
    assert not mwanda.verify(tmp_path / "out").problems
    assert "`gemma3" in (tmp_path / "out" / CARD).read_text().partition("masks chosen on ")[2]
    same_masks(zeros_of(tmp_path / "out"), zeros_of(pruned))
    own, theirs = tensors(tmp_path / "out"), tensors(sibling)
    for name, tensor in theirs.items():
        kept = own[name] != 0
        assert torch.equal(own[name][kept], tensor[kept])
    # And the masks of what was made are the same again.
    again = mwanda.extract_masks(tmp_path / "out", tmp_path / "again.safetensors")
    assert again.zero_before == 0
    assert content(tmp_path / "again.safetensors")[0].keys() == content(file)[0].keys()
    for name, packed in content(file)[0].items():
        assert torch.equal(content(tmp_path / "again.safetensors")[0][name], packed)


def test_another_dtype_is_verified_and_told(tiny: Tiny, tmp_path: Path) -> None:
    source, file, out = tiny("llama"), tmp_path / "m.safetensors", tmp_path / "out"
    from_text(source, file, masks_only=True)
    made = mwanda.apply_masks(file, source, out, dtype="bfloat16")
    assert made.manifest.dtype == made.manifest.recipe["dtype"] == "bfloat16"
    assert mwanda.verify(out, against=source).problems == ()
    assert "--out FOLDER --dtype bfloat16" in (out / CARD).read_text()


def test_zeros_of_the_source_count_as_removed(tiny: Tiny, tmp_path: Path) -> None:
    """The largest weight's row is zero but for one input, so a mask by rows keeps zeros."""

    def empty(held: dict[str, torch.Tensor]) -> None:
        if f"{NAME}.weight" in held:
            held[f"{NAME}.weight"][0] = 0

    source = changed(tiny("llama"), tmp_path / "source", empty)
    from_text(source, tmp_path / "pruned", allocation="uniform")
    made = mwanda.extract_masks(tmp_path / "pruned", tmp_path / "m.safetensors")
    assert made.zero_before == 40  # of 80, half were removed anyway
    assert made.manifest.linears[NAME].pruned == made.manifest.linears[NAME].zeros
    assert int((~MaskFile.open(made.path).mask(NAME)[0]).sum()) == 80
    mwanda.apply_masks(made.path, source, tmp_path / "again")
    assert shard_bytes(tmp_path / "again") == shard_bytes(tmp_path / "pruned")


@pytest.mark.parametrize("reconstruction", ["admm", "sparsegpt"])
def test_updated_weights_do_not_come_back(
    tiny: Tiny, tmp_path: Path, caplog: pytest.LogCaptureFixture, reconstruction: str
) -> None:
    source, pruned = tiny("llama"), tmp_path / "pruned"
    from_text(source, pruned, reconstruction=reconstruction)
    made = mwanda.extract_masks(pruned, tmp_path / "m.safetensors")
    assert made.updated == reconstruction
    mwanda.apply_masks(made.path, source, tmp_path / "out")
    assert f"changed the weights that it kept, by {reconstruction}" in caplog.text
    assert not mwanda.verify(tmp_path / "out").problems
    same_masks(zeros_of(tmp_path / "out"), zeros_of(pruned))
    assert shard_bytes(tmp_path / "out") != shard_bytes(pruned)
    card = (tmp_path / "out" / CARD).read_text()
    assert "kept weights updated" not in card
    assert "masks and kept weights" not in card
    assert ("masks by sparsegpt" in card) == (reconstruction == "sparsegpt")
    # What was kept is the source's: compared with it, and the same again from these masks.
    found = mwanda.verify(tmp_path / "out", against=source)
    assert (found.problems, found.notes) == ((), ())
    caplog.clear()
    again = mwanda.extract_masks(tmp_path / "out", tmp_path / "again.safetensors")
    assert again.updated is None
    mwanda.apply_masks(again.path, source, tmp_path / "more")
    assert shard_bytes(tmp_path / "more") == shard_bytes(tmp_path / "out")
    assert "changed the weights" not in caplog.text


def test_the_dtype(tiny: Tiny, tmp_path: Path) -> None:
    """That of the masks' recipe, or another one."""
    source = tiny("llama")
    from_text(source, tmp_path / "pruned", dtype="bfloat16")
    mwanda.extract_masks(tmp_path / "pruned", tmp_path / "m.safetensors")
    mwanda.apply_masks(tmp_path / "m.safetensors", source, tmp_path / "same")
    assert shard_bytes(tmp_path / "same") == shard_bytes(tmp_path / "pruned")
    made = mwanda.apply_masks(tmp_path / "m.safetensors", source, tmp_path / "f", dtype="float32")
    assert made.manifest.dtype == "float32"
    assert not mwanda.verify(tmp_path / "f").problems
    assert {t.dtype for t in tensors(tmp_path / "f").values()} == {torch.float32}


@pytest.fixture(scope="module")
def file(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Masks of the tiny llama. Do not write in it."""
    path = tmp_path_factory.mktemp("masks") / "m.safetensors"
    from_text(tiny("llama"), path, masks_only=True)
    return path


@pytest.mark.parametrize(
    ("family", "options", "says"),
    [
        ("llama", {"layers": 2}, "model.layers.2.self_attn.q_proj: expected a linear of that name"),
        ("llama", {"layers": 4}, "expected a mask of model.layers.3.self_attn.q_proj"),
        ("gpt2", {}, "found none; masks fit models of the same architecture"),
    ],
)
def test_another_architecture(
    tiny: Tiny, tmp_path: Path, file: Path, family: str, options: dict[str, int], says: str
) -> None:
    with pytest.raises(InputError) as caught:
        mwanda.apply_masks(file, tiny(family, **options), tmp_path / "out")
    assert says in str(caught.value)
    assert not any(tmp_path.iterdir())


def test_another_shape(tiny: Tiny, tmp_path: Path, file: Path) -> None:
    def narrow(_tensors: Any, record: dict[str, Any]) -> None:
        record["manifest"]["linears"][NAME]["shape"] = [48, 79]

    bad = spoiled(file, tmp_path / "bad.safetensors", narrow)
    with pytest.raises(InputError, match=r"shape \[48, 79\] in the model, found shape \[48, 80\]"):
        mwanda.apply_masks(bad, tiny("llama"), tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["bad.safetensors"]


def test_a_spoiled_mask_leaves_nothing(tiny: Tiny, tmp_path: Path, file: Path) -> None:
    bad = spoiled(file, tmp_path / "bad.safetensors", lambda t, _r: t[NAME].bitwise_xor_(1))
    with pytest.raises(DataError, match="another mask than its manifest's hash says"):
        mwanda.apply_masks(bad, tiny("llama"), tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["bad.safetensors"]


def test_a_folder_whose_zeros_changed(tiny: Tiny, tmp_path: Path) -> None:
    from_text(tiny("llama"), tmp_path / "pruned")

    def fill(held: dict[str, torch.Tensor]) -> None:
        weight = held[f"{NAME}.weight"]
        weight[weight == 0] = 1

    bad = changed(tmp_path / "pruned", tmp_path / "bad", fill)
    with pytest.raises(DataError, match=rf"{NAME}: expected the zeros .* others: 0 instead of"):
        mwanda.extract_masks(bad, tmp_path / "m.safetensors")
    assert not (tmp_path / "m.safetensors").exists()
    # Trained since, but with its zeros: fine.
    grown = changed(
        tmp_path / "pruned", tmp_path / "grown", lambda held: [t.mul_(2) for t in held.values()]
    )
    mwanda.extract_masks(grown, tmp_path / "m.safetensors")


def test_what_cannot_be_extracted(tiny: Tiny, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"mwanda\.json"):
        mwanda.extract_masks(tiny("llama"), tmp_path / "m.safetensors")
    with pytest.raises(InputError, match="no folder"):
        mwanda.extract_masks(tmp_path / "no", tmp_path / "m.safetensors")
    from_text(tiny("llama"), tmp_path / "pruned")
    manifest = tmp_path / "pruned" / "mwanda.json"
    data = json.loads(manifest.read_text())
    data["linears"]["model.layers.9.mlp.up_proj"] = data["linears"].pop(NAME)
    manifest.write_text(json.dumps(data))
    with pytest.raises(InputError, match=r"model\.layers\.9\.mlp\.up_proj: expected a linear"):
        mwanda.extract_masks(tmp_path / "pruned", tmp_path / "m.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["pruned"]


def test_one_process_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny: Tiny, file: Path
) -> None:
    for name, value in (("RANK", "0"), ("WORLD_SIZE", "2"), ("LOCAL_RANK", "0")):
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match="mask apply: expected one process"):
        mwanda.apply_masks(file, tiny("llama"), tmp_path / "out")
