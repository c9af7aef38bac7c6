"""A chunk comes back bit for bit, and what is no chunk is refused without being believed."""

from __future__ import annotations

import struct
from contextlib import suppress

import numpy as np
import pytest
import torch
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from mwanda.errors import InputError
from mwanda.model.stored.layout import DTYPE_NAMES, byte_view
from mwanda.pruned.archive.codec import ELEMENTS, OVERHEAD, PLAIN, Element, decode, encode

DTYPES = [torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.int8, torch.int64,
          torch.bool, torch.float8_e4m3fn, torch.uint16, torch.complex64]  # fmt: skip
SHAPES = [(), (1,), (0,), (7,), (3, 5), (16, 24), (17, 1), (2, 3, 4), (0, 4), (64, 64)]


def drawn(
    dtype: torch.dtype, shape: tuple[int, ...], sparsity: float, seed: int, normal: bool
) -> torch.Tensor:
    """Any bits at all, or numbers as in a model; so many of them zero."""
    generator = torch.Generator().manual_seed(seed)
    count = int(np.prod(shape, dtype=int))
    if normal and dtype != torch.bool:
        values = (torch.randn(count, generator=generator) * 20).to(dtype)
    else:
        high = 2 if dtype == torch.bool else 256
        size = (count * dtype.itemsize,)
        values = torch.randint(0, high, size, generator=generator, dtype=torch.uint8).view(dtype)
    pruned = torch.rand(count, generator=generator) < sparsity
    raw = values.clone().view(torch.uint8).view(count, dtype.itemsize)
    raw[pruned] = 0
    return raw.view(-1).view(dtype).reshape(shape) if count else values.reshape(shape)


def there_and_back(tensor: torch.Tensor, level: int = 0) -> bytes:
    element = ELEMENTS[DTYPE_NAMES[tensor.dtype]]
    columns = tensor.shape[-1] * (2 if tensor.is_complex() else 1) if tensor.dim() > 1 else 0
    raw = bytes(byte_view(tensor))
    stored = encode(raw, element, columns, level)
    assert stored == encode(raw, element, columns, level)
    assert len(stored) <= len(raw) + OVERHEAD
    back = bytearray(len(raw))
    decode(stored, memoryview(back), element, columns, "it")
    assert back == raw
    return stored


@settings(max_examples=300)
@given(
    dtype=st.sampled_from(DTYPES),
    shape=st.sampled_from(SHAPES),
    sparsity=st.sampled_from([0, 0.02, 0.5, 0.99, 1]),
    seed=st.integers(0, 2**32),
    normal=st.booleans(),
    level=st.sampled_from([0, 1, 19]),
)
def test_any_tensor_comes_back(
    dtype: torch.dtype, shape: tuple[int, ...], sparsity: float, seed: int, normal: bool, level: int
) -> None:
    there_and_back(drawn(dtype, shape, sparsity, seed, normal), level)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_negative_zero_and_the_bits_of_a_nan(dtype: torch.dtype) -> None:
    kind = {2: torch.int16, 4: torch.int32, 8: torch.int64}[dtype.itemsize]
    lowest, quiet = torch.iinfo(kind).min, torch.tensor(float("nan"), dtype=dtype).view(kind)
    bits = torch.tensor([0, lowest, int(quiet), int(quiet) | 5, -1, 1] * 50, dtype=kind)
    bits = torch.cat([bits, torch.zeros(300, dtype=kind)])
    there_and_back(bits.view(dtype))


def gaussian(rows: int = 512, columns: int = 512) -> torch.Tensor:
    return (
        torch.randn(rows, columns, generator=torch.Generator().manual_seed(0)) * 0.02
    ).bfloat16()


def two_of_four(weight: torch.Tensor) -> torch.Tensor:
    groups = weight.float().abs().view(len(weight), -1, 4)
    kept = torch.zeros_like(groups, dtype=torch.bool).scatter(2, groups.topk(2, 2).indices, True)
    return weight.masked_fill(~kept.view(weight.shape), 0)


def test_pruned_numbers_are_near_their_entropy() -> None:
    """Mantissa and sign whole; exponents and mask within 2 % of what a perfect coder makes."""
    weight = gaussian()
    half = weight.masked_fill(weight.abs() < weight.abs().float().median(), 0)
    for pruned in (half, two_of_four(weight)):
        kept = pruned != 0
        values = pruned[kept].view(torch.int16).numpy().view(np.uint16)
        exponents = entropy((values >> 7) & 255)
        mask = entropy(np.packbits(kept.numpy())) / 8
        best = (mask * weight.numel() + (exponents + 8) * len(values)) / 8
        assert len(there_and_back(pruned)) < 1.02 * best


def entropy(symbols: np.ndarray) -> float:
    share = np.unique(symbols, return_counts=True)[1] / symbols.size
    return float(-(share * np.log2(share)).sum())


def test_groups_that_lie_in_columns_cost_no_more() -> None:
    pruned = two_of_four(gaussian())
    along, across = there_and_back(pruned), there_and_back(pruned.t().contiguous())
    assert abs(len(across) - len(along)) < 0.01 * len(along)


def refused(stored: bytes, size: int, says: str, element: Element = PLAIN) -> None:
    with pytest.raises(InputError, match=says) as error:
        decode(stored, memoryview(bytearray(size)), element, 4, "a.mwz: w, chunk 0")
    assert str(error.value).startswith("a.mwz: w, chunk 0: ")


def stream(method: int, data: bytes) -> bytes:
    return struct.pack("<BI", method, len(data)) + data


def test_what_lies_about_its_size() -> None:
    bomb = zstandard.ZstdCompressor().compress(bytes(1 << 30))
    assert len(bomb) < 1 << 17
    refused(b"\0" + stream(1, bomb), 100, "1073741824 bytes of zstd instead of 100")
    nameless = zstandard.ZstdCompressor(write_content_size=False).compress(bytes(1 << 20))
    refused(b"\0" + stream(1, nameless), 100, "bytes of zstd instead of 100")
    good = zstandard.ZstdCompressor().compress(bytes(100))
    refused(b"\0" + stream(1, good + good), 100, "expected a chunk")
    refused(b"\0" + stream(1, good[:-2]), 100, "expected a chunk")
    refused(b"\0" + stream(0, bytes(99)), 100, "99 bytes instead of 100")
    refused(b"\0" + stream(0, bytes(100)) + b"x", 100, "bytes after the last stream")
    refused(b"\0" + struct.pack("<BI", 0, 2**32 - 1), 100, "longer than its chunk")
    refused(b"\7" + stream(0, bytes(100)), 100, "coding 7")
    refused(b"\0" + stream(9, bytes(100)), 100, "method 9")
    refused(b"", 100, "expected a chunk")
    pairs = bytes(15) + stream(2, bytes(50)) + stream(0, b"")
    refused(b"\0" + stream(2, pairs), 100, "method 2")  # none within another: no depth to exhaust
    refused(
        b"\2" + stream(0, b"\xff") + stream(0, b""), 16, "0 bytes instead of 8", Element(2, True)
    )
    refused(b"\1" + stream(0, b""), 15, "no whole number", Element(2, True))
    refused(b"\3" + stream(0, b"\xff"), 6, "by columns", Element(2, True))


@settings(max_examples=300)
@given(data=st.data(), width=st.sampled_from([1, 2, 4, 8]))
def test_any_bytes_are_refused_or_decoded(data: st.DataObject, width: int) -> None:
    stored = data.draw(st.binary(max_size=80))
    with suppress(InputError):
        decode(stored, memoryview(bytearray(8 * width)), Element(width, True), 4, "it")
