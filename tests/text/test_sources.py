from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from mwanda.errors import InputError
from mwanda.text.rows import Document
from mwanda.text.sources import open_source, placed_source
from mwanda.text.text_source import check_languages
from tests.text.helpers import text_folder, write_jsonl


def documents(folder: Path, language: str) -> list[Document]:
    return list(open_source(folder).documents(language))


def test_a_folder_has_one_file_per_language(tmp_path: Path) -> None:
    (tmp_path / "de.txt").write_bytes("\ufeffEins\r\n\r\n  \r\nZwei\u2028zwei\n".encode())
    write_jsonl(
        tmp_path / "swh_Latn.jsonl", [{"text": "Habari", "id": 3}, {"text": "Ndiyo", "id": "x"}]
    )
    table = pa.table({"n": [1.0, 2.0], "text": ["Un", "Deux"], "id": [7, None]})
    parquet.write_table(table, tmp_path / "FR.parquet")
    (tmp_path / "README.md").write_text("not text")
    (tmp_path / "train.jsonl").write_text("not read")
    (tmp_path / "es.jsonl").mkdir()
    source = open_source(str(tmp_path))
    assert source.name == str(tmp_path)
    assert not source.streamed
    assert source.languages() == ["de", "fr", "sw"]
    assert list(source.documents("de")) == [Document("Eins"), Document("Zwei\u2028zwei")]
    assert list(source.documents("sw")) == [Document("Habari", 3), Document("Ndiyo", "x")]
    assert list(source.documents("fr")) == [Document("Un", 7), Document("Deux", None)]
    expected = hashlib.sha256((tmp_path / "de.txt").read_bytes()).hexdigest()
    assert source.fingerprint("de") == expected


def test_documents_are_read_as_they_are_asked_for(tmp_path: Path) -> None:
    (tmp_path / "de.jsonl").write_text('{"text": "eins"}\nnot JSON\n')
    stream = open_source(tmp_path).documents("de")
    assert next(stream) == Document("eins")
    with pytest.raises(InputError, match=r"de\.jsonl:2: expected a JSON object on each line"):
        next(stream)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "de.txt",
            b"\n \n",
            r"de\.txt: expected at least one document that is not blank, found none",
        ),
        ("de.jsonl", b'{"text": " "}\n', r"de\.jsonl: expected at least one document"),
        ("de.txt", b"gut\nM\xfcll\n", r"de\.txt:2: expected UTF-8, found byte 0xfc at column 2"),
        ("de.jsonl", b"\n{'text'}\n", r"de\.jsonl:2: expected a JSON object on each line"),
        ("de.jsonl", b'["a"]\n', r"de\.jsonl:1: expected an object .* found list"),
        ("de.jsonl", b"[" * 100_000, r"de\.jsonl:1: expected a JSON object"),
        (
            "de.jsonl",
            b'{"txt": "a"}\n',
            r"de\.jsonl:1: expected a field 'text', found the fields txt",
        ),
        ("de.jsonl", b"{}\n", r"expected a field 'text', found no fields"),
        ("de.jsonl", b'{"text": 3}\n', r"expected a string in field 'text', found int"),
        ("de.jsonl", b'{"text": "\\ud800"}\n', r"expected Unicode text, found half a surrogate"),
        ("de.parquet", b"no parquet", r"de\.parquet: expected a parquet file"),
    ],
)
def test_a_bad_file_is_named_with_its_line(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        documents(tmp_path, "de")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"body": ["a"]}, "expected a field 'text', found the fields body"),
        ({"text": [1]}, "row 1: expected a string in field 'text', found int"),
        ({"text": [["a"]]}, "row 1: expected a string in field 'text', found list"),
    ],
)
def test_a_bad_parquet_column_is_named(
    tmp_path: Path, columns: dict[str, Any], message: str
) -> None:
    parquet.write_table(pa.table(columns), tmp_path / "de.parquet")
    with pytest.raises(InputError, match=message):
        documents(tmp_path, "de")


