"""Every parser of ours, and strategies that change the bytes and the structure of what it reads."""

from __future__ import annotations

import copy
import json
import shutil
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from hypothesis import strategies as st

from mwanda.cli.recipe_fields import field_options, recipe_fields
from mwanda.errors import MwandaError
from mwanda.evaluation.gate import parse_share
from mwanda.evaluation.texts import parse_ids
from mwanda.model.gguf.file import read_gguf
from mwanda.model.stored.layout import INDEX, read_header, read_index
from mwanda.model.stored.reader import Checkpoint
from mwanda.pruned.archive.contents import FOOTER, HEADER, footer
from mwanda.pruned.archive.reader import Archive
from mwanda.pruning.folder.manifest import read_manifest
from mwanda.pruning.folder.mask_file import MaskFile
from mwanda.pruning.recipe.asked import Recipe
from mwanda.pruning.recipe.yaml_file import load_recipe
from mwanda.pruning.statistics.file import SavedStatistics
from mwanda.system.files import parse_size
from mwanda.text.languages import canonical, parse_languages
from mwanda.text.sources import open_source
from mwanda.text.window_files import load
from tests.bad_input.place import SHARD, Place
from tests.support.recipes import EVERY_FIELD

__all__ = ["TARGETS", "Target", "meet"]


@dataclass(frozen=True)
class Target:
    """A parser and what it is fed.

    Attributes:
        values: strategy of inputs, given sound files.
        read: puts an input into an empty folder and has it parsed.
    """

    values: Callable[[Place], st.SearchStrategy[Any]]
    read: Callable[[Path, Any], object]


