"""Rows of JSON, parquet or the hub as documents: which field is the text, and what has none."""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from importlib import import_module
from numbers import Integral
from pathlib import Path
from typing import Any

from mwanda.errors import InputError
from mwanda.system.extras import need
from mwanda.text.packed import read_lines, refuse_pointer

log = logging.getLogger("mwanda")

TEXT_FIELD = "text"
FIELD_ADVICE = (
    "name the one that holds the text: --text-field {name}, or ?column={name} after the source"
)
ROWS_TRIED = 1000
"""Of which one must have the field that holds the text."""
BATCH_BYTES = 32 << 20
"""Of a parquet file that are unpacked at once, unless one row is larger."""

Row = Mapping[str, Any]
_OF_TEXT = re.compile(r"(dictionary<values=)?(large_)?(string|binary)(_view)?(,|$)")
_OF_IDS = re.compile(
    r"(dictionary<values=)?((large_|fixed_size_)?(string|binary)|u?int|decimal|(half)?float|double"
    r"|null)"
)


@dataclass(frozen=True)
class Document:
    """One piece of text that belongs together: a page, a paragraph, a sentence."""

    text: str
    id: int | str | None = None  # the same in every language where the text is parallel


@dataclass
class RowCount:
    """Rows read, and why some among them are no documents."""

    read: int = 0
    null: int = 0
    missing: int = 0  # without the field
    blank: int = 0  # whose text is white space
    odd_ids: int = 0  # taken, but with an id that is no whole number or string, and so none

    @property
    def without(self) -> int:
        """Rows that are left out."""
        return self.null + self.missing + self.blank

    @property
    def words(self) -> str:
        """What was passed over, for a message."""
        kinds = {"null": self.null, "without the field": self.missing, "blank": self.blank}
        told = ", ".join(f"{number} {kind}" for kind, number in kinds.items() if number)
        return f"{self.without} of {self.read} rows have no text ({told})"

    def tell(self, thing: str) -> None:
        """Say in the log how many rows were passed over, if any."""
        if self.without:
            log.warning("%s: %s and are left out", thing, self.words)
        if self.odd_ids:
            log.warning(
                "%s: %d of %d rows have an id that is no whole number or string, which is not used",
                thing, self.odd_ids, self.read,
            )  # fmt: skip


def documents_of(
    rows: Iterable[tuple[str, Row]], column: str, count: RowCount, *, advice: str = FIELD_ADVICE
) -> Iterator[Document]:
    """The documents in rows that each come with the beginning of an error's message.

    A row without text is counted and left out. The field must be in one of the first rows.
    """
    known, place, fields = False, "", dict[str, bool]()
    for where, row in rows:
        count.read += 1
        if column not in row:
            count.missing += 1
            if not known:
                place = place or where
                fields.update({str(name): _is_text(value) for name, value in row.items()})
                if count.read >= ROWS_TRIED:
                    break
            continue
        known = True
        document = document_of(where, row, column, count)
        if document is None:
            count.null += 1
        elif not document.text.strip():
            count.blank += 1
        else:
            yield document
    if place and not known:
        count.missing = 0  # the error says it all
        raise no_column(place, column, list(fields), [k for k, text in fields.items() if text],
                        advice)  # fmt: skip


def document_of(
    where: str, row: Row, column: str = TEXT_FIELD, count: RowCount | None = None
) -> Document | None:
    """The document in a row, its types checked; None where its text is null. An id that cannot be
    used is counted."""
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
        found = f"half a surrogate pair at {error.start}"
        raise InputError(where, expected="Unicode text", found=found) from error
    given = row.get("id")
    identity = _identity(given)
    if count is not None and identity is None and not _none_meant(given):
        count.odd_ids += 1
    return Document(text, identity)


def _is_text(value: Any) -> bool:
    return isinstance(value, str | bytes)


