"""The writer: what goes in comes out, each tensor once, in any order, or nothing at all."""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from mwanda.errors import DataError, MwandaError
from mwanda.model.stored.reader import Checkpoint
from mwanda.model.stored.shards import plan_shards
from mwanda.model.stored.writer import ShardWriter
from mwanda.system.output import OutputFolder
from tests.model.helpers import DTYPES, INDEX, model_folder, same_bytes, sample

Tensors = dict[str, torch.Tensor]


def planned(tensors: Tensors, size: int = 1 << 30) -> list:
    return plan_shards([(n, t.dtype, tuple(t.shape)) for n, t in tensors.items()], size)


def write(folder: Path, tensors: Tensors, size: int = 1 << 30) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text("{}")
    with ShardWriter(folder, planned(tensors, size)) as writer:
        for name, tensor in tensors.items():
            writer.write(name, tensor)


def read(folder: Path) -> Tensors:
    with Checkpoint.open(folder) as checkpoint:
        return {name: checkpoint.read(name) for name in checkpoint.tensors}


# --- planning ---


def sizes(*given: int, limit: int) -> list[list[int]]:
    tensors = [(str(n), torch.uint8, (size,)) for n, size in enumerate(given)]
    return [[shape[0] for _, _, shape in shard.tensors] for shard in plan_shards(tensors, limit)]


def test_tensors_fill_shards_in_their_order() -> None:
    assert sizes(3, 3, 3, 3, limit=6) == [[3, 3], [3, 3]]
    assert sizes(3, 3, 3, limit=8) == [[3, 3], [3]]
    assert sizes(1, 9, 1, limit=4) == [[1], [9], [1]]
    assert sizes(9, 0, 1, limit=9) == [[9, 0], [1]]
    assert sizes(5, limit=1) == [[5]]
    assert sizes(limit=1) == []


def test_one_shard_has_the_plain_name_and_several_are_numbered() -> None:
    tensors = [(name, torch.float16, (4,)) for name in "abc"]
    assert [s.name for s in plan_shards(tensors, 24)] == ["model.safetensors"]
    assert [s.name for s in plan_shards(tensors, 16)] == [
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
    ]


# --- round trips ---


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_dtype_comes_back_bit_for_bit(tmp_path: Path, dtype: torch.dtype) -> None:
    tensors = {"m": sample(dtype, (3, 5)), "s": sample(dtype, ()), "e": sample(dtype, (0, 2))}
    write(tmp_path, tensors)
    for found in (read(tmp_path), load_file(tmp_path / "model.safetensors")):
        assert found.keys() == tensors.keys()
        assert all(same_bytes(found[name], tensors[name]) for name in tensors)


def test_views_are_written_as_they_look(tmp_path: Path) -> None:
    base = torch.arange(24.0).view(4, 6)
    tensors = {"t": base.t(), "part": base[1:, ::2], "grad": torch.nn.Parameter(base)}
    write(tmp_path, tensors)
    found = read(tmp_path)
    assert all(torch.equal(found[name], tensor) for name, tensor in tensors.items())


def test_the_index_names_every_tensor_and_the_total(tmp_path: Path) -> None:
    tensors = {f"t{n}": torch.full((8,), float(n)) for n in range(5)}
    write(tmp_path, tensors, 64)
    index = json.loads((tmp_path / INDEX).read_text())
    assert index["metadata"]["total_size"] == 5 * 32
    assert index["weight_map"].keys() == tensors.keys()
    for name, shard in index["weight_map"].items():
        with safe_open(tmp_path / shard, framework="pt") as file:
            assert file.metadata() == {"format": "pt"}
            assert torch.equal(file.get_tensor(name), tensors[name])
    assert sorted(p.name for p in tmp_path.glob("*.safetensors")) == sorted(
        set(index["weight_map"].values())
    )


def test_a_single_shard_has_no_index(tmp_path: Path) -> None:
    write(tmp_path, {"a": torch.ones(3)})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["config.json", "model.safetensors"]


NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12).filter(
    lambda name: name != "__metadata__"
)
SHAPES = st.lists(st.integers(0, 5), max_size=3).map(tuple)


