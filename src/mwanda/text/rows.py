"""Rows of JSON, parquet or the hub as documents: which field is the text, and what has none."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from importlib import import_module
from numbers import Integral
from pathlib import Path
from typing import Any

from mwanda.errors import InputError
from mwanda.text.packed import read_lines

log = logging.getLogger("mwanda")

TEXT_FIELD = "text"
BATCH_BYTES = 32 << 20
"""Of a parquet file that are unpacked at once, unless one row is larger."""

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Document:
    """One piece of text that belongs together: a page, a paragraph, a sentence.

    Attributes:
        id: the same number or name in every language where the text is parallel, or None.
    """

    text: str
    id: int | str | None = None


@dataclass
class RowCount:
    """Rows read, and those among them without text."""

    read: int = 0
    without: int = 0

    @property
    def words(self) -> str:
        """What was passed over, for a message."""
        return f"{self.without} of {self.read} rows have no text (null)"

    def tell(self, thing: str) -> None:
        """Say in the log how many rows were passed over, if any."""
        if self.without:
            log.warning("%s: %s and are left out", thing, self.words)


def documents_of(
    rows: Iterable[tuple[str, Row]], column: str, count: RowCount
) -> Iterator[Document]:
    """The documents in rows that each come with the beginning of an error's message.

    A row whose text is null is counted and left out, as is one without the field after rows that
    had it.
    """
    known = False
    for where, row in rows:
        count.read += 1
        known = known or column in row
        document = document_of(where, {column: None, **row} if known else row, column)
        if document is None:
            count.without += 1
        else:
            yield document


def document_of(where: str, row: Row, column: str = TEXT_FIELD) -> Document | None:
    """The document in a row, its types checked; None where its text is null.

    Args:
        where: begins the message of an error.
    """
    if column not in row:
        raise no_column(where, column, list(row), [k for k, v in row.items() if _is_text(v)])
    text = row[column]
    if text is None or (isinstance(text, float) and math.isnan(text)):
        return None
    if isinstance(text, bytes):
        text = _decoded(where, column, text)
    if not isinstance(text, str):
        kind = type(text).__name__
        raise InputError(where, expected=f"a string in field {column!r}", found=kind)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(
            where, expected="Unicode text", found=f"half a surrogate pair at {error.start}"
        ) from error
    return Document(text, _identity(where, row.get("id")))


def _is_text(value: Any) -> bool:
    return isinstance(value, str | bytes)


def _decoded(where: str, field: str, raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(
            where, expected=f"UTF-8 in field {field!r}",
            found=f"byte 0x{raw[error.start]:02x} at {error.start}",
        ) from error  # fmt: skip


def _identity(where: str, identity: Any) -> int | str | None:
    """An id as it was meant: pandas writes whole numbers as floats, and none as NaN, where one of
    a column is missing."""
    if isinstance(identity, bytes):
        return _decoded(where, "id", identity)
    if isinstance(identity, float | Decimal):
        if math.isnan(identity):
            return None
        if math.isfinite(identity) and identity == int(identity):
            return int(identity)
    elif identity is None or isinstance(identity, str):
        return identity
    elif isinstance(identity, Integral) and identity is not True and identity is not False:
        return int(identity)
    kind = type(identity).__name__
    raise InputError(
        where, expected="a whole number or a string in field 'id'",
        found=f"{kind} {str(identity)[:40]}",
    )  # fmt: skip


def no_column(where: str, column: str, there: Sequence[str], of_text: Sequence[str]) -> InputError:
    """The error for a field that is not there, with the one that was probably meant."""
    found = f"the fields {', '.join(map(str, there))}" if there else "no fields"
    meant = [str(name) for name in of_text if name != "id"]
    name = meant[0] if len(meant) == 1 else "NAME"
    return InputError(
        where, expected=f"a field {column!r}", found=found,
        fix=f"name the one that holds the text: --text-field {name}, or ?column={name} after "
        "the source",
    )  # fmt: skip


def numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines with their numbers from 1, blank ones too, without line ends or a byte mark."""
    for number, raw in enumerate(read_lines(path), 1):
        try:
            yield number, raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise InputError(
                f"{path}:{number}",
                expected="UTF-8",
                found=f"byte 0x{raw[error.start]:02x} at column {error.start + 1}",
                fix="convert the file, e.g. with iconv -t UTF-8",
            ) from error


def json_rows(path: Path) -> Iterator[tuple[str, Row]]:
    """The JSON objects of a file, one a line, each with its place."""
    for number, line in numbered_lines(path):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(
                where, expected="a JSON object on each line", found=str(error)
            ) from error
        if not isinstance(row, dict):
            kind = type(row).__name__
            raise InputError(where, expected='an object {"text": ...}', found=kind)
        yield where, row


def parquet_rows(path: Path, column: str) -> Iterator[tuple[str, Row]]:
    """The rows of a parquet file, text and id alone, each with its place."""
    # By name: pyarrow has no types.
    arrow, parquet = import_module("pyarrow"), import_module("pyarrow.parquet")
    number = 0
    try:
        with parquet.ParquetFile(path) as file:
            schema = file.schema_arrow
            if column not in schema.names:
                text = [field.name for field in schema if "str" in str(field.type)]
                raise no_column(str(path), column, schema.names, text)
            wanted = [name for name in dict.fromkeys((column, "id")) if name in schema.names]
            groups = [file.metadata.row_group(i) for i in range(file.metadata.num_row_groups)]
            size = sum(group.total_byte_size for group in groups)
            rows = max(1, min(1024, BATCH_BYTES * file.metadata.num_rows // max(size, 1)))
            for batch in file.iter_batches(batch_size=rows, columns=wanted):
                for row in _values(batch):
                    number += 1
                    yield f"{path}, row {number}", row
    except (arrow.ArrowException, OSError) as error:
        raise InputError(str(path), expected="a parquet file", found=str(error)) from error


def _values(batch: Any) -> list[Row]:
    return list(batch.to_pylist())
