"""The checkpoint: which files are read, which are refused, and that they stay as they were."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from mwanda.errors import DataError, InputError
from mwanda.model.stored import reader
from mwanda.model.stored.reader import Checkpoint
from tests.model.helpers import (
    DTYPES,
    INDEX,
    model_folder,
    raw_file,
    same_bytes,
    sample,
    write_index,
)

A, B = torch.arange(6.0).view(2, 3), torch.ones(4, dtype=torch.bfloat16)
TWO = {"one.safetensors": {"a": A}, "two.safetensors": {"b": B}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return model_folder(tmp_path / "model", TWO)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_dtype_is_read_as_safetensors_reads_it(tmp_path: Path, dtype: torch.dtype) -> None:
    tensors = {"m": sample(dtype, (3, 5), 1), "s": sample(dtype, (), 2), "e": sample(dtype, (0, 2))}
    folder = model_folder(tmp_path, {"model.safetensors": tensors})
    with Checkpoint.open(folder) as checkpoint:
        for name, tensor in tensors.items():
            assert same_bytes(checkpoint.read(name), tensor)
        assert sum(info.nbytes for info in checkpoint.tensors.values()) == 16 * dtype.itemsize


def test_shards_are_joined(folder: Path) -> None:
    with Checkpoint.open(folder) as checkpoint:
        assert list(checkpoint.tensors) == ["a", "b"]
        assert [file.name for file in checkpoint.files] == list(TWO)
        assert same_bytes(checkpoint.read("a"), A)
        assert same_bytes(checkpoint.read("b"), B)
        part = bytearray(8)
        checkpoint.read_bytes("a", 8, memoryview(part))
        assert torch.equal(torch.frombuffer(part, dtype=torch.float32), torch.tensor([2.0, 3.0]))


def test_a_tensor_is_taken_from_the_shard_the_index_names(tmp_path: Path) -> None:
    shards = {"one.safetensors": {"a": A, "b": -B}, "two.safetensors": {"a": -A, "b": B}}
    folder = model_folder(tmp_path, shards)
    write_index(folder, {"a": "one.safetensors", "b": "two.safetensors"})
    with Checkpoint.open(folder) as checkpoint:
        assert same_bytes(checkpoint.read("a"), A)
        assert same_bytes(checkpoint.read("b"), B)


def test_a_sharded_model_reads_the_same_from_many_threads(tiny: Callable[..., Path]) -> None:
    folder = tiny("llama", max_shard_size="40KB")
    expected: dict[str, torch.Tensor] = {}
    for shard in folder.glob("*.safetensors"):
        expected |= load_file(shard)
    with Checkpoint.open(folder) as checkpoint, ThreadPoolExecutor(8) as pool:
        assert len(checkpoint.files) > 2
        assert checkpoint.tensors.keys() == expected.keys()
        for name, tensor in zip(expected, pool.map(checkpoint.read, expected), strict=True):
            assert same_bytes(tensor, expected[name])


def test_one_safetensors_of_any_name_will_do(tmp_path: Path) -> None:
    folder = model_folder(tmp_path, {"model.safetensors": {"a": A}})
    (folder / "model.safetensors").rename(folder / "weights.safetensors")
    with Checkpoint.open(folder) as checkpoint:
        assert same_bytes(checkpoint.read("a"), A)


def test_of_index_and_single_file_the_one_transformers_loads_is_read(folder: Path) -> None:
    model_folder(folder, {"model.safetensors": {"a": A + 1}})
    with Checkpoint.open(folder) as checkpoint:
        assert list(checkpoint.tensors) == ["a"]
        assert same_bytes(checkpoint.read("a"), A + 1)


def refuse(folder: Path, *says: str) -> None:
    with pytest.raises(InputError) as caught:
        Checkpoint.open(folder)
    for part in (str(folder), "expected", "found", *says):
        assert part in str(caught.value)


def test_what_is_no_model_folder_is_refused(tmp_path: Path) -> None:
    refuse(tmp_path / "no", "nothing there")
    (tmp_path / "file").touch()
    refuse(tmp_path / "file", "a file")
    refuse(tmp_path, "config.json", "no such file")
    (tmp_path / "config.json").write_text("{}")
    refuse(tmp_path, "no safetensors")


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "consolidated.00.pth", "x.ckpt"])
def test_pickles_are_named_and_never_opened(tmp_path: Path, name: str) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / name).write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    refuse(tmp_path, name, "pickle", "safetensors")


def test_several_safetensors_without_an_index_are_refused(folder: Path) -> None:
    (folder / INDEX).unlink()
    refuse(folder, "2 safetensors", INDEX)


def test_a_file_without_tensors_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    raw_file(tmp_path / "model.safetensors", {"__metadata__": {}})
    refuse(tmp_path, "tensors in the checkpoint")


BAD_INDEXES = {
    "empty": b"",
    "cut": b'{"weight_map": {"a": "one',
    "not UTF-8": b'{"weight_map": {"a": "\xff"}}',
    "deep": b"[" * 100_000,
    "a list": b"[]",
    "no map": b"{}",
    "map a list": b'{"weight_map": ["a"]}',
    "map empty": b'{"weight_map": {}}',
    "shard a number": b'{"weight_map": {"a": 1}}',
    "shard null": b'{"weight_map": {"a": null}}',
    "a tensor twice": b'{"weight_map": {"a": "one.safetensors", "a": "two.safetensors"}}',
}


@pytest.mark.parametrize("raw", BAD_INDEXES.values(), ids=BAD_INDEXES.keys())
def test_a_malformed_index_is_refused(folder: Path, raw: bytes) -> None:
    (folder / INDEX).write_bytes(raw)
    refuse(folder, INDEX)


@pytest.mark.parametrize(
    ("shard", "says"),
    [
        ("absent.safetensors", "no such file"),
        ("", "shard"),
        (".", "shard"),
        ("x" * 5000 + ".safetensors", "shard xxx"),
        ("a\0b.safetensors", "shard"),
        ("\ud800.safetensors", "shard"),
        ("config.json", "config.json"),
        ("pytorch_model.bin", "pytorch_model.bin"),
        ("../outside.safetensors", "leaves it"),
        ("sub/../../outside.safetensors", "leaves it"),
        ("sub/../one.safetensors", "leaves it"),
        ("/etc/passwd.safetensors", "leaves it"),
    ],
)
def test_a_shard_that_cannot_be_is_refused(folder: Path, shard: str, says: str) -> None:
    model_folder(folder.parent / "other", {"model.safetensors": {"a": A}})
    (folder.parent / "other" / "model.safetensors").rename(folder.parent / "outside.safetensors")
    write_index(folder, {"a": shard, "b": "two.safetensors"})
    refuse(folder, says)


def test_an_absolute_path_into_the_folder_is_refused_too(folder: Path) -> None:
    write_index(folder, {"a": str(folder / "one.safetensors")})
    refuse(folder, "leaves it")


@pytest.mark.parametrize("single", [True, False])
def test_a_link_out_of_the_folder_is_refused(folder: Path, tmp_path: Path, single: bool) -> None:
    (folder / "one.safetensors").rename(tmp_path / "away")
    (folder / "one.safetensors").symlink_to(tmp_path / "away")
    if single:
        (folder / INDEX).unlink()
        (folder / "two.safetensors").unlink()
    refuse(folder, "one.safetensors", "leaves it")


def test_links_within_the_folder_are_followed(folder: Path) -> None:
    (folder / "one.safetensors").rename(folder / "really")
    (folder / "one.safetensors").symlink_to("really")
    with Checkpoint.open(folder) as checkpoint:
        assert same_bytes(checkpoint.read("a"), A)


def test_a_loop_of_links_is_refused(folder: Path) -> None:
    (folder / "one.safetensors").unlink()
    (folder / "one.safetensors").symlink_to("one.safetensors")
    refuse(folder, "one.safetensors")


def hub_cache(root: Path, blobs: str) -> Path:
    """A repository of the hub's cache whose files are links from a snapshot to blobs."""
    snapshot = model_folder(root / "models--a--b" / "snapshots" / "00000000", TWO)
    store = root / "models--a--b" / blobs
    store.mkdir()
    for number, path in enumerate(sorted(snapshot.iterdir())):
        path.rename(store / str(number))
        path.symlink_to(Path(os.path.relpath(store, snapshot)) / str(number))
    return snapshot


