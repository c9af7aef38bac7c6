"""Where text comes from: a folder, the bundled declarations, or a data set of the Hub.

Every source gives the documents of one language at a time, lazily and always in the same order.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from mwanda.errors import InputError, nearest
from mwanda.text.languages import canonical

__all__ = [
    "Document",
    "FolderSource",
    "TextSource",
    "check_languages",
    "linked_out",
    "numbered_lines",
    "open_source",
]

_SUFFIXES = (".txt", ".jsonl", ".parquet")
_BUNDLED_PARTS = {"udhr": range(31), "udhr/first": range(16), "udhr/second": range(16, 31)}
_LAYOUT = "one <tag>.txt, <tag>.jsonl or <tag>.parquet per language, e.g. de.txt"


@dataclass(frozen=True)
class Document:
    """One piece of text that belongs together: a page, a paragraph, a sentence.

    Attributes:
        id: the same number or name in every language where the text is parallel, or None.
    """

    text: str
    id: int | str | None = None


class TextSource(Protocol):
    """Text by language.

    Attributes:
        name: the source as the user wrote it.
        streamed: whether the text comes over a network and may be without end.
    """

    @property
    def name(self) -> str: ...

    @property
    def streamed(self) -> bool: ...

    def languages(self) -> list[str]:
        """The canonical tags there is text for, sorted."""
        ...

    def documents(self, language: str) -> Iterator[Document]:
        """The documents of a language, read as they are asked for."""
        ...

    def fingerprint(self, language: str) -> str | None:
        """SHA-256 of the language's file in hexadecimal; None for a data set of the Hub."""
        ...


def open_source(spec: str | Path, *, bundled_root: Path | None = None) -> TextSource:
    """The source a user named.

    Args:
        spec: a folder; ``bundled:udhr``, ``bundled:udhr/first`` or ``bundled:udhr/second``; or
            ``hub:<data set>[?split=train&column=text&revision=...]``.
        bundled_root: where the bundled text lies, if not in the package.

    Raises:
        InputError: there is no such source, or it holds no text of any language.
    """
    name = str(spec)
    kind, colon, rest = name.partition(":")
    if isinstance(spec, str) and colon and kind == "hub":
        from mwanda.text.hub import open_hub

        return open_hub(name, rest)
    if isinstance(spec, str) and colon and kind == "bundled":
        return _open_bundled(name, rest, bundled_root or Path(__file__).parent / "bundled")
    if not name.strip():
        raise InputError("text source", expected="a folder, bundled:udhr or hub:<data set>")
    return FolderSource(name, Path(spec).expanduser())


def check_languages(source: TextSource, wanted: Sequence[str]) -> None:
    """Raises :class:`InputError`, naming each, if the source lacks a wanted language."""
    there = source.languages()
    missing = [language for language in wanted if language not in there]
    if missing:
        raise InputError.several(
            f"language {language!r} of {source.name}: expected one of {', '.join(there)}; "
            f"drop it or add its text"
            for language in missing
        )


class FolderSource:
    """A folder with one file per language.

    Files of other kinds are ignored, as are files whose stem is no language tag.
    """

    streamed = False

    def __init__(self, name: str, folder: Path, articles: range | None = None) -> None:
        self.name = name
        self._articles = articles
        self._files = _language_files(name, folder)

    def languages(self) -> list[str]:
        return sorted(self._files)

    def fingerprint(self, language: str) -> str | None:
        with self._file(language).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def documents(self, language: str) -> Iterator[Document]:
        path = self._file(language)
        empty = True
        for document in self._read(path):
            if document.text.strip():
                empty = False
                yield document
        if empty:
            raise InputError(
                str(path),
                expected="at least one document that is not blank",
                found="none",
                fix="add text or remove the file",
            )

    def _file(self, language: str) -> Path:
        check_languages(self, [language])
        return self._files[language]

    def _read(self, path: Path) -> Iterator[Document]:
        if path.suffix.lower() == ".txt":
            return (Document(line) for _, line in numbered_lines(path))
        if path.suffix.lower() == ".parquet":
            return _parquet(path)
        if self._articles is not None:
            return _paragraphs(path, self._articles)
        return (document_of(f"{path}:{number}", row) for number, row in _rows(path))


