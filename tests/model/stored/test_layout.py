"""The header: every dtype is understood, and nothing malformed gets through or is allocated."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from mwanda.errors import InputError
from mwanda.model.stored.layout import DTYPE_NAMES, MAX_HEADER, byte_view, read_header
from tests.model.helpers import DTYPES, entry, raw_file, sample

GOOD = {"a": entry("F32", [2, 3], 0, 24), "b": entry("U8", [4], 24, 28)}


def test_a_file_of_safetensors_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x"
    save_file({"b": torch.ones(2, 3), "a": torch.ones(5, dtype=torch.int8)}, path, {"k": "v"})
    infos, metadata = read_header(path)
    assert metadata == {"k": "v"}
    assert {i.name: (i.dtype, i.shape, i.nbytes) for i in infos} == {
        "b": (torch.float32, (2, 3), 24),
        "a": (torch.int8, (5,), 5),
    }
    assert [i.offset for i in infos] == sorted(i.offset for i in infos)
    assert all(i.file == path for i in infos)


def test_every_dtype_has_one_name() -> None:
    assert set(DTYPE_NAMES) >= set(DTYPES)
    assert len(set(DTYPE_NAMES.values())) == len(DTYPE_NAMES)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(3, 2), (), (0, 4), (7,)], ids=str)
def test_the_byte_view_shares_the_bytes(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    tensor = sample(dtype, shape)
    view = byte_view(tensor)
    assert len(view) == tensor.numel() * dtype.itemsize
    if len(view) and dtype != torch.bool:
        view[0] = view[0] ^ 1
        assert byte_view(tensor)[0] == view[0]


def test_scalars_and_empty_tensors_are_fine(tmp_path: Path) -> None:
    header = {
        "e": entry("F32", [0, 9], 4, 4),
        "s": entry("F32", [], 0, 4),
        "l": entry("U8", [1], 4, 5),
    }
    infos, metadata = read_header(raw_file(tmp_path / "x", header, bytes(5)))
    assert [(i.name, i.shape, i.nbytes) for i in infos] == [
        ("s", (), 4),
        ("e", (0, 9), 0),
        ("l", (1,), 1),
    ]
    assert metadata == {}


@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 50, 100])
def test_a_file_cut_anywhere_is_refused(tmp_path: Path, size: int) -> None:
    path = raw_file(tmp_path / "x", GOOD, bytes(28))
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(InputError, match="download it again") as caught:
        read_header(path)
    assert str(path) in str(caught.value)


def test_a_file_cut_in_its_data_names_tensor_and_sizes(tmp_path: Path) -> None:
    path = raw_file(tmp_path / "x", GOOD, bytes(28))
    size = path.stat().st_size
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match=rf"b: expected {size} bytes .* found {size - 1};"):
        read_header(path)


@pytest.mark.parametrize("length", [MAX_HEADER + 1, 2**63, 2**64 - 1, 1000])
def test_a_header_longer_than_the_file_or_the_limit_is_not_read(
    tmp_path: Path, length: int
) -> None:
    path = tmp_path / "x"
    path.write_bytes(length.to_bytes(8, "little") + b"{}")
    with pytest.raises(InputError, match=str(length)):
        read_header(path)


BAD_HEADERS: dict[str, Any] = {
    "nothing": b"",
    "not JSON": b"{'a': 1}",
    "cut JSON": b'{"a": {"dtype"',
    "not UTF-8": b'{"\xff": 1}',
    "deep": b"[" * 100_000,
    "a list": b"[]",
    "a number of 9000 digits": b'{"a": ' + b"9" * 9000 + b"}",
    "a key twice": b'{"a": 1, "a": 2}',
    "an inner key twice": b'{"a": {"dtype": "U8", "dtype": "F32"}}',
    "half a surrogate": b'{"\\ud800": {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]}}',
    "metadata a list": {"__metadata__": []},
    "metadata null": {"__metadata__": None},
    "an entry a list": {"a": []},
    "no dtype": {"a": {"shape": [1], "data_offsets": [0, 1]}},
    "unknown dtype": {"a": entry("F4", [1], 0, 1)},
    "dtype a list": {"a": entry(["U8"], [1], 0, 1)},  # type: ignore[arg-type]
    "no shape": {"a": {"dtype": "U8", "data_offsets": [0, 1]}},
    "shape a number": {"a": entry("U8", 1, 0, 1)},
    "negative size": {"a": entry("U8", [-1, -1], 0, 1)},
    "size a float": {"a": entry("U8", [1.0], 0, 1)},
    "size a bool": {"a": entry("U8", [True], 0, 1)},
    "no offsets": {"a": {"dtype": "U8", "shape": [1]}},
    "one offset": {"a": {"dtype": "U8", "shape": [1], "data_offsets": [0]}},
    "three offsets": {"a": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1, 1]}},
    "negative offset": {"a": entry("U8", [1], -1, 0)},
    "descending offsets": {"a": entry("U8", [0], 1, 0)},
    "too few bytes": {"a": entry("F32", [2], 0, 7)},
    "too many bytes": {"a": entry("F32", [2], 0, 9)},
    "beyond the file": {"a": entry("U8", [99], 0, 99)},
    "overlapping": {"a": entry("U8", [4], 0, 4), "b": entry("U8", [4], 3, 7)},
    "a gap": {"a": entry("U8", [4], 0, 4), "b": entry("U8", [4], 12, 16)},
    "bytes of nobody": {"a": entry("U8", [4], 0, 4)},
    "not a number": b'{"a": {"dtype": "U8", "shape": [NaN], "data_offsets": [0, 16]}}',
    "the same bytes": {"a": entry("U8", [4], 0, 4), "b": entry("U8", [4], 0, 4)},
    "huge": {"a": entry("U8", [2**60], 0, 2**60)},
    "huge by product": {"a": entry("F64", [2**60, 2**60], 0, 8)},
    "huge but for a 0": {"a": entry("F64", [2**60, 2**60, 0], 0, 0)},
    "beyond 64 bits": {"a": entry("U8", [10**4000, 10**4000], 0, 8)},
    "offsets beyond 64 bits": {"a": entry("U8", [10**4299], 0, 10**4299)},
    "many sizes": {"a": entry("U8", [2**62] * 2000, 0, 8)},
    "many dimensions": {"a": entry("U8", [1] * 65, 0, 1)},
}


@pytest.mark.parametrize("header", BAD_HEADERS.values(), ids=BAD_HEADERS.keys())
def test_a_malformed_header_is_refused(tmp_path: Path, header: Any) -> None:
    path = raw_file(tmp_path / "x", header, bytes(16))
    tracemalloc.start()
    try:
        with pytest.raises(InputError) as caught:
            read_header(path)
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()
    assert str(path) in str(caught.value)
    assert ";" in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_a_message_stays_short_whatever_the_name(tmp_path: Path) -> None:
    path = raw_file(tmp_path / "x", {"n" * 50_000: entry("F4" * 50_000, [1], 0, 1)}, bytes(8))
    with pytest.raises(InputError) as caught:
        read_header(path)
    assert len(str(caught.value)) < 1000


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    changes=st.lists(st.tuples(st.integers(0, 160), st.integers(0, 255)), min_size=1, max_size=6)
)
def test_changed_bytes_are_refused_or_still_fit(
    tmp_path: Path, changes: list[tuple[int, int]]
) -> None:
    path = raw_file(tmp_path / "x", GOOD, bytes(28))
    raw = bytearray(path.read_bytes())
    for place, value in changes:
        raw[place % (len(raw) - 28)] = value
    path.write_bytes(raw)
    try:
        infos, _ = read_header(path)
    except InputError:
        return
    for info in infos:
        assert info.offset + info.nbytes <= len(raw)
        assert (
            info.nbytes == torch.empty(info.shape, dtype=info.dtype).numel() * info.dtype.itemsize
        )
