"""Files of tasks as they were published, read into what lm-eval's task files take.

* XCOPA (Ponti et al. 2020, arXiv:2005.00333): ``test.et.jsonl`` or ``val.et.jsonl`` a language.
* XWinograd (Tikhonov and Ryabinin 2021, arXiv:2106.12066): one ``dataset.tsv`` of all languages.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mwanda.errors import InputError, nearest
from mwanda.text.files import linked_out
from mwanda.text.languages import canonical
from mwanda.text.rows import numbered_lines

Document = dict[str, Any]

XCOPA_FIELDS = ("premise", "choice1", "choice2", "question", "label")
XWINOGRAD_TAGS = {"jp": "ja"}
"""The file's own names of languages that are not tags."""
QUOTES = ("``", "''")
"""What a treebank's tokens have for quotation marks."""


@dataclass(frozen=True)
class TaskText:
    """A task's documents by language.

    Attributes:
        task: its name.
        source: as the user wrote it.
        documents: language -> documents, in the file's order.
        sha256: of all tags and documents.
    """

    task: str
    source: str
    documents: Mapping[str, tuple[Document, ...]]
    sha256: str

    def only(self, languages: Sequence[str] | None) -> TaskText:
        """The same with some of its languages; all where none are named."""
        if languages is None:
            return self
        found = {tag: rows for tag, rows in self.documents.items() if tag in languages}
        if not found:
            raise InputError(
                f"{self.task}, --languages", expected=f"one of {', '.join(self.documents)}",
                found=", ".join(languages) or "none",
            )  # fmt: skip
        return _text(self.task, self.source, found)


def check_task(task: str) -> str:
    """The name of a task that can be read from files."""
    if task not in LOCAL:
        raise InputError(
            f"--task {task}", expected=f"one of {', '.join(LOCAL)}", found=repr(task),
            fix=f"{nearest(task, LOCAL)}; others by their lm-eval names with --hub",
        )  # fmt: skip
    return task


def read_task(task: str, path: str | Path, languages: Sequence[str] | None = None) -> TaskText:
    """Read a task's files.

    Args:
        task: one of :data:`LOCAL`.
        path: XCOPA's folder, or XWinograd's file.
        languages: canonical tags; those the task does not have are left out.
    """
    found = LOCAL[check_task(task)](Path(path))
    return _text(task, str(path), found).only(languages)


def _text(task: str, source: str, found: Mapping[str, Sequence[Document]]) -> TaskText:
    told = json.dumps([task, sorted(found.items())], ensure_ascii=False, sort_keys=True)
    sha256 = hashlib.sha256(told.encode()).hexdigest()
    return TaskText(task, source, {tag: tuple(rows) for tag, rows in found.items()}, sha256)


def _xcopa(folder: Path) -> dict[str, list[Document]]:
    """The test split; the validation split where there is no test split of any language."""
    if not folder.is_dir():
        raise InputError(
            f"xcopa, {folder}", expected="a folder with test.et.jsonl and the like",
            found="a file" if folder.exists() else "no folder", fix="check the spelling",
        )  # fmt: skip
    for split in ("test", "val"):
        paths = sorted(folder.glob(f"{split}.*.jsonl"))
        if paths:
            if links := [linked for path in paths if (linked := linked_out(folder, path))]:
                raise InputError.several(links)
            return {_tag(str(path), path.name.split(".")[1]): _xcopa_file(path) for path in paths}
    raise InputError(
        f"xcopa, {folder}", expected="files named test.LANGUAGE.jsonl or val.LANGUAGE.jsonl",
        found="none",
    )  # fmt: skip


def _xcopa_file(path: Path) -> list[Document]:
    rows = []
    for where, line in _lines(path):
        record = _json(where, line)
        if not isinstance(record, dict):
            raise InputError(where, expected="an object", found=type(record).__name__)
        for name in XCOPA_FIELDS:
            if name not in record:
                raise InputError(where, expected=f"the field {name}", found=", ".join(record)[:80])
        texts = [record[name] for name in XCOPA_FIELDS[:3]]
        if not all(isinstance(text, str) and text.strip() for text in texts):
            raise InputError(where, expected="text in premise, choice1 and choice2", found="none")
        if record["question"] not in ("cause", "effect"):
            raise InputError(
                where, expected="cause or effect as question", found=repr(record["question"])[:40]
            )
        if record["label"] not in (0, 1) or isinstance(record["label"], bool):
            raise InputError(where, expected="0 or 1 as label", found=repr(record["label"])[:40])
        rows.append({name: record[name] for name in XCOPA_FIELDS})
    if not rows:
        raise InputError(str(path), expected="a record a line", found="an empty file")
    return rows


