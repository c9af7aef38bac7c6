"""Text that a caller gives: the name of a source, a source, or the texts themselves."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mwanda.errors import InputError, shown
from mwanda.text.languages import canonical
from mwanda.text.rows import TEXT_FIELD, Document, RowCount, documents_of
from mwanda.text.sources import open_source
from mwanda.text.text_source import TextSource, check_languages

EXPECTED = 'a folder, bundled:udhr/first, hub:<data set>, or texts such as {"de": ["…", "…"]}'

_ADVICE = 'give each text under "text": {"text": row["{name}"]}, or as a plain string'


def open_text(given: Any) -> TextSource:
    """The source that an argument is, or names."""
    if isinstance(given, str | Path):
        return open_source(given)
    if isinstance(given, Mapping):
        return GivenText(given)
    if hasattr(given, "documents") and hasattr(given, "fingerprint"):
        return given  # type: ignore[no-any-return]
    several = hasattr(given, "__iter__") and not isinstance(given, bytes)
    fix = "say which language it is in: {'de': [...]}" if several else None
    raise InputError("text", expected=EXPECTED, found=f"a {type(given).__name__}", fix=fix)


class GivenText:
    """Texts by language from a caller: each a string, or a mapping with ``text`` and ``id``."""

    name = "given texts"
    streamed = False

    def __init__(self, texts: Mapping[Any, Any], *, name: str = name) -> None:
        self.name = name
        self._texts: dict[str, list[Document]] = {}
        for key, rows in texts.items():
            if not isinstance(key, str):
                raise InputError(self.name, expected="tags as keys", found=shown(repr(key)))
            tag = canonical(key)
            where, count = f"{self.name}, {tag}", RowCount()
            if tag in self._texts:
                raise InputError(self.name, expected="each language once", found=f"{tag} twice")
            if isinstance(rows, str | bytes | Mapping) or not hasattr(rows, "__iter__"):
                raise InputError(
                    where, expected="a list of texts", found=f"a {type(rows).__name__}",
                    fix="for text in files give the folder that they are in",
                )  # fmt: skip
            if hasattr(rows, "columns"):  # it gives their names, not its rows
                raise InputError(
                    where, expected="a list of texts", found=f"a {type(rows).__name__}",
                    fix='give the column that holds the text: frame["text"]',
                )  # fmt: skip
            # A set comes in another order in every process.
            rows = sorted(rows, key=str) if isinstance(rows, set | frozenset) else rows
            given = ((f"{where}, {number}", _row(row)) for number, row in enumerate(rows, 1))
            found = [*documents_of(given, TEXT_FIELD, count, advice=_ADVICE)]
            count.tell(where)
            self._texts[tag] = found
            if not found:
                told = f"none: {count.words}" if count.without else "none"
                raise InputError(where, expected="text", found=told)
        if not self._texts:
            raise InputError(self.name, expected=EXPECTED, found="no language")

    def languages(self) -> list[str]:
        return sorted(self._texts)

    def documents(self, language: str) -> Iterator[Document]:
        check_languages(self, [language])
        return iter(self._texts[language])

    def fingerprint(self, language: str) -> str:
        rows = [[document.id, document.text] for document in self._texts[language]]
        return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def _row(row: Any) -> Mapping[str, Any]:
    if isinstance(row, Document):
        return {TEXT_FIELD: row.text, "id": row.id}
    return row if isinstance(row, Mapping) else {TEXT_FIELD: row}