@settings(max_examples=60)
@given(
    plan=st.dictionaries(NAMES, st.tuples(st.sampled_from(DTYPES), SHAPES), min_size=1, max_size=8),
    size=st.integers(1, 400),
    order=st.randoms(use_true_random=False),
)
def test_any_tensors_in_any_order_and_shards_of_any_size(
    plan: dict[str, tuple[torch.dtype, tuple[int, ...]]], size: int, order: random.Random
) -> None:
    tensors = {n: sample(d, s, seed) for seed, (n, (d, s)) in enumerate(plan.items())}
    folder = Path(tempfile.mkdtemp())
    try:
        (folder / "config.json").write_text("{}")
        names = list(tensors)
        order.shuffle(names)
        with ShardWriter(folder, planned(tensors, size)) as writer:
            for name in names:
                writer.write(name, tensors[name])
        found = read(folder)
        assert found.keys() == tensors.keys()
        assert all(same_bytes(found[name], tensors[name]) for name in tensors)
        for shard in folder.glob("*.safetensors"):
            with safe_open(shard, framework="pt") as file:
                assert set(file.keys()) <= tensors.keys()
    finally:
        shutil.rmtree(folder)


@pytest.mark.parametrize("size", [1 << 30, 40_000])
def test_a_model_copied_in_random_order_loads_in_transformers(
    tiny: Callable[..., Path], tmp_path: Path, size: int
) -> None:
    source, target = tiny("llama", max_shard_size="100KB"), tmp_path / "copy"
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("*.safetensors*"))
    with Checkpoint.open(source) as checkpoint:
        infos = list(checkpoint.tensors.values())
        names = list(checkpoint.tensors)
        random.Random(3).shuffle(names)
        shards = plan_shards([(i.name, i.dtype, i.shape) for i in infos], size)
        with ShardWriter(target, shards) as writer, ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda n: writer.write_from(n, checkpoint), names[::2]))
            list(pool.map(lambda n: writer.write(n, checkpoint.read(n)), names[1::2]))
    one = AutoModelForCausalLM.from_pretrained(source).state_dict()
    other = AutoModelForCausalLM.from_pretrained(target).state_dict()
    assert one.keys() == other.keys()
    assert all(same_bytes(one[name], other[name]) for name in one)


def test_large_tensors_are_copied_in_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mwanda.model.stored.writer.PIECE", 7)
    tensor = torch.arange(100, dtype=torch.int16)
    source = model_folder(tmp_path / "a", {"model.safetensors": {"x": tensor}})
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "config.json").touch()
    with (
        Checkpoint.open(source) as checkpoint,
        ShardWriter(tmp_path / "b", planned({"x": tensor})) as writer,
    ):
        writer.write_from("x", checkpoint)
    assert same_bytes(read(tmp_path / "b")["x"], tensor)


# --- mistakes ---


def broken(folder: Path, *writes: tuple[str, torch.Tensor]) -> None:
    with ShardWriter(folder, planned({"a": torch.ones(2, 3), "b": torch.ones(4)})) as writer:
        for name, tensor in writes:
            writer.write(name, tensor)


A, B = ("a", torch.ones(2, 3)), ("b", torch.ones(4))


@pytest.mark.parametrize(
    ("writes", "says"),
    [
        ([A, B, A], "tensor a: expected one write of it, found a second"),
        ([A, B, ("c", torch.ones(1))], "tensor c: .* found an unplanned"),
        ([A], "tensor b: expected every planned tensor to be written, found 1"),
        ([], "tensor a: .* found 2"),
        ([("a", torch.ones(3, 2)), B], r"tensor a: expected .*\[2, 3\], found .*\[3, 2\]"),
        ([("a", torch.ones(2, 3).half()), B], "tensor a: .*float32.* found .*float16"),
    ],
)
def test_a_mistake_is_named(
    tmp_path: Path, writes: list[tuple[str, torch.Tensor]], says: str
) -> None:
    with pytest.raises(DataError, match=says):
        broken(tmp_path, *writes)
    assert not (tmp_path / INDEX).exists()


def test_a_copy_of_another_shape_is_refused(tmp_path: Path) -> None:
    source = model_folder(tmp_path / "a", {"model.safetensors": {"x": torch.ones(6)}})
    (tmp_path / "b").mkdir()
    with (
        Checkpoint.open(source) as checkpoint,
        pytest.raises(DataError, match=r"tensor x: .*\[2, 3\].*\[6\]"),
        ShardWriter(tmp_path / "b", planned({"x": torch.ones(2, 3)})) as writer,
    ):
        writer.write_from("x", checkpoint)