def test_the_hubs_cache_is_read(tmp_path: Path) -> None:
    with Checkpoint.open(hub_cache(tmp_path, "blobs")) as checkpoint:
        assert same_bytes(checkpoint.read("a"), A)


def test_only_its_blobs_are_trusted(tmp_path: Path) -> None:
    refuse(hub_cache(tmp_path, "elsewhere"), "leaves it")


def test_an_index_that_names_what_its_shard_lacks_is_refused(folder: Path) -> None:
    write_index(folder, {"a": "one.safetensors", "c": "two.safetensors", "d": "two.safetensors"})
    refuse(folder, "tensor c", "two.safetensors", "2 such tensors")


def test_a_cut_shard_is_refused_before_anything_is_read(folder: Path) -> None:
    path = folder / "two.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    refuse(folder, "two.safetensors", "tensor b", "truncated")


def _shorten(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 8)


def _touch(path: Path) -> None:
    os.utime(path, ns=(1, 1))


def _replace(path: Path) -> None:
    (path.parent / "new").write_bytes(path.read_bytes() + b"x")
    os.replace(path.parent / "new", path)


@pytest.mark.parametrize("change", [_shorten, _touch, _replace, Path.unlink])
@pytest.mark.parametrize("opened", [True, False])
def test_a_shard_that_changes_meanwhile_is_noticed(
    folder: Path, change: Callable[[Path], Any], opened: bool
) -> None:
    with Checkpoint.open(folder) as checkpoint:
        if opened:
            checkpoint.read("a")
        change(folder / "one.safetensors")
        expected = DataError if opened or change is not Path.unlink else (DataError, OSError)
        with pytest.raises(expected, match=r"one\.safetensors"):
            checkpoint.read("a")
        assert same_bytes(checkpoint.read("b"), B)