def test_what_is_no_folder_of_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected a folder, found nothing there; give a folder"):
        open_source(tmp_path / "none")
    with pytest.raises(InputError, match=r"expected one <tag>\.txt, .* found none"):
        open_source(tmp_path)
    (tmp_path / "train.txt").write_text("a")
    with pytest.raises(InputError, match="found a file"):
        open_source(tmp_path / "train.txt")
    with pytest.raises(InputError, match=r"found only train\.txt \(named after no language\)"):
        open_source(tmp_path)
    with pytest.raises(InputError, match="text source: expected a folder"):
        open_source("")


@pytest.mark.parametrize(
    "text", ["Guten Tag. " * 40, "Guten Tag. " * 40 + "?column=text", "a\0b", "~nouser-here/text"]
)
def test_what_no_folder_can_be_called_is_not_there(text: str) -> None:
    with pytest.raises(InputError, match="expected a folder, found nothing there; give a fol") as e:
        open_source(text)
    assert len(str(e.value)) < 400
    assert placed_source(text) == text


def test_two_files_for_a_language_are_both_named(tmp_path: Path) -> None:
    for name in ("de.txt", "deu_Latn.jsonl", "sw.txt", "swh_Latn.txt"):
        (tmp_path / name).write_text("a")
    with pytest.raises(InputError) as caught:
        open_source(tmp_path).languages()
    assert len(caught.value.problems) == 2
    assert "found de.txt and deu_Latn.jsonl; keep one" in str(caught.value)


def test_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    (tmp_path / "secret.txt").write_text("a")
    (inside / "fr.txt").write_text("a")
    (inside / "pt.txt").symlink_to(inside / "fr.txt")
    (tmp_path / "link").symlink_to(inside)
    assert open_source(tmp_path / "link").languages() == ["fr", "pt"]
    (inside / "de.txt").symlink_to(tmp_path / "secret.txt")
    with pytest.raises(InputError, match=r"de\.txt: expected a file in the folder, found a link"):
        open_source(inside).languages()


def test_every_missing_language_is_reported(tmp_path: Path) -> None:
    source = open_source(text_folder(tmp_path, {"de": ["a"], "fr": ["b"]}))
    check_languages(source, ["fr", "de"])
    with pytest.raises(InputError) as caught:
        check_languages(source, ["sw", "de", "yo"])
    assert len(caught.value.problems) == 2
    assert "expected one of de, fr; drop it or add its text" in str(caught.value)
    for read in (source.fingerprint, lambda tag: next(source.documents(tag))):
        with pytest.raises(InputError, match="language 'sw'"):
            read("sw")


PARAGRAPHS = [
    {"article": 0, "text": "Preamble"},
    {"article": 1, "text": "First"},
    {"article": 15, "text": "a"},
    {"article": 15, "text": "b"},
    {"article": 16, "text": "c"},
    {"article": 30, "text": "d"},
]


def test_the_bundled_declaration_has_two_halves(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "udhr" / "de.jsonl", PARAGRAPHS)

    def ids(spec: str) -> list[int | str | None]:
        source = open_source(spec, bundled_root=tmp_path)
        assert source.languages() == ["de"]
        assert source.name == spec
        return [document.id for document in source.documents("de")]

    assert ids("bundled:udhr/first") == [1, 101, 1501, 1502]
    assert ids("bundled:udhr/second") == [1601, 3001]
    assert ids("bundled:udhr") == [1, 101, 1501, 1502, 1601, 3001]


def test_bad_bundled_text_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"found udhr/frist; did you mean 'udhr/first'"):
        open_source("bundled:udhr/frist", bundled_root=tmp_path)
    with pytest.raises(InputError, match="bundled:udhr: expected a folder, found nothing there"):
        open_source("bundled:udhr", bundled_root=tmp_path)
    for article in (31, -1, "1", True, None):
        write_jsonl(tmp_path / "udhr" / "de.jsonl", [{"article": article, "text": "a"}])
        with pytest.raises(InputError, match=r"de\.jsonl:1: expected an article from 0 to 30"):
            list(open_source("bundled:udhr", bundled_root=tmp_path).documents("de"))


def test_the_text_in_the_package_is_found_by_default() -> None:
    first, second = open_source("bundled:udhr/first"), open_source("bundled:udhr/second")
    for language in first.languages():
        ids = [document.id for document in first.documents(language)]
        others = [document.id for document in second.documents(language)]
        assert len(set(ids + others)) == len(ids) + len(others)