def test_a_stretch_is_written_over(tmp_path: Path) -> None:
    with ShardWriter(tmp_path, planned({"a": torch.ones(2, 3), "b": torch.ones(4)})) as writer:
        writer.write(*A)
        writer.write(*B)
        writer.overwrite("a", 2, torch.tensor([7.0, 8.0]))
        for name, start, part in (
            ("a", 5, torch.ones(2)),
            ("a", -1, torch.ones(2)),
            ("a", 0, torch.ones(2).half()),
            ("c", 0, torch.ones(1)),
        ):
            with pytest.raises(DataError, match=rf"tensor {name}: expected a stretch"):
                writer.overwrite(name, start, part)
    (written,) = tmp_path.glob("*.safetensors")
    found = load_file(written)
    expected = A[1].flatten().clone()
    expected[2:4] = torch.tensor([7.0, 8.0])
    assert torch.equal(found["a"].flatten(), expected)
    assert torch.equal(found["b"], B[1])


def test_a_stretch_before_the_tensor_itself_is_refused(tmp_path: Path) -> None:
    with (
        pytest.raises(DataError, match="tensor a: expected a stretch of a tensor that was written"),
        ShardWriter(tmp_path, planned({"a": torch.ones(2, 3)})) as writer,
    ):
        writer.overwrite("a", 0, torch.ones(2))


@pytest.mark.parametrize("error", [DataError("x"), KeyboardInterrupt(), SystemExit(143)])
def test_an_abort_leaves_nothing(tmp_path: Path, error: BaseException) -> None:
    def go() -> None:
        with OutputFolder(tmp_path / "out", overwrite=False) as folder:
            shards = planned({"a": torch.ones(2, 3), "b": torch.ones(4)}, 8)
            with ShardWriter(folder, shards) as writer:
                writer.write(*A)
                assert len(list(folder.glob("*.safetensors"))) == 2
                raise error

    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(type(error)):
        go()
    assert list(tmp_path.iterdir()) == []
    assert len(os.listdir("/proc/self/fd")) == before


def failing(number: int) -> Callable[..., int]:
    def fail(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    return fail


def test_a_full_disk_shows_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "posix_fallocate", failing(errno.ENOSPC))
    with pytest.raises(MwandaError, match=r"model\.safetensors: .*room.*No space.*free some"):
        broken(tmp_path, A, B)


def test_a_disk_that_cannot_reserve_is_written_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "posix_fallocate", failing(errno.EOPNOTSUPP))
    write(tmp_path, dict([A, B]))
    assert same_bytes(read(tmp_path)["a"], A[1])


def test_a_disk_that_fills_up_while_writing_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def go() -> None:
        with ShardWriter(tmp_path, planned(dict([A]))) as writer:
            monkeypatch.setattr(os, "pwrite", failing(errno.ENOSPC))
            writer.write(*A)

    with pytest.raises(MwandaError, match=r"model\.safetensors: .*No space"):
        go()
    assert not (tmp_path / INDEX).exists()


def test_what_failed_may_be_written_again_and_nothing_after_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ShardWriter(tmp_path, planned(dict([A]))) as writer:
        with monkeypatch.context() as patch:
            patch.setattr(os, "pwrite", failing(errno.EIO))
            with pytest.raises(MwandaError, match="Input/output"):
                writer.write(*A)
        writer.write(*A)
    assert same_bytes(load_file(tmp_path / "model.safetensors")["a"], A[1])
    with pytest.raises(DataError, match="found a closed one"):
        writer.write(*A)


def test_every_tensor_is_aligned_for_its_dtype_and_stands_in_the_plan_once(tmp_path: Path) -> None:
    write(tmp_path, {str(n): sample(dtype, (3,)) for n, dtype in enumerate(reversed(DTYPES))})
    with Checkpoint.open(tmp_path) as checkpoint:
        assert all(i.offset % i.dtype.itemsize == 0 for i in checkpoint.tensors.values())
    for size in (1, 9):
        plan = plan_shards([("a", torch.int8, (1,))] * 2, size)
        with pytest.raises(DataError, match="tensor a: stands in the plan twice"):
            ShardWriter(tmp_path, plan).__enter__()
