"""A folder goes into an archive and comes out the same; a damaged or hostile archive does not."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from mwanda.errors import DataError, InputError, MwandaError
from mwanda.pruned.archive.codec import PLAIN, encode
from mwanda.pruned.archive.contents import FOOTER, HEADER, footer
from mwanda.pruned.archive.reader import Archive
from mwanda.pruned.pack import pack, unpack
from tests.cli.helpers import tree
from tests.model.helpers import DTYPES, entry, raw_file, same_bytes, sample


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards of every dtype, and files of every other kind. Do not write in it."""
    folder = tmp_path_factory.mktemp("folder")
    tensors = {str(dtype): sample(dtype, (3, 5), seed) for seed, dtype in enumerate(DTYPES)}
    pruned = sample(torch.bfloat16, (64, 64))
    pruned[:, ::2] = 0
    save_file({**tensors, "pruned": pruned, "scalar": torch.tensor(1.5), "none": torch.zeros(0, 3)},
              folder / "model.safetensors", {"format": "pt"})  # fmt: skip
    # A header with its keys in another order than the bytes, and padding.
    header = json.dumps({"b": entry("F16", [4], 8, 16), "a": entry("I64", [1], 0, 8)}) + " " * 13
    raw_file(folder / "odd.safetensors", header.encode(), bytes(range(16)))
    (folder / "broken.safetensors").write_bytes(b"version https://git-lfs")
    (folder / "config.json").write_text("{}")
    (folder / "empty").write_bytes(b"")
    (folder / ".hidden").write_bytes(b"x")
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "deep" / "er" / "ünïcode.txt").write_text("text " * 1000)
    return folder


