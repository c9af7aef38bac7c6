"""Rows as pandas, datasets and others write them: nulls, floats, bytes, other names."""

from __future__ import annotations

import json
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

from mwanda.errors import InputError
from mwanda.evaluation.parallel import read_parallel
from mwanda.evaluation.texts import load_texts
from mwanda.text.given import GivenText
from mwanda.text.rows import Document, document_of, parquet_rows
from mwanda.text.sources import open_source, placed_source, with_text_field
from tests.text.test_hub import data_set


def write(folder: Path, kind: str, column: str, rows: list[Any]) -> str:
    """The same rows as a jsonl file, a parquet file or a local data set of the hub."""
    folder.mkdir()
    if kind == "parquet":
        parquet.write_table(pa.table({column: rows}), folder / "de.parquet")
    else:
        path = folder / "de.jsonl"
        if kind == "hub":
            path = data_set(folder, ["de"]) / "de" / "train.jsonl"
        path.write_text("".join(json.dumps({column: row}) + "\n" for row in rows))
    return f"hub:{folder}" if kind == "hub" else str(folder)


KINDS = ["jsonl", "parquet", "hub"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_without_text_is_left_out_and_counted(
    tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    spec = write(tmp_path / "rows", kind, "text", ["eins", None, "drei", " ", None])
    texts = [document.text for document in open_source(spec).documents("de")]
    assert texts == ["eins", "drei"]
    assert "3 of 5 rows have no text (2 null, 1 blank) and are left out" in caplog.text


@pytest.mark.parametrize("kind", KINDS)
def test_another_field_is_named_once_for_every_kind(tmp_path: Path, kind: str) -> None:
    spec = write(tmp_path / "rows", kind, "content", ["eins", None, "drei"])
    with pytest.raises(
        InputError, match=r"expected a field 'text', found the fields content; .*content"
    ):
        list(open_source(spec).documents("de"))
    named = with_text_field(spec, "content")
    assert named == f"{spec}?column=content"
    source = open_source(named)
    assert source.name == named
    assert [document.text for document in source.documents("de")] == ["eins", "drei"]


def test_rows_that_are_all_null_are_told(tmp_path: Path) -> None:
    spec = write(tmp_path / "rows", "jsonl", "text", [None, None])
    with pytest.raises(InputError, match=r"found none: 2 of 2 rows have no text \(2 null\)"):
        list(open_source(spec).documents("de"))


@pytest.mark.parametrize("first", ["", '{"url": "x"}\n'])
def test_rows_without_the_field_are_counted_apart(
    tmp_path: Path, first: str, caplog: pytest.LogCaptureFixture
) -> None:
    rows = first + '{"text": "a", "id": 1}\n{"id": 2}\n{"text": "c"}\n{"text": null}\n'
    (tmp_path / "de.jsonl").write_text(rows)
    assert list(open_source(tmp_path).documents("de")) == [Document("a", 1), Document("c")]
    read, missing = (5, 2) if first else (4, 1)
    told = f"{missing + 1} of {read} rows have no text (1 null, {missing} without the field)"
    assert [line for line in caplog.messages if told in line]


def test_a_field_that_no_row_has_is_refused_after_a_while(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "de.jsonl"
    path.write_text('{"url": 1}\n' + '{"content": "a"}\n' * 1000)
    with pytest.raises(
        InputError,
        match=r"de.jsonl:1: expected a field 'text', found the fields url, content; .* content,",
    ):
        list(open_source(tmp_path).documents("de"))
    assert not caplog.messages


def test_the_field_that_parquet_may_mean_is_one_of_text(tmp_path: Path) -> None:
    talk = [[{"role": "user", "content": "a"}]]
    table = pa.table({"messages": talk, "lists": [["a"]], "raw": pa.array([b"a"])})
    parquet.write_table(table, tmp_path / "de.parquet")
    with pytest.raises(InputError, match=r"found the fields messages, lists, raw; .*field raw,"):
        list(open_source(tmp_path).documents("de"))
    parquet.write_table(table.select(["messages"]), tmp_path / "de.parquet")
    with pytest.raises(InputError, match="--text-field NAME,"):
        list(open_source(tmp_path).documents("de"))


def test_texts_from_python_are_not_told_of_options() -> None:
    with pytest.raises(InputError, match=r"under \"text\": .*row\[\"content\"\]") as caught:
        GivenText({"de": [{"content": "a"}]})
    assert "--text-field" not in str(caught.value)


def test_a_data_frame_is_no_list_of_texts_and_its_column_is() -> None:
    frame = pd.DataFrame({"text": ["eins", "zwei"], "url": ["a", "b"]})
    with pytest.raises(
        InputError, match=r"texts, de: expected a list of texts, found a DataFrame; .*\[\"text\"\]"
    ):
        GivenText({"de": frame})
    source = GivenText({"de": frame["text"]})
    assert list(source.documents("de")) == [Document("eins"), Document("zwei")]


def test_a_set_of_texts_is_sorted() -> None:
    texts = [f"Satz {number:02}" for number in range(20)]
    for given in (set(texts), frozenset(texts)):
        source = GivenText({"de": given})
        assert [document.text for document in source.documents("de")] == texts
        assert source.fingerprint("de") == GivenText({"de": texts}).fingerprint("de")


@pytest.mark.parametrize(
    ("given", "identity"),
    [
        (3.0, 3), (float("nan"), None), (None, None), (7, 7), ("x", "x"), (b"x", "x"),
        (np.int64(5), 5), (Decimal("4"), 4), (Decimal("NaN"), None), (-0.0, 0),
    ],
)  # fmt: skip
def test_ids_are_what_was_meant(given: Any, identity: Any) -> None:
    found = document_of("row 1", {"text": "a", "id": given})
    assert found == Document("a", identity)
    assert type(found.id) is type(identity)


@pytest.mark.parametrize("given", [3.5, float("inf"), True, [1], {}, b"\xff", date(2020, 1, 1)])
def test_other_ids_are_none_and_counted(given: Any, caplog: pytest.LogCaptureFixture) -> None:
    rows = [{"text": "a", "id": given}, {"text": "b", "id": 2}, {"text": "c"}]
    source = GivenText({"de": rows})
    assert [document.id for document in source.documents("de")] == [None, 2, None]
    assert "1 of 3 rows have an id that is no whole number or string" in caplog.text
    with pytest.raises(InputError, match="--ids needs an integer id in every record"):
        load_texts(source, ["de"], sentences=None, seed=0, ids=(0, None))
    with pytest.raises(InputError, match="an id of its own in every record, found 1 ids in 3"):
        read_parallel(GivenText({"de": rows, "en": rows}), "de-en", shots=0)


def test_bytes_are_text_in_utf8() -> None:
    assert document_of("row 1", {"text": "für".encode()}) == Document("für")
    with pytest.raises(InputError, match="row 1: expected UTF-8 in field 'text', found byte 0xfc"):
        document_of("row 1", {"text": b"f\xfcr"})
    assert document_of("row 1", {"text": float("nan")}) is None


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.binary(), pa.large_binary(), pa.string_view(),
             pa.dictionary(pa.int32(), pa.string())],
)  # fmt: skip
def test_every_parquet_type_of_text(tmp_path: Path, kind: Any) -> None:
    texts = pa.array(["für", None, "c"], pa.string()).cast(kind)
    ids = pa.array([1.0, 2.0, None], pa.float64())
    parquet.write_table(pa.table({"text": texts, "id": ids}), tmp_path / "de.parquet")
    assert list(open_source(tmp_path).documents("de")) == [Document("für", 1), Document("c")]


def test_text_of_parquet_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    raw = pa.array([b"gut", b"sch\xf6n"], pa.binary())
    table = pa.table({"text": pa.StringArray.from_buffers(2, *raw.buffers()[1:])})
    parquet.write_table(table, tmp_path / "de.parquet")
    with pytest.raises(InputError, match=r"parquet: expected a parquet file, its text in UTF-8"):
        list(open_source(tmp_path).documents("de"))


@pytest.mark.parametrize("kind", [pa.date32(), pa.timestamp("us")])
def test_ids_of_parquet_that_python_cannot_hold_are_none(
    tmp_path: Path, kind: Any, caplog: pytest.LogCaptureFixture
) -> None:
    ids = pa.array([1, 2 ** (kind.bit_width - 2)], kind)
    parquet.write_table(pa.table({"text": ["a", "b"], "id": ids}), tmp_path / "de.parquet")
    assert list(open_source(tmp_path).documents("de")) == [Document("a"), Document("b")]
    assert "2 of 2 rows have an id that is no whole number or string" in caplog.text


def test_large_cells_are_not_all_unpacked_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    real = pa.RecordBatch.to_pylist

    def counted(batch: Any) -> Any:
        sizes.append(batch.num_rows)
        return real(batch)

    monkeypatch.setattr("mwanda.text.rows.BATCH_BYTES", 40_000)
    monkeypatch.setattr("mwanda.text.rows._values", counted)
    table = pa.table({"text": [f"{n}" * 10_000 for n in range(10)]})
    parquet.write_table(table, tmp_path / "de.parquet", use_dictionary=False)
    assert len(list(parquet_rows(tmp_path / "de.parquet", "text"))) == 10
    assert max(sizes) <= 4


def test_a_field_is_refused_where_there_is_none(tmp_path: Path) -> None:
    (tmp_path / "de.txt").write_text("a")
    with pytest.raises(InputError, match=r"rows with a field 'content'.*lines of \.txt alone"):
        open_source(f"{tmp_path}?column=content")
    for spec in ("bundled:udhr", "w.safetensors", "hub:a/b?column=x", "folder?column=x"):
        with pytest.raises(InputError, match="--text-field: expected"):
            with_text_field(spec, "content")
    with pytest.raises(InputError, match="--text-field"):
        with_text_field("folder", " ")
    assert with_text_field("folder", None) == "folder"
    assert with_text_field("hub:a/b?split=x", "c d") == "hub:a/b?split=x&column=c%20d"


def test_a_folder_may_have_a_question_mark(tmp_path: Path, monkeypatch: Any) -> None:
    folder = tmp_path / "what?column=text"
    folder.mkdir()
    (folder / "de.txt").write_text("a")
    assert open_source(folder).languages() == ["de"]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t").mkdir()
    assert placed_source("t?column=content") == f"{tmp_path}/t?column=content"
    assert placed_source("hub:a/b?column=c") == "hub:a/b?column=c"
