"""Where text comes from: a folder, the bundled declarations, or a data set of the Hub.

Every source gives the documents of one language at a time, lazily and always in the same order.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence, Set
from pathlib import Path
from urllib.parse import quote

from mwanda.errors import InputError, nearest
from mwanda.system.files import is_there, sha256_of
from mwanda.text.files import LAYOUT, kind_of, language_files
from mwanda.text.rows import (
    TEXT_FIELD,
    Document,
    RowCount,
    document_of,
    documents_of,
    json_rows,
    numbered_lines,
    parquet_rows,
)
from mwanda.text.text_source import TextSource, check_languages

_BUNDLED_PARTS = {"udhr": range(31), "udhr/first": range(16), "udhr/second": range(16, 31)}
_COLUMN = "?column="


def open_source(
    spec: str | Path, *, bundled_root: Path | None = None, tell: bool = True
) -> TextSource:
    """The source a user named.

    Args:
        spec: a folder, with ``?column=NAME`` after it where the field of its rows that holds the
            text is not ``text``; ``bundled:udhr``, ``bundled:udhr/first`` or
            ``bundled:udhr/second``; or ``hub:<data set>[?split=train&column=text&revision=...]``.
        bundled_root: where the bundled text lies, if not in the package.
        tell: whether to say in the log which files were passed over.
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
    folder, column = folder_of(name)
    # Of os.path: Path's own raises where there is no such user.
    home = Path(os.path.expanduser(folder))
    return FolderSource(name, home, column=column, tell=tell)


def folder_of(name: str) -> tuple[Path, str | None]:
    """The folder that a source names, and the field of its text where that is named too."""
    folder, mark, column = name.rpartition(_COLUMN)
    if not mark or not column or is_there(Path.is_dir, Path(name)):
        return Path(name), None
    return Path(folder), column


def placed_source(spec: str) -> str:
    """A source with the whole path of its folder or file, for whoever begins elsewhere."""
    folder, column = folder_of(spec)
    if not is_there(Path.exists, folder):
        return spec
    return os.path.abspath(folder) + ("" if column is None else f"{_COLUMN}{column}")


def with_text_field(spec: str | None, field: str | None) -> str | None:
    """The source with the field that holds its text, as ``--text-field`` gives it."""
    if spec is None or field is None:
        return spec
    found = "none" if not field.strip() else None
    if spec.startswith("bundled:") or spec.endswith(".safetensors"):
        found = f"{spec}, which has no fields to choose from"
    elif "column=" in spec.partition("?")[2]:
        found = f"{spec}, which names one"
    if found is not None:
        raise InputError("--text-field", expected="a field of a text's rows", found=found)
    name = quote(field, safe="") if spec.startswith("hub:") else field
    return f"{spec}{'&' if '?' in spec and spec.startswith('hub:') else '?'}column={name}"


class FolderSource:
    """A folder with one file per language.

    Files of other kinds are passed over, as are files whose stem is no language tag.
    """

    streamed = False

    def __init__(
        self,
        name: str,
        folder: Path,
        articles: range | None = None,
        *,
        column: str | None = None,
        tell: bool = True,
    ) -> None:
        self.name = name
        self._articles = articles
        self._column = column or TEXT_FIELD
        self._found = language_files(name, folder)
        self._counted: set[str] = set()
        self._faults: dict[str, tuple[str, ...]] = {}
        kinds = {kind_of(path) for path in self._found.files.values()}
        if column is not None and kinds == {".txt"}:
            raise InputError(
                f"text folder {name}", expected=f"rows with a field {column!r}, .jsonl or .parquet",
                found="lines of .txt alone", fix="leave the field out",
            )  # fmt: skip
        if tell:
            self._found.tell(name)

    def languages(self) -> list[str]:
        tags = [tag for tag in self._found.files if tag not in self.on_request]
        if not tags:
            found = f"only {self._found.words}"
            fix = "name each file after its language"
            raise InputError(f"text folder {self.name}", expected=LAYOUT, found=found, fix=fix)
        check_languages(self, sorted(tags))
        return sorted(tags)

    def available(self) -> list[str]:
        """All tags, those included whose file's name is an ordinary word too."""
        return sorted(self._found.files)

    @property
    def on_request(self) -> Set[str]:
        """Tags whose file's name is an ordinary word or a pair of languages too."""
        return self._found.on_request

    @property
    def meant(self) -> list[str]:
        """Files passed over that may hold text all the same, and how to name them."""
        return self._found.meant

    def problems(self, languages: Sequence[str]) -> list[str]:
        """Why files must not be read, or cannot, as far as their first rows tell."""
        for tag in languages:
            if tag not in self._faults:
                wrong = self._found.wrong.get(tag)
                self._faults[tag] = self._look(tag) if wrong is None else (wrong,)
        return [fault for tag in languages for fault in self._faults[tag]]

    def _look(self, language: str) -> tuple[str, ...]:
        path, count = self._found.files[language], RowCount()
        try:
            if next(self._read(path, count), None) is None:
                raise _nothing_in(path, count)
        except InputError as error:
            return error.problems
        return ()

    def fingerprint(self, language: str) -> str | None:
        return sha256_of(self._file(language))

    def documents(self, language: str) -> Iterator[Document]:
        path, count = self._file(language), RowCount()
        empty = True
        try:
            for document in self._read(path, count):
                empty = False
                yield document
        finally:
            if language not in self._counted:  # English is read twice
                count.tell(str(path))
            self._counted.add(language)
        if empty:
            raise _nothing_in(path, count)

    def _file(self, language: str) -> Path:
        check_languages(self, [language])
        return self._found.files[language]

    def _read(self, path: Path, count: RowCount) -> Iterator[Document]:
        kind = kind_of(path)
        if kind == ".txt":
            return (Document(line) for _, line in numbered_lines(path) if line.strip())
        if kind == ".parquet":
            return documents_of(parquet_rows(path, self._column), self._column, count)
        if self._articles is not None:
            return _paragraphs(path, self._articles)
        return documents_of(json_rows(path), self._column, count)


def _nothing_in(path: Path, count: RowCount) -> InputError:
    return InputError(
        str(path),
        expected="at least one document that is not blank",
        found=f"none: {count.words}" if count.without else "none",
        fix="add text or remove the file",
    )


def _open_bundled(name: str, part: str, root: Path) -> FolderSource:
    if part not in _BUNDLED_PARTS:
        choices = nearest(part, _BUNDLED_PARTS)
        raise InputError(f"text source {name}", expected="a bundled text", found=part, fix=choices)
    return FolderSource(name, root / "udhr", _BUNDLED_PARTS[part], tell=False)


def _paragraphs(path: Path, articles: range) -> Iterator[Document]:
    """The paragraphs of the articles asked for; the id is article * 100 + paragraph from 1."""
    seen: dict[int, int] = {}
    for where, row in json_rows(path):
        article = row.get("article")
        if not isinstance(article, int) or isinstance(article, bool) or article not in range(31):
            raise InputError(where, expected="an article from 0 to 30", found=repr(article))
        seen[article] = seen.get(article, 0) + 1
        document = document_of(where, row)
        if article in articles and document is not None and document.text.strip():
            yield Document(document.text, article * 100 + seen[article])