@pytest.fixture(scope="module")
def packed(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("packed") / "it.mwz"
    pack(folder, out, threads=1)
    return out


def test_every_file_comes_back(folder: Path, packed: Path, tmp_path: Path) -> None:
    made = unpack(packed, tmp_path / "out", threads=3)
    assert contents(tmp_path / "out") == contents(folder)
    assert made.files == len(contents(folder))
    assert made.raw == sum(map(len, contents(folder).values()))
    assert made.stored == packed.stat().st_size
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_the_same_bytes_whatever_the_threads(folder: Path, packed: Path, tmp_path: Path) -> None:
    pack(folder, tmp_path / "again.mwz", threads=4)
    assert (tmp_path / "again.mwz").read_bytes() == packed.read_bytes()


@pytest.mark.parametrize("level", [1, 19])
def test_a_level_makes_it_no_larger(folder: Path, packed: Path, tmp_path: Path, level: int) -> None:
    pack(folder, tmp_path / "a.mwz", level=level)
    assert (tmp_path / "a.mwz").stat().st_size <= packed.stat().st_size + 50
    unpack(tmp_path / "a.mwz", tmp_path / "out")
    assert contents(tmp_path / "out") == contents(folder)


def test_a_tensor_is_read_without_the_others(folder: Path, packed: Path, tmp_path: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    data = bytearray(packed.read_bytes())
    with Archive.open(packed) as archive:
        found = archive.tensors("model.safetensors")
        assert found.keys() == tensors.keys()
        for name, tensor in tensors.items():
            assert same_bytes(archive.read("model.safetensors", name), tensor)
        (place,) = archive.places(found["scalar"], "scalar")
        data[place.offset] ^= 1
    spoilt = tmp_path / "a.mwz"
    spoilt.write_bytes(data)
    with Archive.open(spoilt) as archive:
        assert same_bytes(archive.read("model.safetensors", "pruned"), tensors["pruned"])
        with pytest.raises(InputError, match=r"scalar, chunk 0.*checksum"):
            archive.read("model.safetensors", "scalar")
        for path, name in (("model.safetensors", "x"), ("x", "pruned")):
            with pytest.raises(DataError, match="no such tensor"):
                archive.read(path, name)


def test_large_matrices_go_in_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mwanda.pruned.archive.writer.CHUNK", 4096)
    weight = torch.randn(200, 40)
    weight[torch.rand(200, 40) < 0.5] = 0
    source = tmp_path / "source"
    source.mkdir()
    save_file({"w": weight, "flat": torch.randn(5000)}, source / "model.safetensors")
    pack(source, tmp_path / "a.mwz")
    with Archive.open(tmp_path / "a.mwz") as archive:
        segment = archive.tensors("model.safetensors")["w"]
        # 40 floats a row, 16 rows 2560 bytes: one such group fits, and none is cut.
        assert [raw for _, raw, _, _ in segment.chunks] == [2560] * 12 + [1280]
        assert torch.equal(archive.read("model.safetensors", "w"), weight)
    unpack(tmp_path / "a.mwz", tmp_path / "out")
    assert contents(tmp_path / "out") == contents(source)


# --- damage ---


def broken(data: bytes, tmp_path: Path) -> MwandaError | None:
    """What unpacking says, None where it says nothing; it never leaves anything behind."""
    path = tmp_path / "b.mwz"
    path.write_bytes(data)
    found = None
    try:
        unpack(path, tmp_path / "out", threads=1)
    except MwandaError as error:
        found = error
    if found is not None:
        assert [p.name for p in tmp_path.iterdir()] == ["b.mwz"]
        assert "\n" not in str(found)
    return found


def test_no_byte_can_change_unnoticed(packed: Path, tmp_path: Path) -> None:
    data = packed.read_bytes()
    drawn = random.Random(0)
    ends = [*range(40), *range(len(data) - 80, len(data))]
    for at in ends + drawn.sample(range(len(data)), 200):
        changed = bytearray(data)
        changed[at] ^= 1 << drawn.randrange(8)
        assert broken(bytes(changed), tmp_path) is not None, at


def test_no_part_can_be_missing(packed: Path, tmp_path: Path) -> None:
    data = packed.read_bytes()
    for size in [*range(80), len(data) - 1, len(data) - 57, *range(80, len(data), 997)]:
        error = broken(data[:size], tmp_path)
        assert error is not None
        assert error.exit_code == 2
    assert broken(data + b"x", tmp_path) is not None


# --- archives that lie: whole, with checksums that are right ---


def forged(path: Path, change: Callable[[dict[str, Any]], Any], body: bytes | None = None) -> Path:
    """An archive of one text and one tensor, its index changed."""
    text, numbers = b"hello", bytes(range(8))
    coded = [encode(raw, PLAIN, 0, 0) for raw in (text, numbers)]
    chunks = [
        [len(stored), len(raw), zlib.crc32(stored), zlib.crc32(raw)]
        for stored, raw in zip(coded, (text, numbers), strict=True)
    ]
    index: dict[str, Any] = {
        "format": 1,
        "files": [
            {"path": "a.txt", "size": 5, "sha256": hashlib.sha256(text).hexdigest(),
             "segments": [{"chunks": [chunks[0]]}]},
            {"path": "b.safetensors", "size": 8, "sha256": hashlib.sha256(numbers).hexdigest(),
             "segments": [{"name": "w", "dtype": "U8", "shape": [2, 4], "chunks": [chunks[1]]}]},
        ],
    }  # fmt: skip
    made = change(index)
    raw = made if isinstance(made, bytes) else json.dumps(index).encode()
    stored = b"".join(coded) if body is None else body
    path.write_bytes(HEADER + stored + raw + footer(len(HEADER) + len(stored), raw))
    return path


def put(where: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(index: Any) -> None:
        *parents, last = [int(part) if part.isdigit() else part for part in where.split("/")]
        for part in parents:
            index = index[part]
        index[last] = value

    return change


def test_the_forgery_itself_is_sound(tmp_path: Path) -> None:
    unpack(forged(tmp_path / "a.mwz", lambda index: None), tmp_path / "out")
    assert contents(tmp_path / "out") == {"a.txt": b"hello", "b.safetensors": bytes(range(8))}


@pytest.mark.parametrize("name", [
    "../x", "/tmp/x", "a/../../x", "a//b", "./x", ".", "..", "", "a/", "C:/x", "a\\..\\x", "a\0b",
    "a\nb", "a\u202eb", "x" * 300, "/".join(["x" * 200] * 6), "b.safetensors", "b.safetensors/x",
])  # fmt: skip
def test_names_that_lead_elsewhere(tmp_path: Path, name: str) -> None:
    (tmp_path / "in").mkdir()
    path = forged(tmp_path / "in" / "a.mwz", put("files/0/path", name))
    before = tree(tmp_path)
    with pytest.raises(InputError, match="an index that mwanda wrote") as error:
        unpack(path, tmp_path / "in" / "out")
    assert tree(tmp_path) == before
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 600


@pytest.mark.parametrize(("where", "value"), [
    ("format", 2),
    ("format", True),
    ("x", 1),
    ("files", {}),
    ("files/0/size", 6),
    ("files/0/size", 5.0),
    ("files/0/size", -5),
    ("files/0/sha256", "0" * 64),
    ("files/0/sha256", "x"),
    ("files/0/segments/0/chunks/0/0", 0),
    ("files/0/segments/0/chunks/0/0", 10),
    ("files/0/segments/0/chunks/0/0", 2**70),
    ("files/0/segments/0/chunks/0/1", 2**40),
    ("files/0/segments/0/chunks/0/1", 4),
    ("files/0/segments/0/chunks/0/2", 1),
    ("files/0/segments/0/chunks/0/3", 1),
    ("files/0/segments/0/chunks/0", [1]),
    ("files/0/segments/0/chunks", []),
    ("files/0/segments/0/dtype", "U8"),
    ("files/1/segments/0/dtype", "F32"),
    ("files/1/segments/0/dtype", "PICKLE"),
    ("files/1/segments/0/shape", [2**31, 2**31, 2**31, 2**31]),
    ("files/1/segments/0/shape", [2**62]),
    ("files/1/segments/0/shape", [-2, -4]),
    ("files/1/segments/0/shape", [8, 2]),
    ("files/1/segments/0/shape", [1] * 100 + [8]),
    ("files/1/segments/0/name", None),
])  # fmt: skip
def test_an_index_that_lies(tmp_path: Path, where: str, value: Any) -> None:
    path = forged(tmp_path / "a.mwz", put(where, value))
    with pytest.raises(InputError) as error:
        unpack(path, tmp_path / "out")
    assert "\n" not in str(error.value)
    assert [p.name for p in tmp_path.iterdir()] == ["a.mwz"]


@pytest.mark.parametrize("raw", [b"", b"[", b"[]", b"null", b"\xff", b"[" * 100_000, b"NaN"])
def test_an_index_that_is_none(tmp_path: Path, raw: bytes) -> None:
    with pytest.raises(InputError, match="an index that mwanda wrote"):
        Archive.open(forged(tmp_path / "a.mwz", lambda index: raw))


def test_a_tensor_twice(tmp_path: Path) -> None:
    def change(index: dict[str, Any]) -> None:
        segment = index["files"][1]["segments"][0]
        index["files"][1] |= {"segments": [segment, segment], "size": 16}

    with pytest.raises(InputError, match="a tensor twice"):
        Archive.open(forged(tmp_path / "a.mwz", change))


def test_more_than_the_disk_holds_is_refused_before_a_byte_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    zeros = encode(bytes(16 << 20), PLAIN, 0, 0)
    chunk = [len(zeros), 16 << 20, zlib.crc32(zeros), zlib.crc32(bytes(16 << 20))]
    index = {"format": 1, "files": [{"path": "a", "size": 1000 << 24, "sha256": "0" * 64,
                                     "segments": [{"chunks": [chunk] * 1000}]}]}  # fmt: skip
    raw, body = json.dumps(index).encode(), zeros * 1000
    path = tmp_path / "a.mwz"
    path.write_bytes(HEADER + body + raw + footer(len(HEADER) + len(body), raw))
    assert path.stat().st_size < 5_000_000  # 17 GB of zeros
    real = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: real._replace(free=10**10))
    with pytest.raises(InputError, match=r"expected 16\.78 GB of free disk"):
        unpack(path, tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["a.mwz"]


def test_a_footer_that_lies(tmp_path: Path) -> None:
    data = forged(tmp_path / "b.mwz", lambda index: None).read_bytes()
    start, length, digest, mark = FOOTER.unpack(data[-FOOTER.size :])
    for values in (
        (2**63, length, digest, mark),
        (start, 2**64 - 1, digest, mark),
        (start - 1, length + 1, digest, mark),
        (0, start + length, digest, mark),
        (start, length, digest, b"MWZ.BAD\n"),
    ):
        assert broken(data[: -FOOTER.size] + FOOTER.pack(*values), tmp_path) is not None, values


def test_an_archive_of_another_format(tmp_path: Path) -> None:
    data = bytearray(forged(tmp_path / "a.mwz", lambda index: None).read_bytes())
    data[8] = 7
    (tmp_path / "a.mwz").write_bytes(data)
    with pytest.raises(InputError, match="expected format 1, found format 7"):
        Archive.open(tmp_path / "a.mwz")


# --- what is packed, and where to ---


def test_a_file_that_changes_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "a.txt").write_bytes(bytes(100))
    real = encode

    def grow(*words: Any) -> bytes:
        with (source / "b.txt").open("ab") as file:
            file.write(b"x")
        return real(*words)

    (source / "b.txt").write_bytes(bytes(100))
    monkeypatch.setattr("mwanda.pruned.archive.writer.encode", grow)
    # Small chunks: else all of both files is read before the first chunk is coded.
    monkeypatch.setattr("mwanda.pruned.archive.writer.CHUNK", 10)
    with pytest.raises(DataError, match="as it was when the packing began"):
        pack(source, tmp_path / "a.mwz", threads=1)
    assert [p.name for p in tmp_path.iterdir()] == ["source"]


def test_links_to_files_are_followed_and_others_refused(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (tmp_path / "blob").write_bytes(b"weights")
    (source / "model.bin").symlink_to(tmp_path / "blob")
    pack(source, tmp_path / "a.mwz")
    unpack(tmp_path / "a.mwz", tmp_path / "out")
    assert contents(tmp_path / "out") == {"model.bin": b"weights"}
    assert not (tmp_path / "out" / "model.bin").is_symlink()
    (source / "loop").symlink_to(tmp_path)
    with pytest.raises(InputError, match="loop: expected a file"):
        pack(source, tmp_path / "b.mwz")
    (source / "loop").unlink()
    os.mkfifo(source / "pipe")
    with pytest.raises(InputError, match="pipe: expected a file"):
        pack(source, tmp_path / "b.mwz")


def test_outputs_that_cannot_be(folder: Path, packed: Path, tmp_path: Path) -> None:
    there = tmp_path / "there.mwz"
    there.write_bytes(b"mine")
    for out, says in (
        (tmp_path / "a.zip", "ending in .mwz"),
        (tmp_path / "no" / "a.mwz", "no such folder"),
        (there, "an existing one"),
        (folder / "a.mwz", "outside the folder"),
    ):
        with pytest.raises(InputError, match=says):
            pack(folder, out)
    with pytest.raises(InputError, match="only kind that --overwrite replaces"):
        pack(folder, there, overwrite=True)
    assert there.read_bytes() == b"mine"
    there.write_bytes(packed.read_bytes()[:20])
    pack(folder, there, overwrite=True)
    assert there.read_bytes() == packed.read_bytes()
    with pytest.raises(InputError, match="an existing file"):
        unpack(packed, there)
    for wrong in (tmp_path / "none", tmp_path / "out"):
        with pytest.raises(InputError, match="no folder"):
            pack(wrong, tmp_path / "b.mwz")
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError, match="an empty folder"):
        pack(tmp_path / "out", tmp_path / "b.mwz")
    with pytest.raises(InputError, match="an existing one"):
        unpack(packed, tmp_path / "out")


def test_what_is_no_archive(folder: Path, tmp_path: Path) -> None:
    for path in (folder, folder / "config.json", folder / "empty", tmp_path / "none"):
        with pytest.raises(InputError, match=r"expected an archive"):
            unpack(path, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