def test_closing_twice_is_harmless(folder: Path) -> None:
    checkpoint = Checkpoint.open(folder)
    checkpoint.read("a")
    checkpoint.close()
    checkpoint.close()


def test_an_index_of_any_json_gives_a_checkpoint_or_an_input_error(folder: Path) -> None:
    for value in (None, 0, "x", [], {}, {"a": {}}, {"a": []}, {"a": True}):
        for data in (value, {"weight_map": value}):
            (folder / INDEX).write_text(json.dumps(data))
            with pytest.raises(InputError):
                Checkpoint.open(folder)


def test_rows_and_changes(folder: Path) -> None:
    with Checkpoint.open(folder) as checkpoint:
        assert tuple(checkpoint.tensors) == ("a", "b")
        assert same_bytes(checkpoint.read_rows("a", 1, 2), A[1:2])
        assert checkpoint.read_rows("a", 2, 2).shape == (0, 3)
        for name, start, stop in [("a", 1, 3), ("a", -1, 1), ("a", 2, 1), ("b", 0, 1), ("c", 0, 0)]:
            with pytest.raises(DataError, match=f"tensor {name}: expected"):
                checkpoint.read_rows(name, start, stop)
        one = checkpoint.files[0]
        checkpoint.check_unchanged()
        _touch(one)
        with pytest.raises(DataError, match=rf"{one.name}.*another size or time"):
            checkpoint.check_unchanged()
    with pytest.raises(DataError, match="after the checkpoint was closed"):
        checkpoint.read("b")


def test_a_large_matrix_is_converted_in_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    matrix = torch.randn(33, 5).bfloat16()
    save_file({"m": matrix, "v": matrix[0].clone()}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text("{}")
    monkeypatch.setattr(reader, "PIECE", 40)
    with Checkpoint.open(tmp_path) as checkpoint:
        assert same_bytes(checkpoint.read("m", torch.float32), matrix.float())
        assert same_bytes(checkpoint.read("v", torch.float64), matrix[0].double())
        assert same_bytes(checkpoint.read("m", torch.bfloat16), matrix)


def test_scattered_rows_are_there_and_the_others_zero(tmp_path: Path) -> None:
    matrix = torch.randn(40, 5).bfloat16()
    model_folder(tmp_path, {"model.safetensors": {"m": matrix}})
    with Checkpoint.open(tmp_path) as checkpoint:
        for rows in ([0], [39], [3, 4, 6, 20, 39], list(range(40)), []):
            chosen = torch.tensor(rows, dtype=torch.int64)
            found = checkpoint.read_scattered("m", chosen, torch.float32)
            assert torch.equal(found[chosen], matrix[chosen].float())
            near = {r for row in rows for r in range(row, row + 5)}
            assert all(not found[r].any() for r in range(40) if r not in near)
        with pytest.raises(DataError, match="tensor m: expected"):
            checkpoint.read_scattered("m", torch.tensor([40]))


def test_rows_that_are_not_read_hold_no_memory(tmp_path: Path) -> None:
    status = Path("/proc/self/status")
    if not status.is_file():
        pytest.skip("only Linux tells")

    def held() -> int:
        lines = [line.split() for line in status.read_text().splitlines()]
        return sum(int(x[1]) * 1024 for x in lines if x[0] in ("RssAnon:", "RssShmem:"))

    shape = (40_000, 1024)
    model_folder(tmp_path, {"model.safetensors": {"m": torch.ones(shape, dtype=torch.bfloat16)}})
    rows = torch.arange(0, 40_000, 400)
    with Checkpoint.open(tmp_path) as checkpoint:
        before = held()
        matrix = checkpoint.read_scattered("m", rows, torch.float32)
        assert held() - before < 8_000_000 < matrix.nbytes / 10
        assert float(matrix.sum()) == len(rows) * 1024


def test_a_tensor_the_index_forgets_is_the_models_unless_it_is_there_twice(folder: Path) -> None:
    write_index(folder, {"a": "one.safetensors"} | {"b": "two.safetensors"})
    save_file({"b": B, "new": A}, folder / "two.safetensors")
    with Checkpoint.open(folder) as checkpoint:
        assert same_bytes(checkpoint.read("new"), A)
    save_file({"a": A, "new": B}, folder / "one.safetensors")
    refuse(folder, "tensor new", "two.safetensors", "one.safetensors")
