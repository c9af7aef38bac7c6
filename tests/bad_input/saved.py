"""Files that mwanda wrote, changed since: statistics, windows, masks, manifests, archives, GGUF."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from tests.bad_input.case import Case
from tests.bad_input.models import Q
from tests.bad_input.place import SHARD, Place

__all__ = ["SAVED"]

SHOW = ("stats", "show", "FILE")
STATISTICS = "{}/statistics.safetensors"


def _with_statistics(place: Place, *words: object) -> list[object]:
    return place.prune_with("--statistics", STATISTICS.format(place.good), *words)


def statistics(what: str, change: Callable[[Any, Any], Any], *says: str) -> Case:
    return Case(f"statistics: {what}", lambda p: p.saved("statistics", change, *SHOW), says)


def windows(what: str, change: Callable[[Any, Any], Any], *says: str) -> Case:
    def make(place: Place) -> list[object]:
        return place.saved("windows", change, *place.prune_with("--calibration", "FILE"))

    return Case(f"windows: {what}", make, ("windows.safetensors", *says))


def masks(what: str, change: Callable[[Any, Any], Any], *says: str) -> Case:
    def make(place: Place) -> list[object]:
        return place.saved("masks", change, "diff", "FILE", place.good / "masks.safetensors")

    return Case(f"masks: {what}", make, ("masks.safetensors", *says))


def _set(name: str, **values: Any) -> Callable[[Any, Any], Any]:
    return lambda tensors, _record: tensors.update({name: torch.tensor(**values)})


def _small_vocabulary(place: Place) -> list[object]:
    """Windows of a model with 300 tokens, given to one with 100."""
    names = ("model.embed_tokens.weight", "lm_head.weight")
    place.weights(
        lambda t: t.update({name: t[name][:100].clone() for name in names}), vocab_size=100
    )
    words = place.prune_with("--calibration", place.good / "windows.safetensors")
    return [words[0], place.root / "model", *words[2:]]


RECORDS = [
    statistics("no JSON", lambda t, r: "{", "a foreign file"),
    statistics("nested without end", lambda t, r: "[" * 99_999, "a foreign file"),
    statistics("of another kind", lambda t, r: r.update(kind="masks"), "one of masks"),
    statistics("of another format", lambda t, r: r.update(format=9), "format 1, found 9"),
    statistics("an unknown field", lambda t, r: r.update(x=1), "x: expected a record"),
    statistics("no inputs", lambda t, r: r.update(inputs={}), "inputs"),
    statistics("a tensor missing", lambda t, r: t.pop(f"{Q}|square"), f"{Q}|square"),
    statistics("a tensor too many", lambda t, r: t.update(x=torch.zeros(1)), "tensor x"),
    statistics("NaN", lambda t, r: t[f"{Q}|square"].fill_(float("nan")), "NaN or infinity"),
    statistics("less than nothing", lambda t, r: t[f"{Q}|square"].fill_(-1), "found -1"),
    statistics(
        "a huge width",
        lambda t, r: r["inputs"][Q].update(width=2**40, linears={Q: 2**40}),
        f"{Q}|active",
    ),
    Case("statistics: cut off", lambda p: p.cut("statistics.safetensors", -9, *SHOW), ("trunc",)),
    Case("statistics: empty", lambda p: p.cut("statistics.safetensors", 0, *SHOW), ("only 0",)),
    Case("statistics: no safetensors", lambda p: [*SHOW[:2], p.good / "model" / "config.json"],
         ("config.json",)),
    Case("statistics: nothing there", lambda p: p.prune_with("--statistics", p.root / "no"),
         ("no such file",)),
    Case("statistics: beside a text", lambda p: p.plan("--statistics", STATISTICS.format(p.good)),
         ("--calibration",)),
    Case("statistics: to be run through", lambda p: [
             "plan", p.good / "model", "--statistics", STATISTICS.format(p.good),
             "--mode", "sequential",
         ],
         ("--mode",)),
    Case("statistics: a language and a mode that are not in them",
         lambda p: _with_statistics(p, "--languages", "fr", "--mode", "sequential"),
         ("--languages",), lines=2),
    Case("statistics: of one file, merged",
         lambda p: ["stats", "merge", STATISTICS.format(p.good), "--out", p.root / "x.safetensors"],
         ("two files",)),
    Case("statistics: of no text",
         lambda p: ["stats", p.good / "model", "--out", p.root / "x.safetensors"],
         ("--calibration: expected text",)),
    Case("statistics: of a model named like a command",
         lambda p: ["stats", "./merge", "--calibration", p.good / "text", "--out",
                    p.root / "x.safetensors"],
         ("./merge", "nothing there")),
    Case("statistics: a model's shard", lambda p: [*SHOW[:2], p.good / "model" / SHARD],
         ("a foreign file",)),
    windows("no JSON", lambda t, r: "{", "provenance of format 1"),
    windows("of another format", lambda t, r: r.update(format=9), "format 9"),
    windows("no draws", lambda t, r: r.pop("draws"), "'draws'"),
    windows("draws of another type", lambda t, r: r.update(draws=[1]), "int instead of"),
    windows("hashes that are none", lambda t, r: r["draws"][0].update(sentence_hashes="?"), "prov"),
    windows("a key that is no language", _set("thesis", data=[[1]]), "'thesis'"),
    windows("tokens of another dtype", _set("de", data=[[1.0]]), "dtype F32"),
    windows("tokens in one row", _set("de", data=[1]), "shape [1]"),
    windows("no tokens", lambda t, r: t.update(de=torch.zeros(0, 4).long()), "shape [0, 4]"),
    windows("a negative token", lambda t, r: t["de"][0, :1].fill_(-1), "found -1"),
    windows("other tokens than were drawn", lambda t, r: t["de"][0, :1].fill_(9), "draw them"),
    Case(
        "windows: tokens beyond the vocabulary",
        lambda p: p.saved(
            "windows", lambda t, r: r["draws"].clear() or t["de"][0, :1].fill_(10**6),
            *p.prune_with("--calibration", "FILE"),
        ),
        ("token ids", "1000000"),
    ),
    Case("windows: of another vocabulary", _small_vocabulary,
         ("de", "vocabulary of 100", "found 1 to 2", "tokenizer")),
    Case("windows: nothing there",
         lambda p: p.prune_with("--calibration", p.root / "windows.safetensors"),
         ("windows.safetensors", "no such file")),
    Case(
        "windows: cut off",
        lambda p: p.cut("windows.safetensors", -9, *p.prune_with("--calibration", "FILE")),
        ("windows.safetensors", "a safetensors file"),
    ),
    Case("masks: nothing there",
         lambda p: ["mask", "apply", p.root / "no", p.good / "model", "--out", p.out],
         ("no such",)),
    Case("masks: a model's shard",
         lambda p: ["mask", "apply", p.good / "pruned" / SHARD, p.good / "model", "--out", p.out],
         ("a file of masks",)),
    Case("masks: for nothing there", lambda p: p.apply(p.root / "no"), ("nothing there",)),
    Case("masks: to an unknown dtype", lambda p: p.apply(p.good / "model", "--dtype", "int3"),
         ("--dtype",)),
    Case("masks: to shards of no size",
         lambda p: p.apply(p.good / "model", "--max-shard-size", "x"), ("--max-shard-size",)),
    Case("masks: of weights that are updated",
         lambda p: _with_statistics(p, "--masks-only", "--out", p.root / "m.safetensors",
                                    "--reconstruction", "admm"), ("--masks-only",)),
    masks("no JSON", lambda t, r: "{", "a foreign file"),
    masks("an unknown field", lambda t, r: r["manifest"].update(x=1), "manifest.x"),
    masks("no manifest", lambda t, r: r.pop("manifest"), "manifest"),
    masks("another shape", lambda t, r: r["manifest"]["linears"][Q].update(shape=[9, 9]), Q),
    masks("a negative shape", lambda t, r: r["manifest"]["linears"][Q].update(shape=[-9, 9]), Q),
    masks("a mask missing", lambda t, r: t.pop(Q), f"tensor {Q}"),
    Case(
        "masks: cut off",
        lambda p: p.cut("masks.safetensors", -9, "diff", "FILE", p.good / "pruned"),
        ("masks.safetensors", "truncated"),
    ),
]  # fmt: skip


def manifest(what: str, change: Any, *says: str) -> Case:
    return Case(
        f"manifest: {what}",
        lambda p: p.manifest(change),
        ("{root}/pruned/mwanda.json", "expected", *says),
    )


MANIFESTS = [
    manifest("empty", b"", "JSON in UTF-8", "found"),
    manifest("nested without end", b"[" * 99_999, "JSON in UTF-8"),
    manifest("not UTF-8", b"\xff", "JSON in UTF-8"),
    manifest("a list", b"[]", "format 1", "found"),
    manifest("of another format", lambda m: m.update(format=9), "format 1, found 9"),
    manifest("an unknown field", lambda m: m.update(x=1), "x: expected a manifest"),
    manifest("no linears", lambda m: m.pop("linears"), "linears"),
    manifest("a size that is a text", lambda m: m["totals"].update(weights="x"), "totals.weights"),
    manifest("files that are a list", lambda m: m.update(files=[1]), "files"),
    manifest("an empty one", b"{}", "expected", "found"),
    manifest("linears that are a number", lambda m: m.update(linears=5), "expected", "found"),
    Case("manifest: missing", lambda p: ["verify", p.good / "model"],
         ("mwanda.json", "that mwanda wrote")),
    Case("manifest: missing, and masks asked for",
         lambda p: ["mask", "extract", p.good / "model", "--out", p.root / "m.safetensors"],
         ("mwanda.json",)),
    Case("manifest: no folder", lambda p: ["verify", p.root / "no"], ("{root}/no", "no folder")),
    Case("verify: a source that is not there",
         lambda p: ["verify", p.good / "pruned", "--against", p.root / "no"],
         ("{root}/no", "nothing there")),
    Case("verify: masks that are not there",
         lambda p: ["verify", p.good / "pruned", "--mask", p.root / "no"],
         ("masks {root}/no", "no such file")),
    Case("verify: masks that are a model's shard",
         lambda p: ["verify", p.good / "pruned", "--mask", p.good / "pruned" / SHARD],
         ("a foreign file",)),
    Case("diff: with nothing there", lambda p: ["diff", p.good / "pruned", p.root / "no"],
         ("{root}/no", "nothing there")),
    Case("diff: of nothing there", lambda p: ["diff", p.root / "no", p.good / "pruned"],
         ("{root}/no", "nothing there")),
    Case("diff: with another file",
         lambda p: ["diff", p.good / "pruned", p.good / "pruned" / "config.json"],
         ("config.json", "safetensors")),
]  # fmt: skip


def archive(what: str, change: Callable[[dict[str, Any]], Any], *says: str) -> Case:
    return Case(f"archive: {what}", lambda p: p.archive(change), ("a.mwz", *says))


def _file(**values: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda index: index["files"][0].update(values)


def _chunk(at: int, value: int) -> Callable[[dict[str, Any]], Any]:
    return lambda index: index["files"][0]["segments"][0]["chunks"][0].__setitem__(at, value)


UNPACK = ("unpack", "FILE", "--out")

ARCHIVES = [
    Case("archive: another file", lambda p: [*UNPACK[:1], p.good / "model.gguf", "--out", p.out],
         ("another kind", "an archive that mwanda")),
    Case("archive: a folder", lambda p: ["unpack", p.good / "pruned", "--out", p.out],
         ("an archive",)),
    Case("pack: a name of another kind", lambda p: p.pack("--out", p.root / "a.zip"),
         ("a name ending in .mwz",)),
    Case("pack: no folder", lambda p: ["pack", p.root / "no", *p.pack()[2:]],
         ("a model folder", "no folder")),
    Case("pack: a level beyond", lambda p: p.pack("--level", 23), ("--level", "pack --help")),
    Case("pack: no threads", lambda p: p.pack("--threads", 0), ("--threads", "pack --help")),
    Case("archive: nothing there", lambda p: ["unpack", p.root / "no", "--out", p.out],
         ("no such file",)),
    *(
        Case(f"archive: {what}", lambda p, size=size: p.cut("pruned.mwz", size, *UNPACK, p.out),
             ("{root}/pruned.mwz",))
        for what, size in (
            ("empty", 0), ("ten bytes", 10), ("its header alone", 16), ("no end", -1),
            ("half", 50_000), ("a short end", -20),
        )
    ),
    *(
        Case(f"archive: a bit changed in the {what}",
             lambda p, at=at: p.flipped("pruned.mwz", at, *UNPACK, p.out), ("pruned.mwz", says))
        for what, at, says in (
            ("version", 8, "format"), ("first chunk", 40, "checksum"),
            ("middle", 50_000, "damaged"),
            ("index", -200, "changed"), ("index's end", -70, "damaged"), ("end", -3, "damaged"),
            ("end's sum", -4, "cut off or changed"),
        )
    ),
    archive("no JSON", lambda i: b"{", "an index that mwanda wrote"),
    archive("nested without end", lambda i: b"[" * 99_999, "an index that mwanda wrote"),
    archive("of another format", lambda i: i.update(format=7), "format 1"),
    archive("a name above the folder", _file(path="../x"), "a plain path inside the folder"),
    archive("an absolute name", _file(path="/tmp/x"), "a plain path inside the folder"),
    archive("a name with a NUL", _file(path="a\0b"), "a plain path inside the folder"),
    archive("a name that turns round", _file(path="a\u202eb"), "a plain path inside the folder"),
    archive("a file twice", lambda i: i["files"].append(i["files"][0]), "a file twice"),
    archive("a size that is not so", _file(size=6), "a size that is not the sum"),
    archive("an exabyte", _file(size=2**60), "a size that is not the sum"),
    archive("a chunk of a terabyte", _chunk(1, 2**40), "a chunk of"),
    archive("a chunk of 4 MiB in few bytes",
            lambda i: (_chunk(1, 1 << 22)(i), _file(size=1 << 22)(i)), "a.mwz"),
    archive("another checksum", _chunk(3, 1), "checksum"),
    archive("another hash", _file(sha256="0" * 64), "by its SHA-256"),
    archive("a huge tensor", lambda i: i["files"][0]["segments"][0].update(
        name="w", dtype="F32", shape=[2**40, 2**40]), "a shape that no tensor can have"),
]  # fmt: skip


def _gguf(what: str, raw: bytes, *says: str) -> Case:
    def make(place: Place) -> list[object]:
        path = place.root / "bad.gguf"
        path.write_bytes(raw)
        return place.magnitude(path)

    return Case(f"gguf: {what}", make, ("bad.gguf", *says))


def _number(value: int, size: int = 8) -> bytes:
    return value.to_bytes(size, "little")


GGUF = b"GGUF" + _number(3, 4)
KEY = _number(1) + b"k"

GGUFS = [
    _gguf("its name alone", b"GGUF", "a whole GGUF file"),
    _gguf("an unknown version", b"GGUF" + _number(99, 4) + bytes(16), "a whole GGUF file"),
    _gguf("nothing in it", GGUF + _number(0) + _number(0), "no weights in it"),
    _gguf("2^60 tensors", GGUF + _number(2**60) + _number(0), "a whole GGUF file"),
    _gguf("2^60 fields", GGUF + _number(0) + _number(2**60), "a whole GGUF file"),
    _gguf("a name of 2^60 bytes", GGUF + _number(0) + _number(1) + _number(2**60), "a whole GGUF"),
    _gguf("a field of no type", GGUF + _number(0) + _number(1) + KEY + _number(77, 4) + bytes(8),
          "a whole GGUF file"),
    _gguf("2^60 values in a field",
          GGUF + _number(0) + _number(1) + KEY + _number(9, 4) + _number(4, 4) + _number(2**60),
          "a whole GGUF file"),
    *(
        Case(f"gguf: {what}", lambda p, size=size: p.cut("model.gguf", size, *p.magnitude("FILE")),
             ("model.gguf", "a whole GGUF file"))
        for what, size in (("cut in its header", 200), ("cut in its weights", -99))
    ),
    Case("gguf: another file",
         lambda p: ["gguf-check", p.good / "model" / SHARD, p.good / "pruned"], ("a GGUF file",)),
    Case("gguf: a share that is none",
         lambda p: ["gguf-check", p.good / "model.gguf", p.good / "pruned", "--fail-below", "x"],
         ("--fail-below",)),
]  # fmt: skip

SAVED = (*RECORDS, *MANIFESTS, *ARCHIVES, *GGUFS)
