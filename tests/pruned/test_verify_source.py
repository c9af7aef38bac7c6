"""A pruned folder beside its source and its masks: whatever differs is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import mwanda
from mwanda import InputError
from mwanda.pruned import verify_source
from mwanda.pruning.folder.manifest import manifest_sha256
from mwanda.pruning.masks import digest
from mwanda.system.files import sha256_of
from tests.pruning.pipeline.helpers import windows_file
from tests.support.folders_made import Tiny, copied, pruned

SHARD = "model.safetensors"
LINEAR = "model.layers.1.mlp.up_proj"


@pytest.fixture(scope="module")
def place(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder ``out`` and the file of its masks. Do not write in it."""
    place = tmp_path_factory.mktemp("against")
    pruned(tiny, place / "out")
    mwanda.prune(
        tiny("llama"), out=place / "masks.safetensors", masks_only=True,
        calibration=windows_file(place), criterion="wanda", allocation="uniform",
    )  # fmt: skip
    return place


@pytest.fixture
def source(tiny: Tiny) -> Path:
    return tiny("llama")


def reweighted(
    folder: Path, to: Path, change: Callable[[dict[str, torch.Tensor]], Any], **record: Any
) -> Path:
    """A copy with other weights, as a careful forger leaves it: every hash is right."""
    spoilt = copied(folder, to)
    weights = load_file(spoilt / SHARD)
    change(weights)
    save_file(weights, spoilt / SHARD, metadata={"format": "pt"})
    manifest = json.loads((spoilt / "mwanda.json").read_text())
    manifest["files"][SHARD] = sha256_of(spoilt / SHARD)
    manifest["linears"][LINEAR]["zeros_sha256"] = digest(weights[f"{LINEAR}.weight"] != 0)
    manifest["linears"][LINEAR] |= record
    manifest["sha256"] = manifest_sha256(manifest)
    (spoilt / "mwanda.json").write_text(json.dumps(manifest))
    return spoilt


@pytest.mark.parametrize("family", ["gpt2", "bloom", "gemma3", "mixtral"])
@pytest.mark.parametrize("dtype", ["auto", "float64"])
def test_what_was_just_written_is_the_source_but_for_its_zeros(
    tiny: Tiny, tmp_path: Path, family: str, dtype: str
) -> None:
    out = pruned(tiny, tmp_path / "out", family, dtype=dtype)
    found = mwanda.verify(out, against=tiny(family))
    assert (found.problems, found.notes) == ((), ())


def test_a_folder_alone_says_what_was_not_compared(place: Path) -> None:
    found = mwanda.verify(place / "out")
    assert found.problems == ()
    assert "--against" in found.notes[0]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("model.norm.weight", "tensor model.norm.weight: 1 unpruned weights are not the source's"),
        ("model.embed_tokens.weight", "tensor model.embed_tokens.weight: 1 unpruned"),
        (f"{LINEAR}.weight", f"{LINEAR}: 1 kept weights are not the source's, the first in row"),
    ],
)
def test_one_changed_weight_is_named(
    place: Path, source: Path, tmp_path: Path, name: str, says: str
) -> None:
    def nudge(weights: dict[str, torch.Tensor]) -> None:
        flat = weights[name].view(-1)
        first = int(torch.nonzero(flat)[0])
        flat[first] = torch.nextafter(flat[first], torch.tensor(9.0))

    spoilt = reweighted(place / "out", tmp_path / "m", nudge)
    assert mwanda.verify(spoilt).problems == ()  # a forger who mends the hashes is not found out
    found = mwanda.verify(spoilt, against=source)
    assert len(found.problems) == 1
    assert found.problems[0].startswith(says)


def test_a_changed_weight_is_seen_in_any_piece(
    place: Path, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify_source, "PIECE", 100)
    spoilt = reweighted(
        place / "out", tmp_path / "m", lambda t: t["model.embed_tokens.weight"][-1, -1:].fill_(3)
    )
    found = mwanda.verify(spoilt, against=source)
    assert found.problems == (
        "tensor model.embed_tokens.weight: 1 unpruned weights are not the source's",
    )