def _language_files(name: str, folder: Path) -> dict[str, Path]:
    """Each language's file, directly in the folder."""
    if not folder.is_dir():
        raise InputError(
            f"text folder {name}",
            expected="a folder",
            found="a file" if folder.exists() else "nothing there",
            fix=f"give a folder with {_LAYOUT}, or bundled:udhr, or hub:<data set>",
        )
    files: dict[str, Path] = {}
    problems, ignored = [], []
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in _SUFFIXES or not path.is_file():
            continue
        try:
            tag = canonical(path.stem)
        except InputError:
            ignored.append(path.name)
            continue
        if linked := linked_out(folder, path):
            problems.append(linked)
        elif tag in files:
            problems.append(
                f"language {tag!r} of {name}: expected one file, found {files[tag].name} and "
                f"{path.name}; keep one"
            )
        else:
            files[tag] = path
    if problems:
        raise InputError.several(problems)
    if not files:
        raise InputError(
            f"text folder {name}",
            expected=_LAYOUT,
            found=f"only {', '.join(ignored)}, named after no language" if ignored else "none",
            fix="name each file after its language",
        )
    return files


def linked_out(folder: Path, path: Path) -> str | None:
    """What is wrong with a file that is a link out of its folder; None for any other."""
    if path.resolve().is_relative_to(folder.resolve()):
        return None
    return (
        f"{path}: expected a file in the folder, found a link to {path.resolve()}; "
        "copy the file into the folder"
    )


def _open_bundled(name: str, part: str, root: Path) -> FolderSource:
    if part not in _BUNDLED_PARTS:
        choices = nearest(part, _BUNDLED_PARTS)
        raise InputError(f"text source {name}", expected="a bundled text", found=part, fix=choices)
    return FolderSource(name, root / "udhr", _BUNDLED_PARTS[part])


def numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines with their numbers from 1, blank ones too, without line ends or a byte mark."""
    with path.open("rb") as file:
        for number, raw in enumerate(file, 1):
            try:
                yield number, raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
            except UnicodeDecodeError as error:
                raise InputError(
                    f"{path}:{number}",
                    expected="UTF-8",
                    found=f"byte 0x{raw[error.start]:02x} at column {error.start + 1}",
                    fix="convert the file, e.g. with iconv -t UTF-8",
                ) from error


def _rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """The JSON objects of a file, one a line, with their line numbers."""
    for number, line in numbered_lines(path):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(
                f"{path}:{number}", expected="a JSON object on each line", found=str(error)
            ) from error
        if not isinstance(row, dict):
            kind = type(row).__name__
            raise InputError(f"{path}:{number}", expected='an object {"text": ...}', found=kind)
        yield number, row


def _paragraphs(path: Path, articles: range) -> Iterator[Document]:
    """The paragraphs of the articles asked for; the id is article * 100 + paragraph from 1."""
    seen: dict[int, int] = {}
    for number, row in _rows(path):
        where, article = f"{path}:{number}", row.get("article")
        if not isinstance(article, int) or isinstance(article, bool) or article not in range(31):
            raise InputError(where, expected="an article from 0 to 30", found=repr(article))
        seen[article] = seen.get(article, 0) + 1
        if article in articles:
            yield Document(document_of(where, row).text, article * 100 + seen[article])


def _parquet(path: Path) -> Iterator[Document]:
    # By name: pyarrow has no types.
    arrow, parquet = import_module("pyarrow"), import_module("pyarrow.parquet")
    number = 0
    try:
        with parquet.ParquetFile(path) as file:
            columns = [name for name in ("text", "id") if name in file.schema_arrow.names]
            if "text" not in columns:
                raise _no_column(str(path), "text", file.schema_arrow.names)
            for batch in file.iter_batches(batch_size=1024, columns=columns):
                for row in batch.to_pylist():
                    number += 1
                    yield document_of(f"{path}, row {number}", row)
    except (arrow.ArrowException, OSError) as error:
        raise InputError(str(path), expected="a parquet file", found=str(error)) from error


def document_of(where: str, row: Mapping[str, Any], column: str = "text") -> Document:
    """The document in a row, its types checked; ``where`` begins the message of an error."""
    if column not in row:
        raise _no_column(where, column, list(row))
    text, identity = row[column], row.get("id")
    if not isinstance(text, str):
        kind = type(text).__name__
        raise InputError(where, expected=f"a string in field {column!r}", found=kind)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(
            where, expected="Unicode text", found=f"half a surrogate pair at {error.start}"
        ) from error
    if identity is not None and (isinstance(identity, bool) or not isinstance(identity, int | str)):
        kind = type(identity).__name__
        raise InputError(where, expected="a whole number or a string in field 'id'", found=kind)
    return Document(text, identity)


def _no_column(where: str, column: str, there: Sequence[str]) -> InputError:
    found = f"the fields {', '.join(map(str, there))}" if there else "no fields"
    return InputError(where, expected=f"a field {column!r}", found=found)
