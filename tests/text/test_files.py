"""Which files of a folder are read, and what is said of those that are not."""

from __future__ import annotations

import bz2
import gzip
import lzma
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import zstandard

from mwanda.errors import InputError
from mwanda.text import languages
from mwanda.text.languages import canonical, other_meaning
from mwanda.text.rows import Document
from mwanda.text.sources import open_source
from mwanda.text.text_source import available, check_languages

LINES = "".join(f"Zeile {n}\n" for n in range(5000)).encode()
ROWS = b'{"text": "eins", "id": 1}\n{"text": "zwei", "id": 2}\n'
PACK: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".zst": zstandard.ZstdCompressor().compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
}


@pytest.mark.parametrize("ending", PACK)
def test_packed_text_is_read_as_it_is_unpacked(tmp_path: Path, ending: str) -> None:
    (tmp_path / f"de.txt{ending}").write_bytes(PACK[ending](LINES))
    (tmp_path / f"pt-BR.JSONL{ending.upper()}").write_bytes(PACK[ending](ROWS))
    source = open_source(tmp_path)
    assert source.languages() == ["de", "pt-BR"]
    texts = [document.text for document in source.documents("de")]
    assert texts == LINES.decode().splitlines()
    assert list(source.documents("pt-BR")) == [Document("eins", 1), Document("zwei", 2)]


@pytest.mark.parametrize("ending", [".gz", ".zst"])
def test_every_part_of_a_packed_file_is_read(tmp_path: Path, ending: str) -> None:
    half = len(LINES) // 2
    parts = PACK[ending](LINES[:half]) + PACK[ending](LINES[half:])
    (tmp_path / f"de.txt{ending}").write_bytes(parts)
    assert len(list(open_source(tmp_path).documents("de"))) == 5000


@pytest.mark.parametrize("ending", PACK)
def test_a_packed_file_without_its_end_is_refused(tmp_path: Path, ending: str) -> None:
    (tmp_path / f"de.txt{ending}").write_bytes(PACK[ending](LINES)[:-9])
    with pytest.raises(InputError, match=rf"de\.txt{ending}: expected a whole file packed as"):
        list(open_source(tmp_path).documents("de"))
    (tmp_path / f"de.txt{ending}").write_bytes(LINES)
    with pytest.raises(InputError, match=rf"de\.txt{ending}: expected a whole file packed as"):
        list(open_source(tmp_path).documents("de"))


@pytest.mark.parametrize("kind", [".txt", ".jsonl", ".parquet", ".txt.gz", ".jsonl.zst"])
def test_a_pointer_of_git_lfs_is_no_text(tmp_path: Path, kind: str) -> None:
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'4d' * 32}\nsize 12345\n"
    (tmp_path / f"de{kind}").write_text(pointer)
    with pytest.raises(
        InputError, match=rf"de{kind}: expected text, found a Git LFS pointer, .* git lfs pull"
    ):
        list(open_source(tmp_path).documents("de"))


def test_a_language_packed_and_not_is_there_twice(tmp_path: Path) -> None:
    (tmp_path / "de.txt").write_bytes(LINES)
    (tmp_path / "de.txt.gz").write_bytes(gzip.compress(LINES))
    source = open_source(tmp_path)
    for read in (source.languages, partial(source.documents, "de")):
        with pytest.raises(InputError, match=r"found de\.txt and de\.txt\.gz; keep one"):
            [*read()]


def test_what_is_wrong_with_a_file_matters_where_it_is_wanted(tmp_path: Path) -> None:
    folder = tmp_path / "text"
    folder.mkdir()
    for name in ("de.txt", "en.txt", "en_XX.txt"):
        (folder / name).write_bytes(LINES)
    (tmp_path / "elsewhere.txt").write_bytes(LINES)
    (folder / "fr.txt").symlink_to(tmp_path / "elsewhere.txt")
    source = open_source(folder)
    check_languages(source, ["de"])
    assert len(list(source.documents("de"))) == 5000
    assert source.fingerprint("de")
    with pytest.raises(InputError) as caught:
        source.languages()
    assert len(caught.value.problems) == 2
    with pytest.raises(InputError, match=r"found en\.txt and en_XX\.txt"):
        check_languages(source, ["en", "de"])
    with pytest.raises(InputError, match="found a link to"):
        source.fingerprint("fr")