def test_a_zero_for_a_weight_that_was_kept_is_seen_by_the_masks_alone(
    place: Path, source: Path, tmp_path: Path
) -> None:
    def swap(weights: dict[str, torch.Tensor]) -> None:
        weight = weights[f"{LINEAR}.weight"]
        kept, removed = torch.nonzero(weight)[0], torch.nonzero(weight == 0)[0]
        weight[tuple(removed)] = load_file(source / SHARD)[f"{LINEAR}.weight"][tuple(removed)]
        weight[tuple(kept)] = 0

    out = place / "out"
    spoilt = reweighted(out, tmp_path / "m", swap)
    masks = place / "masks.safetensors"
    found = mwanda.verify(spoilt, against=source, masks=masks)
    assert len(found.problems) == 1
    assert "1 weights where the mask has none, the first in row 0" in found.problems[0]
    assert "1 kept weights are not the source's" in found.problems[0]
    assert mwanda.verify(out, against=source, masks=masks).problems == ()


def test_masks_of_another_prune(place: Path, tiny: Tiny, tmp_path: Path) -> None:
    other = tmp_path / "other.safetensors"
    mwanda.prune(
        tiny("llama"), out=other, masks_only=True, sparsity=0.3, exclude=["down_proj"],
        calibration=windows_file(tmp_path), criterion="wanda", allocation="uniform",
    )  # fmt: skip
    found = mwanda.verify(place / "out", masks=other)
    said = " | ".join(found.problems)
    assert f"{LINEAR}: another mask than it was pruned with" in said
    assert "model.layers.0.mlp.down_proj: no mask in" in said
    assert len(found.problems) == 21
    with pytest.raises(InputError, match="safetensors file"):
        mwanda.verify(place / "out", masks=tmp_path / "none")


def test_zeros_that_the_source_had_are_told_from_pruned_ones(tiny: Tiny, tmp_path: Path) -> None:
    had = copied(tiny("llama"), tmp_path / "had")
    weights = load_file(had / SHARD)
    weights[f"{LINEAR}.weight"][:, ::3] = 0
    weights[f"{LINEAR}.weight"][0, 0] = -0.0
    save_file(weights, had / SHARD, metadata={"format": "pt"})
    given: dict[str, Any] = {"calibration": windows_file(tmp_path), "criterion": "wanda"}
    given |= {"allocation": "uniform", "sparsity": 0.2}
    mwanda.prune(had, out=tmp_path / "out", **given)
    masks = tmp_path / "masks.safetensors"
    mwanda.prune(had, out=masks, masks_only=True, **given)
    found = mwanda.verify(tmp_path / "out", against=had, masks=masks)
    assert found.problems == ()
    record = found.manifest.linears[LINEAR]
    assert record.source_zeros > record.pruned
    wrong = mwanda.verify(tmp_path / "out", against=tiny("llama"), masks=masks).problems
    assert any("0 zeros in the source instead of" in problem for problem in wrong)


def test_after_an_update_only_zeros_and_the_rest_are_compared(
    tiny: Tiny, source: Path, tmp_path: Path
) -> None:
    out = pruned(tiny, tmp_path / "out", reconstruction="sparsegpt")
    found = mwanda.verify(out, against=source)
    assert found.problems == ()
    assert "sparsegpt gave the kept weights new values" in found.notes[0]
    spoilt = reweighted(out, tmp_path / "m", lambda t: t["model.norm.weight"][:1].add_(1))
    found = mwanda.verify(spoilt, against=source)
    assert found.problems == ("tensor model.norm.weight: 1 unpruned weights are not the source's",)


def test_files_beside_the_weights_are_the_sources(
    place: Path, source: Path, tmp_path: Path
) -> None:
    other = copied(source, tmp_path / "other")
    (other / "tokenizer.json").write_text("{}")
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(config | {"rope_theta": 1.5}))
    found = mwanda.verify(place / "out", against=other)
    assert set(found.problems) == {
        "config.json: not the source's", "tokenizer.json: not the source's",
    }  # fmt: skip


def test_another_model_is_no_source(place: Path, tiny: Tiny, tmp_path: Path) -> None:
    found = mwanda.verify(place / "out", against=tiny("llama", layers=2)).problems
    assert any("model.layers.2." in p and "not comparable" in p for p in found)
    assert any("tensor model.layers.2.input_layernorm.weight: only in" in p for p in found)
    found = mwanda.verify(place / "out", against=tiny("gpt2")).problems
    assert len(found) > 21
    with pytest.raises(InputError, match="nothing there"):
        mwanda.verify(place / "out", against=tmp_path / "none")
