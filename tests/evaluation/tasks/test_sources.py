"""Files of tasks: what is read out of them, and what is said of broken ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from mwanda.errors import InputError
from mwanda.evaluation.tasks.published import read_task
from mwanda.evaluation.tasks.reading import parse_tasks, read_tasks
from tests.support.tasks import XCOPA_ROW, winograd_line, write_xcopa, write_xwinograd


def test_xcopa(tmp_path: Path) -> None:
    folder = write_xcopa(tmp_path / "x", ["et", "sw"])
    write_xcopa(folder, ["ta"], split="val")  # no test split of it, and there are others
    text = read_task("xcopa", folder)
    assert {tag: len(rows) for tag, rows in text.documents.items()} == {"et": 6, "sw": 6}
    assert set(text.documents["et"][0]) == {"premise", "choice1", "choice2", "question", "label"}
    only = read_task("xcopa", folder, ["sw", "de"])
    assert list(only.documents) == ["sw"]
    assert only.sha256 != text.sha256
    assert text.only(["sw", "de"]).sha256 == only.sha256
    assert list(read_task("xcopa", write_xcopa(tmp_path / "v", ["et"], split="val")).documents)


def test_xwinograd(tmp_path: Path) -> None:
    text = read_task("xwinograd", write_xwinograd(tmp_path / "d.tsv", ["en", "jp"]))
    assert list(text.documents) == ["en", "ja"]
    assert text.documents["en"][1] == {
        "sentence": 'The dog saw "a king" because it was _.',  # the second "it"
        "option1": "the dog",
        "option2": "the king",
        "answer": "2",
    }


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("{", "test.et.jsonl:1: expected JSON"),
        ("[]", "jsonl:1: expected an object, found list"),
        ({"label": 2}, "jsonl:1: expected 0 or 1 as label, found 2"),
        ({"label": True}, "expected 0 or 1 as label, found True"),
        ({"question": "why"}, "expected cause or effect as question, found 'why'"),
        ({"choice2": " "}, "expected text in premise, choice1 and choice2"),
        ({"choice2": None}, "expected text in premise, choice1 and choice2"),
        ("", "expected a record a line, found an empty file"),
        (json.dumps({"premise": "A."}), "expected the field choice1, found premise"),
    ],
)
def test_malformed_xcopa(tmp_path: Path, change: object, says: str) -> None:
    line = change if isinstance(change, str) else json.dumps(XCOPA_ROW | change)  # type: ignore[operator]
    (tmp_path / "test.et.jsonl").write_text(line, encoding="utf-8")
    with pytest.raises(InputError, match=says):
        read_task("xcopa", tmp_path)


GOOD = winograd_line("en", "cat", "dog")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda line: "en\tb\n", "tsv:2: expected 7 fields with tabs between, found 2"),
        (lambda line: line.replace("[10, 11]", "[9, 10]"), "expected the pronoun 'it'"),
        (lambda line: line.replace("[10, 11]", "[99, 100]"), "expected the pronoun 'it'"),
        (lambda line: line.replace("[10, 11]", "7"), "a pronoun and candidates"),
        (lambda line: line.replace("true", "false"), "one of them right, found 2, 0 right"),
        (lambda line: line.replace("saw", "s_w"), "without an underscore"),
        (lambda line: line.replace("[[", "[{"), "tsv:2: expected JSON"),
        (lambda line: line.replace("en\t", "zz9\t"), "language 'zz9'"),
    ],
)
def test_malformed_xwinograd(tmp_path: Path, change: Callable[[str], str], says: str) -> None:
    path = tmp_path / "dataset.tsv"
    path.write_text(GOOD + change(GOOD), encoding="utf-8")
    with pytest.raises(InputError, match=says):
        read_task("xwinograd", path)


def test_what_is_not_there(tmp_path: Path) -> None:
    folder = write_xcopa(tmp_path / "x", ["et"])
    for task, path, says in (
        ("xcopa", tmp_path / "none", "found no folder"),
        ("xcopa", tmp_path, "expected files named test.LANGUAGE.jsonl"),
        ("xwinograd", folder, "expected the file dataset.tsv, found a folder"),
        ("xcopy", folder, "did you mean 'xcopa'"),
    ):
        with pytest.raises(InputError, match=says):
            read_task(task, path)
    with pytest.raises(InputError, match="expected one of et, found sw"):
        read_task("xcopa", folder, ["sw"])
    (folder / "test.sw.jsonl").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="expected UTF-8"):
        read_task("xcopa", folder)


def test_several_mistakes_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        read_tasks({"xcopa": tmp_path / "none", "xwinograd": tmp_path, "xnli": None})
    assert len(error.value.problems) == 3
    with pytest.raises(InputError, match="--task: expected at least one"):
        read_tasks({})
    with pytest.raises(InputError, match=r"expected one of xnli, .*found 'xmli'"):
        read_tasks({"xmli": None}, hub=True)
    for words in (["xcopa="], ["=x"], ["xcopa=a", "xcopa=b"]):
        with pytest.raises(InputError, match="--task"):
            parse_tasks(words)
    files: dict[str, Path] = {
        "xcopa": write_xcopa(tmp_path / "x", ["et", "sw"]),
        "xwinograd": write_xwinograd(tmp_path / "dataset.tsv", ["en", "et"]),
    }
    found = read_tasks(files, ["et", "sw"])
    assert [[*text.documents] for text in found.values() if text] == [["et", "sw"], ["et"]]
    with pytest.raises(InputError, match="languages of a task, et, found de"):
        read_tasks(files, ["et", "de"])
    assert [*read_tasks({**files, "xnli": None}, ["et", "de"], hub=True)] == [*files, "xnli"]
    assert parse_tasks(["xcopa=a=b", "xnli"]) == {"xcopa": "a=b", "xnli": None}
