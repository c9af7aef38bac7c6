"""Zeros in a GGUF file: kept by the types that have a zero, and named where they are lost."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from gguf.quants import dequantize, quantize
from safetensors.torch import load_file

import mwanda
from mwanda.errors import GateError, InputError
from mwanda.pruned.gguf_check import ZERO_KEEPING
from tests.support.folders_made import Tiny, copied, pruned

Type = gguf.GGMLQuantizationType


def written(
    folder: Path, path: Path, kind: Type, *, arch: str = "llama", permute: int | None = None,
    blocks: int = 3,
) -> Path:  # fmt: skip
    """A GGUF file of a folder's matrices, as a converter makes it: names, types, order of rows."""
    names = gguf.get_tensor_name_map(
        next(k for k, v in gguf.MODEL_ARCH_NAMES.items() if v == arch), blocks
    )
    writer = gguf.GGUFWriter(path, arch)
    writer.add_block_count(blocks)
    for name, values in _values(folder, arch, permute):
        there = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if there is None:  # a dense layer among those with experts: this architecture has none
            assert arch == "qwen3moe"
            continue
        # Only rows of whole groups of 32 can be quantised: o_proj of qwen3 has such.
        used = kind if values.ndim > 1 and values.shape[-1] % 32 == 0 else Type.F32
        data = values if used == Type.F32 else quantize(values, used)
        writer.add_tensor(there, data, raw_dtype=used)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _values(folder: Path, arch: str, permute: int | None) -> Iterator[tuple[str, Any]]:
    experts: dict[str, dict[int, Any]] = {}
    for name, tensor in load_file(folder / "model.safetensors").items():
        values = tensor.float().numpy()
        if permute and name.endswith(("q_proj.weight", "k_proj.weight")):
            heads = permute if "q_proj" in name else permute // 2
            halves = values.reshape(heads, 2, -1, values.shape[1])
            values = halves.swapaxes(1, 2).reshape(values.shape)
        if arch == "gpt2" and values.ndim == 2 and ".h." in f".{name}":
            values = np.ascontiguousarray(values.T)
        if ".experts." in name:
            before, _, after = name.partition(".experts.")
            number, _, leaf = after.partition(".")
            experts.setdefault(f"{before}.experts.{leaf}", {})[int(number)] = values
        else:
            yield name, values
    for name, parts in experts.items():
        yield name, np.stack([parts[number] for number in sorted(parts)])


