"""Wrong inputs of the commands that measure: translate, tasks, quantise, eval in a runtime."""

from __future__ import annotations

import json
from typing import Any

from tests.bad_input.case import Case
from tests.bad_input.place import Place
from tests.support.tasks import XCOPA_ROW, winograd_line

__all__ = ["SCORES"]


SOUND = json.dumps(XCOPA_ROW).encode()


def xcopa(what: str, raw: bytes | dict[str, Any], *says: str, name: str = "test.et.jsonl") -> Case:
    made = raw if isinstance(raw, bytes) else json.dumps(XCOPA_ROW | raw).encode()
    return Case(f"xcopa: {what}", lambda p: p.xcopa(made, name), (name, *says))


def xwinograd(what: str, raw: bytes, *says: str) -> Case:
    return Case(f"xwinograd: {what}", lambda p: p.xwinograd(raw), ("dataset.tsv", *says))


def _linked_task(place: Place) -> list[object]:
    words = place.xcopa(SOUND)
    (place.root / "xcopa" / "test.sw.jsonl").symlink_to("/etc/hostname")
    return words


def _tasks(*words: object) -> Any:
    return lambda place: ["tasks", place.good / "model", *words]


LINE = winograd_line("en", "cat", "dog").encode()

TASKS = [
    xcopa("empty", b"", "an empty file"),
    xcopa("no JSON", b"{", "test.et.jsonl:1: expected JSON"),
    xcopa("a list", b"[]", "expected an object"),
    xcopa("brackets without end", b"[" * 99_999, "expected JSON"),
    xcopa("a number of 5000 digits", b"9" * 5000, "expected JSON"),
    xcopa("not UTF-8", b"gut\nschl\xe9cht\n", "expected JSON"),
    xcopa("not UTF-8 further on", SOUND + b"\n\n\xe9\n", ":3", "byte 0xe9"),
    xcopa("half a surrogate", {"premise": "\ud800"}, "half a surrogate"),
    xcopa("no choice", {"choice2": None}, "text in premise, choice1 and choice2"),
    xcopa("another question", {"question": "why"}, "cause or effect"),
    xcopa("a label beyond", {"label": 2}, "0 or 1"),
    xcopa("a language that is none", {}, "'xx1'", name="test.xx1.jsonl"),
    Case("xcopa: a link out of the folder", _linked_task, ("test.sw.jsonl", "a link to")),
    xwinograd("empty", b"", "an empty file"),
    xwinograd("two fields", LINE + b"en\tb\n", ":2", "7 fields"),
    xwinograd("no JSON", LINE.replace(b"[[", b"[{"), "expected JSON"),
    xwinograd("not UTF-8", LINE + b"\xff", ":2", "byte 0xff"),
    xwinograd("a pronoun elsewhere", LINE.replace(b"[10, 11]", b"[99, 100]"), "the pronoun"),
    xwinograd("no answer", LINE.replace(b"true", b"false"), "one of them right"),
    xwinograd("a language that is none", LINE.replace(b"en\t", b"zz9\t"), ":1", "'zz9'"),
    Case("tasks: none", _tasks(), ("--task", "Missing option")),
    Case("tasks: files that are not there", _tasks("--task", "xcopa=no"),
         ("xcopa, no: expected a folder",)),
    Case("tasks: an unknown one", _tasks("--task", "xcpa=no"), ("'xcpa'", "xcopa")),
    Case("tasks: no path", _tasks("--task", "xcopa="), ("NAME=PATH",)),
    Case("tasks: the hub, unasked", _tasks("--task", "xnli"), ("--task xnli", "or pass --hub")),
    Case("tasks: a language that is missing", lambda p: [*p.xcopa(SOUND), "--languages", "de"],
         ("xcopa, --languages: expected one of et",)),
    Case("tasks: no items", lambda p: [*p.xcopa(SOUND), "--items", "0"], ("--items",)),
    Case("tasks: two mistakes", _tasks("--task", "xcopa=no", "--task", "xwinograd=no"),
         ("xcopa, no", "xwinograd, no"), lines=2),
]  # fmt: skip


