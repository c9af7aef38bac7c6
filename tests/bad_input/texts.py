"""Texts that cannot be used, and windows of them."""

from __future__ import annotations

from tests.bad_input.case import Case
from tests.bad_input.place import Place

__all__ = ["TEXTS"]


def text(what: str, raw: bytes, *says: str, name: str = "de.txt") -> Case:
    return Case(f"text: {what}", lambda p: p.text(raw, name), (name, *says))


def _linked_text(place: Place) -> list[object]:
    folder = place.root / "text"
    folder.mkdir()
    (folder / "de.txt").symlink_to("/etc/hostname")
    return place.prune(None, "--calibration", folder)


TEXTS = [
    text("empty", b"", "not blank", "found none"),
    text("blank", b" \n\t\n", "not blank", "found none"),
    text("not UTF-8", b"gut\nschl\xe9cht\n", "de.txt:2", "UTF-8", "byte 0xe9 at column 5", "iconv"),
    text("of no language", b"x", "<tag>.txt", name="thesis.txt"),
    text("no JSON lines", b"{\n", "de.jsonl:1", "a JSON object", name="de.jsonl"),
    text("JSON of another kind", b"[1]\n", "an object", name="de.jsonl"),
    text("no text in it", b'{"t": 1}\n', "a field 'text'", name="de.jsonl"),
    text("a text that is a number", b'{"text": 1}\n', "a string", name="de.jsonl"),
    text("half a surrogate", b'{"text": "\\ud800"}\n', "Unicode", name="de.jsonl"),
    text("brackets without end", b"[" * 99_999, "de.jsonl:1", name="de.jsonl"),
    text("no parquet", b"PAR1nonsense", "a parquet file", name="de.parquet"),
    text("an empty parquet", b"", "a parquet file", name="de.parquet"),
    Case("text: a link out of the folder", _linked_text, ("de.txt", "a link to")),
    Case("text: too little", lambda p: p.text(b"kurz\n"),
         ("'de'", "62 tokens", "2 windows of 32", "found 5;", "add text")),
    Case(
        "text: nothing there",
        lambda p: p.prune(None, "--calibration", p.root / "no"),
        ("{root}/no", "expected a folder", "found nothing there"),
    ),
    Case(
        "text: too little of two languages",
        lambda p: p.prune(None, "--windows", 900),
        ("add text", *(f"'{tag}': expected 27900 tokens of text for 900 windows of 32, found "
                       for tag in ("de", "sw"))), lines=2,
    ),
    *(
        Case(f"text: that calibrated, {tag}",
             lambda p, t=tag: [*p.compare()[:2], "--text", p.good / "text", "--languages", t],
             (f"error: {{good}}/text, {tag}: expected text", "that share sentences with it",
              "--allow-overlap"))
        for tag in ("de", "sw")
    ),
    Case(
        "text: an unknown bundle",
        lambda p: p.prune(None, "--calibration", "bundled:bible"),
        ("bundled:bible",),
    ),
    Case(
        "text: a language that is missing",
        lambda p: p.prune(None, "--languages", "de,fr"),
        ("language 'fr' of", "expected one of de, sw"),
    ),
]  # fmt: skip