def meet(target: Target, folder: Path, value: Any) -> bool:
    """Whether the parser takes a value.

    It may refuse it by the family of errors, in one line of printable text. Anything else comes
    out of here.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        target.read(folder, value)
    except MwandaError as error:
        for line in error.problems:
            if "\n" in line or len(line) > 20_000:
                raise ValueError(f"a message of {len(line)} characters: {line[:200]}") from error
        return False
    return True


# --- bytes ---

_EDITS = st.lists(
    st.tuples(
        st.sampled_from(["set", "flip", "insert", "remove", "repeat", "number", "cut"]),
        st.floats(0, 1, exclude_max=True),
        st.integers(1, 40),
        st.binary(min_size=1, max_size=9),
    ),
    min_size=1,
    max_size=5,
)


def _edited(data: bytes, edits: list[tuple[str, float, int, bytes]], front: int) -> bytes:
    """Edits, half of them among the first bytes, where most structure is."""
    made = bytearray(data)
    for kind, share, count, new in edits:
        length = min(front, len(made)) if count % 2 else len(made)
        at = int(share * length)
        match kind:
            case "set":
                made[at : at + len(new)] = new
            case "flip" if at < len(made):
                made[at] ^= 1 << count % 8
            case "insert":
                made[at:at] = new
            case "remove":
                del made[at : at + count]
            case "repeat":
                made[at:at] = made[at : at + count]
            case "number":
                made[at : at + 8] = struct.pack("<Q", (1 << (count * 2) % 64) - len(new) % 2)
            case "cut":
                del made[at:]
    return bytes(made)


def _bytes_of(*names: str, front: int = 400) -> Callable[[Place], st.SearchStrategy[bytes]]:
    """Sound files with some bytes changed, and bytes of no kind."""

    def values(place: Place) -> st.SearchStrategy[bytes]:
        sound = [(place.good / name).read_bytes() for name in names]
        changed = st.builds(
            lambda data, edits: _edited(data, edits, front), st.sampled_from(sound), _EDITS
        )
        return st.one_of(changed, changed, changed, st.binary(max_size=200))

    return values


# --- structure ---

_ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.sampled_from([2**31, 2**53, 2**63 - 1, 2**63, 2**64, -(2**63), 10**40, 1e308]),
    st.floats(),
    st.text(max_size=6),
    st.sampled_from(
        ["../x", "/etc/passwd", "a\0b", "\ud800", "x" * 300, "de", "F32", "safetensors", "1e999"]
    ),
    st.lists(st.integers(-1, 2**62), max_size=4),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
    st.just([]),
    st.just({}),
)


@st.composite
def _changed(draw: st.DrawFn, value: Any) -> Any:
    """A tree of JSON of which one to three parts are something else, gone, or there twice."""
    made = copy.deepcopy(value)
    for _ in range(draw(st.integers(1, 3))):
        made = _change(draw, made)
    return made


def _change(draw: st.DrawFn, tree: Any) -> Any:
    whole = {"": tree}
    parent: Any = whole
    key: Any = ""
    while isinstance(parent[key], dict | list) and parent[key] and draw(st.integers(0, 5)):
        parent = parent[key]
        key = draw(st.sampled_from([*parent] if isinstance(parent, dict) else range(len(parent))))
    kind = draw(st.sampled_from(["odd", "odd", "gone", "more", "text"]))
    if kind == "gone" and parent is not whole:
        del parent[key]
    elif kind == "more" and isinstance(parent, list):
        parent.append(copy.deepcopy(parent[key]))
    elif kind == "more" and parent is not whole:
        parent[draw(st.text(max_size=4))] = copy.deepcopy(parent[key])
    elif kind == "text":
        parent[key] = str(parent[key])
    else:
        parent[key] = draw(_ODD)
    return whole[""]


def _parts(path: Path) -> tuple[Any, bytes]:
    """Header and data of a safetensors file."""
    raw = path.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    return json.loads(raw[8 : 8 + length]), raw[8 + length :]


def _with_header(header: Any, data: bytes) -> bytes:
    text = json.dumps(header).encode("utf-8", "surrogatepass")
    return len(text).to_bytes(8, "little") + text + data


def _headers_of(name: str) -> Callable[[Place], st.SearchStrategy[bytes]]:
    """A sound safetensors file with another header before its data."""

    def values(place: Place) -> st.SearchStrategy[bytes]:
        header, data = _parts(place.good / name)
        return _changed(header).map(lambda made: _with_header(made, data))

    return values


def _records_of(name: str) -> Callable[[Place], st.SearchStrategy[bytes]]:
    """The same with another record of ours in its metadata."""

    def values(place: Place) -> st.SearchStrategy[bytes]:
        header, data = _parts(place.good / name)
        record = json.loads(header["__metadata__"]["mwanda"])

        def file(made: Any) -> bytes:
            metadata = header["__metadata__"] | {"mwanda": json.dumps(made)}
            return _with_header(header | {"__metadata__": metadata}, data)

        return _changed(record).map(file)

    return values


def _either(*ways: Callable[[Place], st.SearchStrategy[Any]]) -> Any:
    return lambda place: st.one_of(*(way(place) for way in ways))


def _json_of(name: str) -> Callable[[Place], st.SearchStrategy[bytes]]:
    def values(place: Place) -> st.SearchStrategy[bytes]:
        data = json.loads((place.good / name).read_text())
        return _changed(data).map(lambda made: json.dumps(made).encode("utf-8", "surrogatepass"))

    return values


def _indexes(_place: Place) -> st.SearchStrategy[bytes]:
    weight_map = {"a": SHARD, "b": "part.safetensors", "c": SHARD}
    whole = {"metadata": {"total_size": 7}, "weight_map": weight_map}
    structured = _changed(whole).map(lambda made: json.dumps(made).encode("utf-8", "surrogatepass"))
    edited = _EDITS.map(lambda edits: _edited(json.dumps(whole).encode(), edits, 400))
    return st.one_of(structured, edited)


def _archives(place: Place) -> st.SearchStrategy[bytes]:
    """Archives whose checksums are right, their index being another."""
    raw = (place.good / "pruned.mwz").read_bytes()
    start, length, _, _ = FOOTER.unpack(raw[-FOOTER.size :])
    index = json.loads(raw[start : start + length])
    index["files"] = [file for file in index["files"] if file["size"] < 20_000]

    def forged(made: Any) -> bytes:
        text = json.dumps(made).encode("utf-8", "surrogatepass")
        return raw[:start] + text + footer(start, text)

    return _changed(index).map(forged)


def _recipes(_place: Place) -> st.SearchStrategy[bytes]:
    plain = yaml.safe_dump(dict(EVERY_FIELD)).encode()

    def dumped(tree: Any) -> bytes:
        with suppress(Exception):  # what YAML cannot say
            return yaml.safe_dump(tree, allow_unicode=True).encode("utf-8", "surrogatepass")
        return json.dumps(tree).encode("utf-8", "surrogatepass")

    edited = _EDITS.map(lambda edits: _edited(plain, edits, 400))
    signs = st.text(st.sampled_from("&*!%@`|>{}[],:#-?'\"<=~ \n\tab01.e"), max_size=60)
    return st.one_of(_changed(dict(EVERY_FIELD)).map(dumped), edited, signs.map(str.encode))


LINE = b'{"text": "ein Satz", "id": 7}\n'


def _texts(place: Place) -> st.SearchStrategy[tuple[str, bytes]]:
    lines = _EDITS.map(lambda edits: _edited(LINE * 5, edits, 150))
    plain = _EDITS.map(
        lambda e: _edited((place.good / "text" / "de.txt").read_bytes()[:999], e, 99)
    )
    row = _changed({"text": "ein Satz", "id": 7}).map(
        lambda made: json.dumps(made).encode("utf-8", "surrogatepass")
    )
    return st.one_of(
        st.tuples(st.just("de.jsonl"), st.one_of(lines, row, st.binary(max_size=60))),
        st.tuples(st.just("de.txt"), st.one_of(plain, st.binary(max_size=60))),
        st.tuples(st.just("de.parquet"), st.binary(max_size=60)),
    )


_TAGS = st.one_of(
    st.text(max_size=12),
    st.text(st.sampled_from("abdefhlnrstuwxyzABDELNS-_,. 0123"), max_size=24),
    st.lists(
        st.sampled_from(["de", "swh", "Latn", "zh", "Hant", "TW", "x", "u", "xx1", "und", "i", ""]),
        max_size=5,
    ).map("-".join),
)
_WORDS = st.one_of(
    st.text(max_size=12), st.text(st.sampled_from("0123456789.eE+-:%GMKiBnaf=, _x"), max_size=24)
)


# --- what reads them ---


def _file(name: str, read: Callable[[Path], object]) -> Callable[[Path, Any], object]:
    def put(folder: Path, value: bytes) -> object:
        (folder / name).write_bytes(value)
        return read(folder / name)

    return put


def _read_index(folder: Path, value: bytes) -> None:
    for name in (SHARD, "part.safetensors"):
        (folder / name).write_bytes(b"")
    (folder / INDEX).write_bytes(value)
    read_index(folder, folder / INDEX)


def _read_checkpoint(path: Path) -> None:
    (path.parent / "config.json").write_text("{}")
    with Checkpoint.open(path.parent) as checkpoint:
        for name in checkpoint.tensors:
            checkpoint.read(name)


def _read_statistics(path: Path) -> None:
    saved = SavedStatistics.open(path)
    saved.check_values(grams=True)
    for block in range(min(saved.record.model.blocks, 9)):
        saved.load(block)


def _read_masks(path: Path) -> None:
    file = MaskFile.open(path)
    for name in file.linears:
        file.mask(name)


def _read_archive(path: Path) -> None:
    with Archive.open(path) as archive:
        for entry in archive.index.files:
            if entry.size < 100_000:
                archive.read_file(entry.path)


def _read_recipe(path: Path) -> None:
    Recipe.build(load_recipe(path), str(path))


def _read_text(folder: Path, value: tuple[str, bytes]) -> None:
    name, raw = value
    (folder / name).write_bytes(raw)
    source = open_source(folder)
    for tag in source.languages():
        list(source.documents(tag))


def _read_words(_folder: Path, text: str) -> None:
    for name, kind, *_ in field_options():
        if kind in (str, list[str]):
            with suppress(MwandaError):
                Recipe.build(recipe_fields(**{name: text if kind is str else [text]}))
    for read in (
        lambda: parse_size(text, "--x"), lambda: parse_ids(text), lambda: parse_share(text, "--x"),
    ):  # fmt: skip
        with suppress(MwandaError):
            read()


def _read_tag(_folder: Path, text: str) -> None:
    with suppress(MwandaError):
        parse_languages(text)
    tag = canonical(text)
    if canonical(tag) != tag:
        raise ValueError(f"{text!r} gives {tag!r}, which gives {canonical(tag)!r}")


TARGETS: dict[str, Target] = {
    "safetensors header": Target(
        _either(_headers_of("model/model.safetensors"), _bytes_of("model/model.safetensors")),
        _file(SHARD, read_header),
    ),
    "checkpoint": Target(
        _either(_headers_of("model/model.safetensors"), _bytes_of("model/model.safetensors")),
        _file(SHARD, _read_checkpoint),
    ),
    "index": Target(_indexes, _read_index),
    "recipe": Target(_recipes, _file("recipe.yaml", _read_recipe)),
    "windows": Target(
        _either(*(way("windows.safetensors") for way in (_records_of, _headers_of, _bytes_of))),
        _file("w.safetensors", lambda path: load(path, vocabulary=300)),
    ),
    "statistics": Target(
        _either(*(way("statistics.safetensors") for way in (_records_of, _headers_of, _bytes_of))),
        _file("s.safetensors", _read_statistics),
    ),
    "masks": Target(
        _either(*(way("masks.safetensors") for way in (_records_of, _headers_of, _bytes_of))),
        _file("m.safetensors", _read_masks),
    ),
    "manifest": Target(
        _either(_json_of("pruned/mwanda.json"), _bytes_of("pruned/mwanda.json", front=9000)),
        _file("mwanda.json", lambda path: read_manifest(path.parent)),
    ),
    "archive": Target(_either(_archives, _bytes_of("pruned.mwz")), _file("a.mwz", _read_archive)),
    "gguf": Target(_bytes_of("model.gguf", front=3000), _file("m.gguf", read_gguf)),
    "text": Target(_texts, _read_text),
    "language tag": Target(lambda _place: _TAGS, _read_tag),
    "options": Target(lambda _place: _WORDS, _read_words),
}
"""Parsers by name."""

if len(HEADER) != 16:
    raise ValueError("the archive's header has changed: look at what is forged here")
