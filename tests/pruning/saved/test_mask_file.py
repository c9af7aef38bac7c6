"""Files of masks: packed, and refused where they are not what their manifest says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import mwanda
from mwanda import DataError, InputError
from mwanda.pruning.folder.mask_file import MaskFile, pack_mask, unpack_mask
from tests.pruning.pipeline.helpers import Tiny, windows_file
from tests.pruning.saved.helpers import content, from_text, spoiled

DOWN = "model.layers.1.mlp.down_proj"


@given(rows=st.integers(1, 5), columns=st.integers(1, 40), seed=st.integers(0, 99))
@settings(max_examples=40)
def test_packing_and_back(rows: int, columns: int, seed: int) -> None:
    mask = torch.rand(rows, columns, generator=torch.Generator().manual_seed(seed)) > 0.5
    packed = pack_mask(mask)
    assert packed.shape == (rows, -(-columns // 8))
    assert packed.dtype == torch.uint8
    assert torch.equal(unpack_mask(packed, columns), mask)


def test_the_first_input_is_the_high_bit() -> None:
    mask = torch.zeros(2, 11, dtype=torch.bool)
    mask[0, 0] = mask[0, 9] = mask[1, 7] = True
    assert pack_mask(mask).tolist() == [[0b1000_0000, 0b0100_0000], [0b0000_0001, 0]]


@pytest.fixture(scope="module")
def file(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Masks of the tiny llama. Do not write in it."""
    path = tmp_path_factory.mktemp("masks") / "masks.safetensors"
    from_text(tiny("llama"), path, masks_only=True, sparsity=0.4)
    return path


def test_what_is_in_it(file: Path) -> None:
    found = MaskFile.open(file)
    tensors, record = content(file)
    assert found.linears == tuple(found.manifest.linears)
    assert set(found.linears) == set(tensors)
    assert record["manifest"]["recipe"]["sparsity"] == 0.4
    assert sum(t.numel() for t in tensors.values()) * 8 == found.manifest.totals.weights
    kept = sum(int(found.mask(name).sum()) for name in found.linears)
    assert kept == found.manifest.totals.weights - found.manifest.totals.pruned
    with pytest.raises(InputError, match=r"a mask of nothing, found none; there are 21, such as"):
        found.mask("nothing")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda t, _r: t.pop(DOWN), "found none"),
        (
            lambda t, _r: t.update({DOWN: t[DOWN][:, 1:].contiguous()}),
            "expected torch.uint8 [48, 10]",
        ),
        (lambda t, _r: t.update({DOWN: t[DOWN].to(torch.int16)}), "found torch.int16"),
        (lambda t, _r: t.update(more=t[DOWN].clone()), "tensor more"),
        (lambda _t, r: r.update(format=9), "format 1"),
        (lambda _t, r: r["manifest"].update(format=9), "a manifest of format 1"),
        (lambda _t, r: r["manifest"].pop("totals"), "totals"),
        (lambda _t, r: r.update(kind="statistics"), "one of statistics"),
    ],
)
def test_a_spoiled_file(tmp_path: Path, file: Path, change: Callable[..., Any], says: str) -> None:
    bad = spoiled(file, tmp_path / "bad.safetensors", change)
    with pytest.raises(InputError) as caught:
        MaskFile.open(bad)
    assert says in str(caught.value)
    assert str(bad) in str(caught.value)


@pytest.mark.parametrize("byte", [0, -1])
def test_a_spoiled_mask(tmp_path: Path, file: Path, byte: int) -> None:
    def flip(tensors: dict[str, torch.Tensor], _record: Any) -> None:
        tensors[DOWN][3, byte] ^= 1

    bad = MaskFile.open(spoiled(file, tmp_path / "bad.safetensors", flip))
    assert bad.mask("model.layers.0.mlp.down_proj").shape == (48, 80)
    with pytest.raises(DataError, match=r"down_proj: expected the mask that its manifest says"):
        bad.mask(DOWN)


def test_bits_past_the_end(tmp_path: Path, tiny: Tiny) -> None:
    """A row's last byte may be filled in part only."""
    path = tmp_path / "masks.safetensors"
    include = [r"layers\.0\.mlp\.experts\.0\.down_proj"]
    from_text(tiny("qwen3_moe"), path, masks_only=True, include=include)
    name = MaskFile.open(path).linears[0]
    columns = MaskFile.open(path).manifest.linears[name].shape[1]

    def narrow(tensors: dict[str, torch.Tensor], record: dict[str, Any]) -> None:
        record["manifest"]["linears"][name]["shape"][1] = columns - 1

    bad = MaskFile.open(spoiled(path, tmp_path / "bad.safetensors", narrow))
    with pytest.raises(DataError, match="bits beyond a row's end"):
        bad.mask(name)


@pytest.mark.parametrize("reconstruction", ["admm", "sparsegpt"])
def test_no_reconstruction(tiny: Tiny, tmp_path: Path, reconstruction: str) -> None:
    with pytest.raises(InputError, match=f"--masks-only: expected no .* found {reconstruction}"):
        from_text(
            tiny("llama"), tmp_path / "m.safetensors", masks_only=True,
            reconstruction=reconstruction,
        )  # fmt: skip
    assert not any(tmp_path.iterdir())


def test_the_target(tiny: Tiny, tmp_path: Path, file: Path) -> None:
    def run(out: Path, **options: Any) -> None:
        given = mwanda.RunOptions(**options)
        from_text(tiny("llama"), out, masks_only=True, criterion="magnitude", options=given)

    out = tmp_path / "masks.safetensors"
    with pytest.raises(InputError, match=r"a name ending in \.safetensors"):
        run(tmp_path / "masks")
    with pytest.raises(InputError, match="a folder to write into"):
        run(tmp_path / "no" / "masks.safetensors")
    run(out)
    first = out.read_bytes()
    with pytest.raises(InputError, match="pass --overwrite"):
        run(out)
    run(out, overwrite=True)
    assert content(out)[0].keys() == content(file)[0].keys()
    assert len(out.read_bytes()) == pytest.approx(len(first), abs=500)
    foreign = windows_file(tmp_path)
    before = foreign.read_bytes()
    with pytest.raises(InputError, match="the only kind that --overwrite replaces"):
        run(foreign, overwrite=True)
    assert foreign.read_bytes() == before
    (tmp_path / "folder.safetensors").mkdir()
    with pytest.raises(InputError, match="a folder"):
        run(tmp_path / "folder.safetensors", overwrite=True)
    assert len(list(tmp_path.iterdir())) == 3
