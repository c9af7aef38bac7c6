"""Libraries that a prune does not need: refused by the command that installs them, and in it."""

from __future__ import annotations

import importlib.util
import re
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from mwanda.errors import InputError
from mwanda.pruned.archive.codec import PLAIN, decode, encode
from mwanda.study.tracking import TRACKERS
from mwanda.text.packed import read_lines
from mwanda.text.rows import parquet_rows
from mwanda.text.sources import open_source
from tests.support import REPOSITORY

PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
NEED = re.compile(r'need\(\s*"(\w+)"[^()]*(?:\([^()]*\)[^()]*)*"(\w+)"\s*\)')


def unpack(path: Path) -> object:
    path.write_bytes(b"\x28\xb5\x2f\xfd")
    return list(read_lines(path))


WITHOUT: dict[str, tuple[str, str, Callable[[Path], object]]] = {
    "packed text": ("zstandard", "archive", lambda folder: unpack(folder / "de.txt.zst")),
    "archive": ("zstandard", "archive", lambda _: encode(bytes(99), PLAIN, 0, 3)),
    "archive read": (
        "zstandard", "archive",
        lambda _: decode(b"\0\1\5\0\0\0abcde", memoryview(bytearray(9)), PLAIN, 0, "it"),
    ),
    "hub": ("datasets", "hub", lambda _: open_source("hub:owner/name")),
    "parquet": ("pyarrow", "parquet", lambda folder: next(parquet_rows(folder / "x", "text"))),
}  # fmt: skip


@pytest.mark.parametrize("what", WITHOUT)
def test_what_is_missing_is_told_with_its_remedy(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, extra, begin = WITHOUT[what]
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == module else real(name)
    )
    told = rf"the library {module}, found it is not installed; pip install 'mwanda\[{extra}\]'"
    with pytest.raises(InputError, match=told):
        begin(tmp_path)


def brought(extra: str) -> set[str]:
    """The packages of an extra, those of the extras in it too."""
    found: set[str] = set()
    for requirement in EXTRAS[extra]:
        if inner := re.match(r"mwanda\[([\w,-]+)\]", requirement):
            found |= {name for part in inner[1].split(",") for name in brought(part)}
        else:
            found.add(re.split(r"[^\w-]", requirement)[0].replace("-", "_"))
    return found


def test_every_remedy_brings_what_it_is_named_for() -> None:
    needs = [
        need
        for path in (REPOSITORY / "src").rglob("*.py")
        for need in NEED.findall(path.read_text(encoding="utf-8"))
    ]
    assert len(needs) > 8
    assert not [(module, extra) for module, extra in needs if module not in brought(extra)]


APART = {"llama-cpp", "openvino", "ctranslate2", "recover-8bit", "docs"}
"""Of which one wants one, or none: they bring much, or are built where they are installed."""


def test_all_is_all_but_what_few_want() -> None:
    rest = EXTRAS.keys() - {"all", *TRACKERS, *APART}
    named = re.findall(r"[\w-]+", ",".join(EXTRAS["all"]).replace("mwanda", ""))
    assert rest == {*named, "test"}
    assert set().union(*map(brought, rest)) == brought("all")
