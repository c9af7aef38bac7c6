"""One chunk of numbers as mask and byte planes, and back, bit for bit.

A chunk is coded by itself: a byte that says how, then its streams, each a method, a length and
data. What a stream decodes to is known before it is decoded: the mask has a bit an element, a
plane a byte for every element that the mask keeps. So nothing in a chunk can ask for memory.

An element is an unsigned number of 1, 2, 4 or 8 bytes. Kept are those of which any bit is set:
−0.0 and every NaN is among them, and comes back as it was. Floats are turned left by one bit before
they are cut into planes, which puts the exponent into a byte of its own (bf16, fp32) and the sign
to the mantissa.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mwanda.errors import InputError
from mwanda.system.extras import need

MAX_CHUNK = 16 << 20
"""Most bytes that one chunk decodes to."""

OVERHEAD = 6
"""Most bytes by which a chunk is larger in the archive than decoded."""

AS_IT_IS, PLANES, MASK_BY_ROWS, MASK_BY_COLUMNS = range(4)
STORED, ZSTD, PAIRS = range(3)

COMMON = 15
"""Values of a plane that fit a nibble beside the one that says: look among the rare ones."""

SAMPLE = 1 << 16
"""Bytes of a plane by which its common values are told."""

MASKED_FROM = 0.01
"""Share of zeros from which a mask is tried, and the share from which nothing else is."""
MASKED_ONLY = 0.4

WORTH = 0.95
"""Of its size, from which on a mask is good enough to leave its other order untried."""

Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Element:
    """What a tensor's elements are to the coder: bytes each, and whether their sign goes last."""

    width: int
    turned: bool

    @property
    def dtype(self) -> np.dtype[Any]:
        """The unsigned numbers that they are taken for, little end first."""
        return np.dtype(f"<u{self.width}")


PLAIN = Element(1, False)

ELEMENTS: dict[str, Element] = {
    **{name: Element(8, False) for name in ("I64", "U64")},
    **{name: Element(4, False) for name in ("I32", "U32")},
    **{name: Element(2, False) for name in ("I16", "U16")},
    **dict.fromkeys(("I8", "U8", "BOOL", "F8_E4M3", "F8_E5M2"), PLAIN),
    **dict.fromkeys(("F8_E4M3FNUZ", "F8_E5M2FNUZ", "F8_E8M0"), PLAIN),
    "F64": Element(8, True),
    "F32": Element(4, True),
    "C64": Element(4, True),
    "F16": Element(2, True),
    "BF16": Element(2, True),
}
"""By safetensors' names of dtypes; a complex number is two elements."""


def encode(raw: bytes | memoryview, element: Element, columns: int, level: int) -> bytes:
    """A chunk as it goes into the archive; the same bytes for the same arguments.

    Args:
        raw: at most :data:`MAX_CHUNK` bytes, whole elements.
        columns: of the matrix whose rows these are; a mask may then be kept by columns.
        level: of zstd, tried beside Huffman codes alone; 0 tries none.
    """
    values = np.frombuffer(raw, element.dtype)
    if not len(values):
        return _join(AS_IT_IS, [_stream(STORED, b"")])
    kept = values != 0
    zeros = 1 - int(np.count_nonzero(kept)) / len(values)
    made = []
    if element is PLAIN or zeros < MASKED_ONLY:
        code = AS_IT_IS if element.width == 1 else PLANES
        made.append(_join(code, _planes(values, element, level)))
    if zeros >= MASKED_FROM:
        made.append(_masked(values, kept, element, columns, level))
    best = min(made, key=len)
    if len(best) > len(raw) + OVERHEAD:
        return _join(AS_IT_IS, [_stream(STORED, bytes(raw))])
    return best