def _xwinograd(path: Path) -> dict[str, list[Document]]:
    if not path.is_file():
        raise InputError(
            f"xwinograd, {path}", expected="the file dataset.tsv",
            found="a folder" if path.is_dir() else "no such file", fix="check the spelling",
        )  # fmt: skip
    found: dict[str, list[Document]] = {}
    for where, line in _lines(path):
        fields = line.split("\t")
        if len(fields) != 7:
            raise InputError(where, expected="7 fields with tabs between", found=str(len(fields)))
        tag = _tag(where, XWINOGRAD_TAGS.get(fields[0], fields[0]))
        found.setdefault(tag, []).append(_xwinograd_row(where, fields))
    if not found:
        raise InputError(str(path), expected="a record a line", found="an empty file")
    return found


def _xwinograd_row(where: str, fields: Sequence[str]) -> Document:
    """The sentence with ``_`` in place of the pronoun, the two it may stand for, and which it is.

    That is the form of https://huggingface.co/datasets/Muennighoff/xwinograd, which lm-eval reads.
    """
    sentence = fields[3]
    tokens, pronoun, candidates = (_json(where, text) for text in fields[4:])
    try:
        word, (first, _) = str(pronoun[0]), pronoun[1]
        options = [(str(one[0]), bool(one[3])) for one in candidates]
        place = _place(sentence, [str(one) for one in tokens], int(first))
    except (TypeError, ValueError, IndexError, KeyError) as error:
        raise InputError(
            where, expected="tokens, a pronoun and candidates", found="other fields"
        ) from error
    if place is None or not sentence.startswith(word, place):
        raise InputError(where, expected=f"the pronoun {word!r} where it says", found=sentence[:80])
    if [right for _, right in options].count(True) != 1 or len(options) != 2:
        raise InputError(where, expected="two candidates, one of them right",
                         found=f"{len(options)}, {sum(r for _, r in options)} right")  # fmt: skip
    if "_" in sentence:
        raise InputError(where, expected="a sentence without an underscore", found=sentence[:80])
    return {
        "sentence": sentence[:place] + "_" + sentence[place + len(word) :],
        "option1": options[0][0],
        "option2": options[1][0],
        "answer": "1" if options[0][1] else "2",
    }


def _place(sentence: str, tokens: Sequence[str], number: int) -> int | None:
    """Where a token begins in the sentence; only spaces are between tokens."""
    at = 0
    for index, token in enumerate(tokens[: number + 1]):
        signs = "(?:``|''|[\"“”«»])" if token in QUOTES else re.escape(token.strip())
        found = re.compile(rf"\s*({signs})").match(sentence, at)
        if found is None:
            return None
        if index == number:
            return found.start(1)
        at = found.end()
    return None


def _tag(where: str, code: str) -> str:
    try:
        return canonical(code)
    except InputError as error:
        raise InputError.several([f"{where}: {problem}" for problem in error.problems]) from error


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    """Where each line stands, and the line; blank ones are left out."""
    try:
        for number, line in numbered_lines(path):
            if line.strip():
                yield f"{path}:{number}", line
    except OSError as error:
        raise InputError(str(path), expected="a readable file", found=str(error)[:80]) from error


def _json(where: str, text: str) -> Any:
    try:
        made = json.loads(text)
        json.dumps(made, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise InputError(where, expected="Unicode", found="half a surrogate pair") from error
    except (ValueError, RecursionError) as error:
        raise InputError(where, expected="JSON", found=text[:40]) from error
    return made


LOCAL: dict[str, Callable[[Path], dict[str, list[Document]]]] = {
    "xcopa": _xcopa,
    "xwinograd": _xwinograd,
}
"""Tasks that are read from files, without the hub."""