def test_what_is_passed_over_is_named_with_the_reason(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in (
        "de.txt", "english.txt", "German.jsonl", "train.txt", "fr.csv", "es.json", "dev.txt",
        "it.parquet.gz", ".hidden.txt", ".DS_Store", "README.md", "LICENSE",
    ):  # fmt: skip
        (tmp_path / name).write_text("a")
    (tmp_path / "sw").mkdir()
    source = open_source(tmp_path)
    assert source.languages() == ["de"]
    (line,) = caplog.messages
    for reason in (
        "english.txt (named after no language; en.txt if it is English)",
        "German.jsonl (named after no language; de.jsonl if it is German)",
        "train.txt (named after no language)",
        "fr.csv (.csv: give .txt, .jsonl or .parquet)",
        "es.json (.json: give",
        "dev.txt (a word, though also Domung's code: taken only where --languages names dev)",
        "it.parquet.gz (parquet is packed inside",
        "sw (a folder; put the text of a language in one file beside it)",
    ):
        assert reason in line
    assert not re.search("hidden|DS_Store|README|LICENSE", line)
    caplog.clear()
    open_source(tmp_path, tell=False)
    open_source("bundled:udhr")
    assert not caplog.messages


@pytest.mark.parametrize(
    "word", ["dev", "all", "raw", "new", "nli", "log", "tmp", "src", "tgt", "de-fr"]
)
def test_a_word_is_a_language_only_where_it_is_asked_for(tmp_path: Path, word: str) -> None:
    tag = canonical(word)
    (tmp_path / f"{word}.txt").write_text("a")
    only = open_source(tmp_path)
    with pytest.raises(InputError, match=f"found only {word}.txt .a (word|pair of languages), "):
        only.languages()
    (tmp_path / "de.txt").write_text("a")
    source = open_source(tmp_path)
    assert source.languages() == ["de"]
    assert available(source) == sorted(["de", tag])
    check_languages(source, [tag])
    assert list(source.documents(tag)) == [Document("a")]


def test_every_file_word_is_a_code_and_no_common_language() -> None:
    for word in languages._FILE_WORDS:
        canonical(word)
    common = "eng deu fin pol ces war min sun cat hat bar ace ban bug mad tok yor ibo"
    assert not any(map(other_meaning, common.split()))


def test_a_tag_within_a_name_is_offered(tmp_path: Path) -> None:
    (tmp_path / "de_web.txt").write_text("Guten Tag")
    (tmp_path / "corpus-sw.jsonl").write_text("{}")
    (tmp_path / "data-old.txt").write_text("x")
    with pytest.raises(InputError) as caught:
        open_source(tmp_path)
    assert "de_web.txt (named after no language; de.txt if it is German)" in str(caught.value)
    assert "corpus-sw.jsonl (named after no language; sw.jsonl if it is Swahili)" in str(
        caught.value
    )
    assert "data-old.txt (named after no language)" in str(caught.value)


def test_a_first_look_names_all_that_is_wrong_with_a_folder_at_once(tmp_path: Path) -> None:
    for name, raw in {
        "german.txt": b"eins\n", "fr.jsonl": b'{"content": "un"}\n', "sw.txt": b"\n \n",
        "es.csv": b"a,b\n", "it.txt": b"uno\n", "nl.txt": b"\xe9\n", "notes.txt": b"x\n",
    }.items():  # fmt: skip
        (tmp_path / name).write_bytes(raw)
    source = open_source(tmp_path)
    with pytest.raises(InputError) as caught:
        check_languages(source, ["de", "es", "fr", "sw", "it", "nl"])
    said = caught.value.problems
    assert len(said) == 7
    for line, part in zip(
        said,
        (
            "language 'de' of", "language 'es' of",
            "fr.jsonl:1: expected a field 'text', found the fields content; name the one",
            "sw.txt: expected at least one document that is not blank",
            "nl.txt:1: expected UTF-8",
            "es.csv is not read: .csv: give .txt, .jsonl or .parquet",
            "german.txt is not read: named after no language; de.txt if it is German",
        ),
        strict=True,
    ):  # fmt: skip
        assert part in line
    check_languages(source, ["it"])  # the others matter where they are wanted
    with pytest.raises(InputError):
        source.languages()