@pytest.fixture(scope="module")
def folder(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pruned model whose matrices lie [in, out]. Do not write in it."""
    return pruned(tiny, tmp_path_factory.mktemp("gguf") / "out", "gpt2")


@pytest.mark.parametrize("kind", [Type.Q8_0, Type.Q5_0, Type.Q4_0, Type.F32])
def test_every_zero_is_kept(tiny: Tiny, tmp_path: Path, kind: Type) -> None:
    folder = pruned(tiny, tmp_path / "out", "qwen3")
    found = mwanda.check_gguf(written(folder, tmp_path / "a.gguf", kind, arch="qwen3"), folder)
    assert (found.share, found.missing, found.warnings) == (1.0, (), ())
    assert len(found.tensors) == 21
    zeros = sum(row.zeros for row in mwanda.verify(folder).linears)
    assert sum(row.zeros for row in found.tensors.values()) == zeros
    assert kind.name in {row.type for row in found.tensors.values()}
    found.check(1.0)


@pytest.mark.parametrize("kind", [Type.Q4_1, Type.Q5_1])
def test_a_type_without_a_zero_is_warned_of(tiny: Tiny, tmp_path: Path, kind: Type) -> None:
    folder = pruned(tiny, tmp_path / "out", "qwen3")
    found = mwanda.check_gguf(written(folder, tmp_path / "a.gguf", kind, arch="qwen3"), folder)
    lost = {row.type: row.kept / row.zeros for row in found.tensors.values() if row.zeros}
    assert lost[kind.name] < 0.2
    (warning,) = found.warnings
    assert kind.name in warning
    with pytest.raises(GateError, match=r"at least 99\.0000%"):
        found.check(0.99)


def test_rows_in_another_order(tiny: Tiny, tmp_path: Path) -> None:
    folder = pruned(tiny, tmp_path / "out", "llama")
    path = written(folder, tmp_path / "a.gguf", Type.Q8_0, permute=4)
    found = mwanda.check_gguf(path, folder)
    assert (found.share, found.missing) == (1.0, ())


def test_a_turned_matrix(folder: Path, tmp_path: Path) -> None:
    found = mwanda.check_gguf(written(folder, tmp_path / "a.gguf", Type.Q8_0, arch="gpt2"), folder)
    assert (found.share, found.missing) == (1.0, ())


def test_experts_of_a_layer_in_one_tensor(tiny: Tiny, tmp_path: Path) -> None:
    folder = pruned(tiny, tmp_path / "out", "qwen3_moe")
    path = written(folder, tmp_path / "a.gguf", Type.Q8_0, arch="qwen3moe")
    found = mwanda.check_gguf(path, folder)
    assert found.share == 1.0
    assert any(".experts.3." in name for name in found.tensors)
    assert not any("experts" in name or "attn" in name for name in found.missing)
    with pytest.raises(GateError, match=r"3 not found there, the first model\.layers\.1\.mlp"):
        found.check(0.5)  # nobody looked at the zeros of the dense layer


def test_zeros_in_other_places_do_not_count(tiny: Tiny, tmp_path: Path) -> None:
    folder = pruned(tiny, tmp_path / "out", "qwen3")
    other = pruned(tiny, tmp_path / "other", "qwen3", criterion="magnitude")
    found = mwanda.check_gguf(written(other, tmp_path / "a.gguf", Type.Q8_0, arch="qwen3"), folder)
    assert 0.5 < found.share < 0.95


def test_without_a_manifest(tiny: Tiny, tmp_path: Path) -> None:
    folder = copied(pruned(tiny, tmp_path / "out", "qwen3"), tmp_path / "copy")
    (folder / "mwanda.json").unlink()
    found = mwanda.check_gguf(written(folder, tmp_path / "a.gguf", Type.Q8_0, arch="qwen3"), folder)
    assert len(found.tensors) == 21


def test_what_cannot_be_compared(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected a GGUF file"):
        mwanda.check_gguf(folder / "config.json", folder)
    (tmp_path / "cut.gguf").write_bytes(b"GGUF\3\0\0\0")
    with pytest.raises(InputError, match="a whole GGUF file"):
        mwanda.check_gguf(tmp_path / "cut.gguf", folder)
    writer = gguf.GGUFWriter(tmp_path / "a.gguf", "gpt2")
    writer.add_block_count(3)
    writer.add_tensor("blk.0.ffn_up.weight", np.zeros((3, 5), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(InputError, match="the GGUF file that was made of this folder"):
        mwanda.check_gguf(tmp_path / "a.gguf", folder)
    writer = gguf.GGUFWriter(tmp_path / "b.gguf", "nonsense")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    with pytest.raises(InputError, match="an architecture that the library gguf knows"):
        mwanda.check_gguf(tmp_path / "b.gguf", folder)


@pytest.mark.parametrize("kind", list(Type), ids=lambda kind: kind.name)
def test_the_list_of_types_is_the_librarys(kind: Type) -> None:
    """Whichever types the library can write: those that keep zeros are those we say."""
    weight = torch.randn(8, 512, generator=torch.Generator().manual_seed(0)).numpy()
    weight[:, ::2] = 0
    try:
        data = weight if kind == Type.F32 else quantize(weight, kind)
        back = dequantize(data, kind)
    except (NotImplementedError, KeyError, ValueError):
        return
    kept = bool(np.all(back[weight == 0] == 0))
    assert kept == (kind.name in ZERO_KEEPING)