def translate(what: str, *words: object, says: tuple[str, ...]) -> Case:
    return Case(f"translate: {what}", lambda p: p.translate(*words), says)


TRANSLATIONS = [
    translate("no direction", "--direction", "german", says=("--direction german", "en-de")),
    translate("to itself", "--direction", "de-de", says=("--direction de-de",)),
    translate("a language that is none", "--direction", "de-xx1", says=("'xx1'",)),
    translate("a language that is missing", "--direction", "de-hi",
              says=("language 'hi'", "expected one of de, sw")),
    translate("more examples than there are", "--shots", 99, says=("99 sentences",)),
    translate("examples that would be scored", "--shots", 9,
              says=("expected 9 sentences that are not scored, found 4",)),
    translate("ids that are none", "--ids", "a:b", says=("--ids",)),
    translate("a text that is not there", "--text", "no", says=("text folder no",)),
    Case("translate: text without ids", lambda p: p.translate("--text", p.good / "text"),
         ("an id of its own in every record",), lines=2),
]  # fmt: skip

QUANTISING = [
    Case("quantise: a type that is none", lambda p: p.quantise("--type", "Q4_K"),
         ("--type: expected a GGUF type",)),
    Case("quantise: a folder that is there", lambda p: p.quantise("--out", p.good / "text"),
         ("text", "expected a new folder")),
    Case("quantise: nothing there", lambda p: ["quantise", "no", *p.quantise()[2:]],
         ("found nothing there",)),
    Case("quantise: shards of no size", lambda p: p.quantise("--max-shard-size", "x"),
         ("--max-shard-size",)),
]  # fmt: skip


def served(what: str, *words: object, says: tuple[str, ...]) -> Case:
    return Case(f"runtime: {what}", lambda p: p.evaluate(*words), says)


def _model(place: Place, artefact: object, *words: object) -> list[object]:
    return ["eval", artefact, *place.evaluate()[2:], *words]


ADDRESS = ("--runtime", "openai", "--url", "http://127.0.0.1:9")

RUNTIMES = [
    served("one that is none", "--runtime", "llama", says=("--runtime llama", "llama.cpp")),
    served("an address without one", "--url", "http://127.0.0.1:9",
           says=("--url: expected a --runtime",)),
    served("a tokenizer without one", "--tokenizer", "no",
           says=("--tokenizer: expected a --runtime",)),
    served("a server without an address", "--runtime", "openai", says=("--url: expected an",)),
    served("an address without http", "--runtime", "openai", "--url", "here",
           says=("--url: expected an address such as", "found here")),
    served("nobody there", *ADDRESS, says=("127.0.0.1:9", "Connection refused")),
    served("a tokenizer that is not there", "--runtime", "transformers", "--tokenizer", "no",
           says=("no: tokenizer", "no such folder")),
    served("continuations", "--runtime", "transformers", "--continuations", 1,
           says=("runtime: expected an artefact", "found continuations asked for")),
    Case("runtime: a file for what opens folders",
         lambda p: _model(p, p.good / "model.gguf", "--runtime", "transformers"),
         ("model.gguf: expected a model folder for --runtime transformers", "a file of another")),
    Case("runtime: nothing there",
         lambda p: _model(p, p.root / "no", "--runtime", "transformers"),
         ("no: expected an artefact, found nothing there",)),
    Case("runtime: no tokenizer anywhere",
         lambda p: _model(p, p.good / "masks.safetensors", "--runtime", "transformers"),
         ("--tokenizer: expected a folder with the tokenizer of", "masks.safetensors")),
]  # fmt: skip

SCORES = (*TASKS, *TRANSLATIONS, *QUANTISING, *RUNTIMES)