def decode(stored: bytes, into: memoryview, element: Element, columns: int, what: str) -> None:
    """Fill ``into``, at most :data:`MAX_CHUNK` bytes, with what a chunk was made of; messages call
    it ``what``."""
    try:
        _decode(stored, np.frombuffer(into, np.uint8), element, columns)
    except (ValueError, IndexError, struct.error) as error:
        found = str(error)[:100] or type(error).__name__
        raise damaged(what, "a chunk that mwanda wrote", found) from error


def damaged(what: str, expected: str, found: str) -> InputError:
    """The error of an archive that is not as it was written."""
    fix = "the archive is damaged; copy it again"
    return InputError(what, expected=expected, found=found, fix=fix)


def _decode(stored: bytes, raw: Bytes, element: Element, columns: int) -> None:
    if len(raw) % element.width:
        raise ValueError("a size that is no whole number of elements")
    values, reader = raw.view(element.dtype), _Reader(stored)
    code = reader.byte()
    if code == AS_IT_IS:
        raw[:] = reader.stream(len(raw))
    elif code == PLANES:
        values[:] = _read_planes(reader, len(values), element)
    elif code in (MASK_BY_ROWS, MASK_BY_COLUMNS):
        bits = reader.stream(-(-len(values) // 8))
        mask = np.unpackbits(bits, count=len(values)).view(np.bool_)
        if code == MASK_BY_COLUMNS:
            if not columns or len(values) % columns:
                raise ValueError("a mask by columns of what has none")
            mask = np.ascontiguousarray(mask.reshape(columns, -1).T).reshape(-1)
        kept = int(np.count_nonzero(mask))
        values[:] = 0
        values[np.flatnonzero(mask)] = _read_planes(reader, kept, element)
    else:
        raise ValueError(f"coding {code}")
    reader.end()


def _masked(
    values: npt.NDArray[Any], kept: npt.NDArray[np.bool_], element: Element, columns: int,
    level: int,
) -> bytes:  # fmt: skip
    planes = _planes(np.compress(kept, values), element, level)
    mask = np.packbits(kept)
    code, coded = MASK_BY_ROWS, _best(mask, level)
    if len(coded) > WORTH * len(mask) and columns and len(kept) % columns == 0:
        # Where a matrix is kept [in, out], groups of N in M lie in its columns.
        turned = _best(np.packbits(kept.reshape(-1, columns).T), level)
        if len(turned) < len(coded):
            code, coded = MASK_BY_COLUMNS, turned
    return _join(code, [coded, *planes])


def _planes(values: npt.NDArray[Any], element: Element, level: int) -> list[bytes]:
    if element.turned:
        values = (values << 1) | (values >> (8 * element.width - 1))
    cut = values.view(np.uint8).reshape(-1, element.width)
    return [_best(np.ascontiguousarray(cut[:, place]), level) for place in range(element.width)]


def _read_planes(reader: _Reader, count: int, element: Element) -> npt.NDArray[Any]:
    values = np.empty(count, element.dtype)
    cut = values.view(np.uint8).reshape(-1, element.width)
    for place in range(element.width):
        cut[:, place] = reader.stream(count)
    if element.turned:
        values = (values >> 1) | (values << (8 * element.width - 1))
    return values


def _best(plane: Bytes, level: int) -> bytes:
    """The smallest of the streams that decode to these bytes."""
    made = [_simple(plane, level)]
    some = plane[:: max(1, len(plane) // SAMPLE)]
    counts = np.bincount(some, minlength=256)
    common = np.argsort(-counts, kind="stable")[:COMMON].astype(np.uint8)
    rare = len(some) - int(counts[common].sum())
    if rare * 50 < len(some) and np.count_nonzero(counts) > 1:
        made.append(_pairs(plane, common, level))
    return min(made, key=len)


def _simple(plane: Bytes, level: int) -> bytes:
    data = plane.tobytes()
    made = [_stream(STORED, data)]
    if data:
        made.append(_stream(ZSTD, _huffman().compress(data)))
        if level:
            made.append(_stream(ZSTD, _zstd().ZstdCompressor(level=level).compress(data)))
    return min(made, key=len)


def _pairs(plane: Bytes, common: Bytes, level: int) -> bytes:
    """Two neighbours as one byte: Huffman codes have whole bits, which costs half as much then."""
    ranks = np.full(256, COMMON, np.uint8)
    ranks[common] = np.arange(len(common), dtype=np.uint8)
    nibbles = np.frombuffer(plane.tobytes().translate(ranks.tobytes()), np.uint8)
    rare = plane[nibbles == COMMON]
    if len(nibbles) % 2:
        nibbles = np.append(nibbles, np.uint8(0))
    pairs = ((nibbles[0::2] << 4) | nibbles[1::2]).astype(np.uint8, copy=False)
    return _stream(PAIRS, common.tobytes() + _simple(pairs, level) + _simple(rare, level))


def _read_pairs(data: bytes, size: int) -> Bytes:
    values = np.zeros(COMMON + 1, np.uint8)
    values[:COMMON] = np.frombuffer(data[:COMMON], np.uint8)
    reader = _Reader(data[COMMON:])
    pairs = reader.stream((size + 1) // 2, nested=True)
    nibbles = np.empty(2 * len(pairs), np.uint8)
    nibbles[0::2], nibbles[1::2] = pairs >> 4, pairs & 15
    nibbles = nibbles[:size]
    plane = values[nibbles]
    rare = nibbles == COMMON
    plane[rare] = reader.stream(int(np.count_nonzero(rare)), nested=True)
    reader.end()
    return plane


def _huffman() -> Any:
    """zstd that looks for no repetitions worth the name: of numbers they are chance."""
    tool = _zstd()
    settings = tool.ZstdCompressionParameters(
        strategy=tool.STRATEGY_FAST, min_match=7, hash_log=6, chain_log=6, search_log=1,
        window_log=MAX_CHUNK.bit_length() - 1, write_content_size=1,
    )  # fmt: skip
    return tool.ZstdCompressor(compression_params=settings)


def _inflate(data: bytes, size: int) -> Bytes:
    tool = _zstd()
    try:
        found = tool.get_frame_parameters(data)
        if found.content_size != size:  # before anything is allocated
            raise ValueError(f"{found.content_size} bytes of zstd instead of {size}")
        made = tool.ZstdDecompressor(max_window_size=2 * MAX_CHUNK).decompress(
            data, allow_extra_data=False
        )
    except tool.ZstdError as error:
        raise ValueError(str(error)) from error
    return np.frombuffer(made, np.uint8)


def _zstd() -> Any:
    """zstandard, which nothing but archives and packed text needs."""
    need("zstandard", "an archive", "archive")
    import zstandard

    return zstandard


def _stream(method: int, data: bytes) -> bytes:
    return struct.pack("<BI", method, len(data)) + data


def _join(code: int, streams: list[bytes]) -> bytes:
    return bytes([code]) + b"".join(streams)


class _Reader:
    """Takes streams off a chunk one after another."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def byte(self) -> int:
        self._at += 1
        return self._data[self._at - 1]

    def stream(self, size: int, *, nested: bool = False) -> Bytes:
        """The next stream, which decodes to so many bytes."""
        method, length = struct.unpack_from("<BI", self._data, self._at)
        start = self._at + 5
        self._at = start + length
        if self._at > len(self._data):
            raise ValueError("a stream longer than its chunk")
        data = self._data[start : self._at]
        if method == STORED:
            made = np.frombuffer(data, np.uint8)
        elif method == ZSTD:
            made = _inflate(data, size)
        elif method == PAIRS and not nested:
            made = _read_pairs(data, size)
        else:
            raise ValueError(f"method {method}")
        if len(made) != size:
            raise ValueError(f"a stream of {len(made)} bytes instead of {size}")
        return made

    def end(self) -> None:
        if self._at != len(self._data):
            raise ValueError("bytes after the last stream")