def _decoded(where: str, field: str, raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        found = f"byte 0x{raw[error.start]:02x} at {error.start}"
        raise InputError(where, expected=f"UTF-8 in field {field!r}", found=found) from error


def _identity(given: Any) -> int | str | None:
    """An id as it was meant: pandas writes whole numbers as floats where one of a column is
    missing. What is no whole number and no string is no id."""
    if isinstance(given, bytes):
        try:
            return given.decode("utf-8")
        except UnicodeDecodeError:
            return None
    if isinstance(given, float | Decimal):
        return int(given) if math.isfinite(given) and given == int(given) else None
    if isinstance(given, bool):
        return None
    return int(given) if isinstance(given, Integral) else given if isinstance(given, str) else None


def _none_meant(given: Any) -> bool:
    return given is None or (isinstance(given, float | Decimal) and math.isnan(given))


def no_column(
    where: str,
    column: str,
    there: Sequence[str],
    of_text: Sequence[str],
    advice: str = FIELD_ADVICE,
) -> InputError:
    """The error for a field that is not there: what to do names one of those of text, if it is the
    only one, in place of ``{name}``."""
    found = f"the fields {', '.join(map(str, there))}" if there else "no fields"
    meant = [str(name) for name in of_text if name != "id"]
    name = meant[0] if len(meant) == 1 else "NAME"
    expected = f"a field {column!r}"
    return InputError(where, expected=expected, found=found, fix=advice.replace("{name}", name))


def numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines with their numbers from 1, blank ones too, without line ends or a byte mark."""
    for number, raw in enumerate(read_lines(path), 1):
        try:
            yield number, raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
        except UnicodeDecodeError as error:
            found = f"byte 0x{raw[error.start]:02x} at column {error.start + 1}"
            fix = "convert the file, e.g. with iconv -t UTF-8"
            raise InputError(f"{path}:{number}", expected="UTF-8", found=found, fix=fix) from error


def json_rows(path: Path) -> Iterator[tuple[str, Row]]:
    """The JSON objects of a file, one a line, each with its place."""
    for number, line in numbered_lines(path):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            found = str(error)
            raise InputError(where, expected="a JSON object on each line", found=found) from error
        if not isinstance(row, dict):
            kind = type(row).__name__
            raise InputError(where, expected='an object {"text": ...}', found=kind)
        yield where, row


def parquet_rows(path: Path, column: str) -> Iterator[tuple[str, Row]]:
    """The rows of a parquet file, text and id alone, each with its place."""
    need("pyarrow", str(path), "parquet")
    # By name: pyarrow has no types.
    arrow, parquet = import_module("pyarrow"), import_module("pyarrow.parquet")
    refuse_pointer(path)
    number = 0
    try:
        with parquet.ParquetFile(path) as file:
            kinds = {field.name: field.type for field in file.schema_arrow}
            if column not in kinds:
                text = [name for name, kind in kinds.items() if _OF_TEXT.match(str(kind))]
                raise no_column(str(path), column, [*kinds], text)
            # An id of another kind is none, whatever its value. Python cannot hold every date.
            wanted = {name: kinds[name] for name in (column, "id") if name in kinds}
            odd = {} if _OF_IDS.match(str(wanted.get("id", "null"))) else {"id": wanted.pop("id")}
            groups = [file.metadata.row_group(i) for i in range(file.metadata.num_row_groups)]
            size = sum(group.total_byte_size for group in groups)
            rows = max(1, min(1024, BATCH_BYTES * file.metadata.num_rows // max(size, 1)))
            for batch in file.iter_batches(batch_size=rows, columns=[*wanted]):
                for row in _values(batch):
                    number += 1
                    yield f"{path}, row {number}", row | odd
    except (arrow.ArrowException, OSError, ValueError, OverflowError) as error:
        expected = "a parquet file, its text in UTF-8"
        raise InputError(str(path), expected=expected, found=str(error)) from error


def _values(batch: Any) -> list[dict[str, Any]]:
    return list(batch.to_pylist())
