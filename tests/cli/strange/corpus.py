"""Inputs that are wrong: how each is made, the command that meets it, and what it has to say.

Every one ends with exit code 2 and one line for each mistake, and leaves nothing behind.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from tests.cli.strange.case import Case
from tests.cli.strange.corpus_evaluation import EVALUATION
from tests.cli.strange.place import SHARD, Place
from tests.model.helpers import entry

__all__ = ["CASES"]

UP = "model.layers.1.mlp.up_proj"
Q = "model.layers.0.self_attn.q_proj"
ONE = {"a": entry("U8", [16], 0, 16)}


def header(what: str, made: Any, *says: str, data: bytes = bytes(16)) -> Case:
    return Case(f"header: {what}", lambda p: p.shard(made, data), (SHARD, *says))


HEADERS = [
    Case("header: an empty file", lambda p: p.raw_shard(b""), (SHARD, "only 0 bytes")),
    Case("header: five bytes", lambda p: p.raw_shard(b"12345"), (SHARD, "only 5 bytes")),
    Case(
        "header: longer than the file",
        lambda p: p.raw_shard((1000).to_bytes(8, "little") + b"{}"),
        (SHARD, "10 bytes with a header said to be 1000 bytes long"),
    ),
    Case(
        "header: of 2^64 bytes",
        lambda p: p.raw_shard(b"\xff" * 8 + b"{}"),
        (SHARD, "18446744073709551615 bytes long"),
    ),
    Case(
        "header: a pickle",
        lambda p: p.raw_shard(b"PK\x03\x04" + bytes(99)),
        (SHARD, "a pickle", "convert the model"),
    ),
    Case(
        "header: a pointer of Git LFS",
        lambda p: p.raw_shard(b"version https://git-lfs.github.com/spec/v1\n"),
        (SHARD, "Git LFS", "git lfs pull"),
    ),
    Case("header: a web page", lambda p: p.raw_shard(b"<!DOCTYPE html>" * 9), ("a web page",)),
    header("no JSON", b"{'a': 1}", "JSON in UTF-8"),
    header("not UTF-8", b'{"\xff": 1}', "JSON in UTF-8"),
    header("a list", b"[]", "JSON that starts with {"),
    header("nested without end", b'{"a":' * 50_000, "too many nested brackets"),
    header("a key twice", b'{"a": 1, "a": 2}', "the key a stands twice"),
    header("a number of 9000 digits", b'{"a": ' + b"9" * 9000 + b"}", "JSON in UTF-8"),
    header("metadata that are no texts", {"__metadata__": {"a": 1}, **ONE}, "__metadata__"),
    header("an entry that is a list", {"a": []}, "a: expected an object, found list"),
    header("an unknown dtype", {"a": entry("F4", [1], 0, 1)}, "known dtype", "'F4'"),
    header("no dtype", {"a": {"shape": [16], "data_offsets": [0, 16]}}, "known dtype", "None"),
    header("a negative size", {"a": entry("U8", [-16], 0, 16)}, "a shape of whole numbers"),
    header("a size that is a text", {"a": entry("U8", ["16"], 0, 16)}, "a shape of whole numbers"),
    header("many dimensions", {"a": entry("U8", [1] * 99, 0, 1)}, "a shape of whole numbers"),
    header("too few bytes for a shape", {"a": entry("F32", [5], 0, 16)}, "20 bytes", "16 for F32"),
    header("a huge shape", {"a": entry("F32", [2**40, 2**40], 0, 16)}, "at most", "the shape"),
    header("a huge shape that fits its offsets", {"a": entry("U8", [2**50], 0, 2**50)}, "bytes in"),
    header("offsets that descend", {"a": entry("U8", [0], 9, 0)}, "two ascending data_offsets"),
    header("offsets below 0", {"a": entry("U8", [16], -16, 0)}, "two ascending data_offsets"),
    header("offsets beyond the end", {"a": entry("U8", [99], 0, 99)}, "found", "truncated"),
    header(
        "offsets that overlap",
        {"a": entry("U8", [16], 0, 16), "b": entry("U8", [9], 7, 16)},
        "b: expected bytes of its own",
    ),
    header("a hole", {"a": entry("U8", [8], 8, 16)}, "a hole"),
    header("bytes of nobody", {"a": entry("U8", [8], 0, 8)}, "end of the file"),
    header("no tensors", {}, "bytes in the file"),
    Case(
        "header: no tensors and no bytes",
        lambda p: p.shard({}, b""),
        ("tensors in the checkpoint, found none",),
    ),
    Case(
        "header: none of the model's tensors",
        lambda p: p.shard(ONE),
        ("num_hidden_layers", "at most the 1 tensors", "found 2"),
    ),
    header(
        "control characters in a name", {"a\x1b[2J\nb": entry("F9", [1], 0, 1)},
        "'a\\x1b[2J\\nb'", "known dtype",
    ),
]  # fmt: skip


def index(what: str, shard: Any, *says: str) -> Case:
    return Case(
        f"index: {what}",
        lambda p: p.index({"model.norm.weight": "part.safetensors", f"{UP}.weight": shard}),
        says,
    )


def _linked(place: Place) -> list[object]:
    words = place.index({f"{UP}.weight": "link.safetensors"})
    (place.root / "model" / "link.safetensors").symlink_to(place.good / "model" / SHARD)
    return words


def _looped(place: Place) -> list[object]:
    words = place.index({f"{UP}.weight": "loop.safetensors"})
    (place.root / "model" / "loop.safetensors").symlink_to("loop.safetensors")
    return words


def _raw_index(what: str, raw: bytes, *says: str) -> Case:
    return Case(f"index: {what}", lambda p: p.index(None, raw), ("index.json", *says))


INDEXES = [
    _raw_index("empty", b"", "expected JSON"),
    _raw_index("cut off", b'{"weight_map": {"a": "par', "expected JSON"),
    _raw_index("not UTF-8", b'{"weight_map": {"\xff": "x"}}', "expected JSON"),
    _raw_index("nested without end", b"[" * 100_000, "too many nested brackets"),
    _raw_index("a list", b"[]", "a weight_map", "found list"),
    _raw_index("no weight_map", b"{}", "a weight_map", "NoneType"),
    _raw_index("an empty weight_map", b'{"weight_map": {}}', "an empty one"),
    index("a shard that is no text", 7, "a .safetensors shard for", "found 7"),
    index("a shard that is a pickle", "pytorch_model.bin", "a .safetensors shard", ".bin"),
    index("a shard that is missing", "gone.safetensors", "no such file", "download the missing"),
    index("a shard above the folder", "../part.safetensors", "a path that leaves it"),
    index("a shard around the folder", "x/../../part.safetensors", "a path that leaves it"),
    index("an absolute shard", "/etc/hostname.safetensors", "a path that leaves it"),
    index("a shard with a NUL", "a\0.safetensors", "shard 'a\\x00.safetensors'"),
    index("a shard with a name too long", "x" * 5000 + ".safetensors", "shard xxx"),
    Case("index: a link out of the folder", _linked, ("link.safetensors", "a path that leaves it")),
    Case("index: a link to itself", _looped, ("loop.safetensors",)),
    Case(
        "index: a tensor its shard lacks",
        lambda p: p.index({"strange": "part.safetensors"}),
        ("tensor strange", "part.safetensors", "fetch both again"),
    ),
]


def config(what: str, *says: str, **fields: Any) -> Case:
    return Case(f"config: {what}", lambda p: p.prune(p.model(**fields)), says)


OWN_CODE = {"AutoConfig": "code.Config", "AutoModelForCausalLM": "code.Model"}


def _own_code(place: Place) -> list[object]:
    folder = place.model(model_type="own", architectures=["Model"], auto_map=OWN_CODE)
    (folder / "code.py").write_text(f"open({str(place.root / 'ran')!r}, 'w')\n")
    return place.prune(folder)


def _recipe_with_own_code(place: Place) -> list[object]:
    words = _own_code(place)
    recipe = place.root / "recipe.yaml"
    recipe.write_text("trust_remote_code: true\n")
    return [*words, "--recipe", recipe]


CONFIGS = [
    Case("config: empty", lambda p: p.config(b""), ("config.json", "expected")),
    Case("config: no JSON", lambda p: p.config(b"{"), ("config.json", "expected")),
    Case("config: a list", lambda p: p.config(b"[]"), ("config.json", "expected")),
    Case("config: not UTF-8", lambda p: p.config(b"\xff\xfe"), ("config.json", "expected")),
    Case("config: nested without end", lambda p: p.config(b'{"a":' * 99_999), ("config.json",)),
    config("an unknown type", "config.json", "nope", "upgrade transformers", model_type="nope"),
    config("no type", "config.json", model_type=None),
    config("a type that is a number", "config.json", model_type=7),
    config("an encoder", "a decoder", "BertForMaskedLM", architectures=["BertForMaskedLM"]),
    config("class names that are none", "a list of class names", architectures="Llama"),
    config("a size that is a text", "hidden_size", "wide", hidden_size="wide"),
    config("a negative size", "config", hidden_size=-48),
    config("no heads", "config", num_attention_heads=0),
    config("no layers", "0 layers", num_hidden_layers=0),
    config("one layer too many", "model.layers.2.", "no tensor", num_hidden_layers=3),
    config("a billion layers", "num_hidden_layers", "at most the", num_hidden_layers=10**9),
    config("a huge hidden size", "shape", hidden_size=48 * 10**6),
    config("a huge head", "shape", head_dim=10**9),
    config("a huge vocabulary", "embed_tokens", "[300, 48]", vocab_size=10**12),
    config("another vocabulary", "embed_tokens", "[300, 48]", vocab_size=10),
    config(
        "quantised weights", "config.json", "(gptq)", "original",
        quantization_config={"quant_method": "gptq", "bits": 4},
    ),
    Case("config: code of its own", _own_code, ("config.json", "--trust-remote-code")),
    Case(
        "config: missing",
        lambda p: ((p.model() / "config.json").unlink(), p.prune(p.root / "model"))[1],
        ("config.json", "no such file"),
    ),
]  # fmt: skip

WEIGHTS = [
    Case(
        "weights: one missing",
        lambda p: p.weights(lambda t: t.pop(f"{UP}.weight")),
        (UP, "no tensor of that name", "incomplete"),
    ),
    Case(
        "weights: one of another shape",
        lambda p: p.weights(lambda t: t.update({f"{UP}.weight": torch.zeros(3, 3)})),
        (UP, "shape [80, 48]", "[3, 3]"),
    ),
    Case(
        "weights: whole numbers",
        lambda p: p.weights(lambda t: t.update({f"{UP}.weight": t[f"{UP}.weight"].char()})),
        (UP, "quantised weights in int8"),
    ),
    Case(
        "weights: packed",
        lambda p: p.weights(lambda t: t.update({f"{UP}.qweight": torch.zeros(2, 2).int()})),
        ("qweight", "GPTQ or AWQ"),
    ),
    Case("tokenizer: missing", lambda p: p.tokenizer(None), ("tokenizer", "copy tokenizer.json")),
    Case("tokenizer: no JSON", lambda p: p.tokenizer(b"{"), ("tokenizer", "copy tokenizer.json")),
    Case("tokenizer: a list", lambda p: p.tokenizer(b"[]"), ("tokenizer", "copy tokenizer.json")),
    Case("tokenizer: bytes", lambda p: p.tokenizer(bytes(99)), ("tokenizer",)),
    Case("model: nothing there", lambda p: p.prune(p.root / "no"), ("found nothing there",)),
    Case("model: a name with a NUL", lambda p: p.prune("a\0b"), ("found nothing there",)),
    Case("model: a name too long", lambda p: p.prune("x/" * 9000), ("found nothing there",)),
    Case(
        "model: a file of another kind",
        lambda p: p.prune(p.good / "text" / "de.txt"),
        ("a file of another kind",),
    ),
]


def recipe(what: str, text: str | bytes, *says: str, lines: int = 1) -> Case:
    return Case(f"recipe: {what}", lambda p: p.recipe(text), ("recipe.yaml", *says), lines)


BOMB = "a0: &a0 [x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 30)
)

RECIPES = [
    recipe("an unknown field", "sparsty: 0.5", "unknown field", "did you mean 'sparsity'?"),
    recipe("three mistakes", "sparsity: 2\ncriterion: w\nx: 1", "criterion", "x", lines=3),
    recipe("a list", "- sparsity", "a mapping of recipe fields"),
    recipe("keys that are no texts", "{1: 2}", "a mapping of recipe fields"),
    recipe("no YAML", "a: [", "expected YAML"),
    recipe("not UTF-8", b"a: \xff", "expected UTF-8"),
    recipe("control characters", "a: \x07", "expected YAML"),
    recipe("brackets without end", "a: " + "[" * 50_000, "expected YAML"),
    recipe("a megabyte", "# " + "x" * (1 << 20), "more than 1048576 bytes"),
    recipe("aliases that multiply", BOMB, "expected YAML", "an alias"),
    recipe("a list of aliases", f"- &a [x]\n{'- *a' * 9}", "expected YAML"),
    recipe("a number of 5000 digits", f"seed: {'9' * 5000}", "expected YAML"),
    recipe("Python to be run", "x: !!python/object/apply:os.system ['true']", "YAML", "os.system"),
    recipe("a Python name", "x: !!python/name:os.system", "YAML"),
    recipe("a tag of its own", "x: !include /etc/passwd", "YAML"),
    recipe("NaN", "sparsity: .nan", "sparsity", "finite"),
    recipe("infinity", "sparsity: .inf", "sparsity"),
    recipe("beyond 1", "sparsity: 1.5", "sparsity", "less than 1"),
    recipe("a truth for a number", "sparsity: yes", "sparsity", "a number"),
    recipe("a text for a number", "seed: many", "seed", "found many"),
    recipe("a number for a text", "criterion: 5", "criterion", "found 5"),
    recipe("a method without a name", "criterion: {}", "criterion.name"),
    recipe("an unknown method", "criterion: wnda", "'wnda'", "did you mean 'wanda'?"),
    recipe("an unknown option", "criterion: {name: wanda, power: 2}", "power"),
    recipe("an option of another type", "criterion: {name: ria, power: x}", "power", "'x'"),
    recipe("a negative option", "criterion: {name: ria, power: -1}", "power"),
    recipe("no language", "languages: [xx1]", "languages", "'xx1'"),
    recipe("a language twice", "languages: [de, deu]", "languages", "once"),
    recipe("NaN for a weight", "language_weights: {de: .nan}", "language_weights.de"),
    recipe("no expression", "include: ['(']", "include", "regular expressions"),
    recipe("a pattern that is none", "pattern: '9:4'", "pattern", "N:M"),
    recipe("an unknown dtype", "dtype: int4", "dtype", "bfloat16"),
    recipe("code of the model's own", "trust_remote_code: true", "trust_remote_code: unknown"),
    recipe("another model", "model: ../../other", "model: unknown field"),
    recipe("another output", "out: /tmp/elsewhere", "out: unknown field"),
    recipe("text from elsewhere", "calibration: /etc", "calibration: unknown field"),
    recipe("statistics from elsewhere", "statistics: /etc/passwd", "statistics: unknown field"),
    recipe("overwriting", "overwrite: true", "overwrite: unknown field"),
    recipe("a path for a method", "criterion: ../../x.py", "'../../x.py'", "a known name"),
    recipe("a module for a method", "criterion: os.system", "'os.system'", "a known name"),
    Case(
        "recipe: missing",
        lambda p: p.prune(None, "--recipe", p.root / "no.yaml"),
        ("no.yaml", "a recipe file"),
    ),
    Case(
        "recipe: code of the model's own, and such a model",
        _recipe_with_own_code,
        ("trust_remote_code: unknown field",),
    ),
]


def text(what: str, raw: bytes, *says: str, name: str = "de.txt") -> Case:
    return Case(f"text: {what}", lambda p: p.text(raw, name), (name, *says))


def _linked_text(place: Place) -> list[object]:
    folder = place.root / "text"
    folder.mkdir()
    (folder / "de.txt").symlink_to("/etc/hostname")
    return place.prune(None, "--calibration", folder)


TEXTS = [
    text("empty", b"", "not blank"),
    text("blank", b" \n\t\n", "not blank"),
    text("not UTF-8", b"gut\nschl\xe9cht\n", "de.txt:2", "byte 0xe9", "iconv"),
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
    Case("text: too little", lambda p: p.text(b"kurz\n"), ("'de'", "62 tokens", "add text")),
    Case(
        "text: nothing there",
        lambda p: p.prune(None, "--calibration", p.root / "no"),
        ("a folder", "found nothing there"),
    ),
    Case(
        "text: an unknown bundle",
        lambda p: p.prune(None, "--calibration", "bundled:bible"),
        ("bundled:bible",),
    ),
    Case(
        "text: a language that is missing",
        lambda p: p.prune(None, "--languages", "de,fr"),
        ("--languages", "found fr"),
    ),
]

SHOW = ("stats", "show", "FILE")


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


SAVED = [
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
    Case(
        "windows: cut off",
        lambda p: p.cut("windows.safetensors", -9, *p.prune_with("--calibration", "FILE")),
        ("windows.safetensors", "a safetensors file"),
    ),
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
    return Case(f"manifest: {what}", lambda p: p.manifest(change), ("mwanda.json", *says))


MANIFESTS = [
    manifest("empty", b"", "JSON in UTF-8"),
    manifest("nested without end", b"[" * 99_999, "JSON in UTF-8"),
    manifest("not UTF-8", b"\xff", "JSON in UTF-8"),
    manifest("a list", b"[]", "format 1"),
    manifest("of another format", lambda m: m.update(format=9), "format 1, found 9"),
    manifest("an unknown field", lambda m: m.update(x=1), "x: expected a manifest"),
    manifest("no linears", lambda m: m.pop("linears"), "linears"),
    manifest("a size that is a text", lambda m: m["totals"].update(weights="x"), "totals.weights"),
    manifest("files that are a list", lambda m: m.update(files=[1]), "files"),
    Case("manifest: missing", lambda p: ["verify", p.good / "model"], ("mwanda.json",)),
]


def archive(what: str, change: Callable[[dict[str, Any]], Any], *says: str) -> Case:
    return Case(f"archive: {what}", lambda p: p.archive(change), ("a.mwz", *says))


def _file(**values: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda index: index["files"][0].update(values)


def _chunk(at: int, value: int) -> Callable[[dict[str, Any]], Any]:
    return lambda index: index["files"][0]["segments"][0]["chunks"][0].__setitem__(at, value)


UNPACK = ("unpack", "FILE", "--out")

ARCHIVES = [
    Case("archive: another file", lambda p: [*UNPACK[:1], p.good / "model.gguf", "--out", p.out],
         ("another kind",)),
    Case("archive: nothing there", lambda p: ["unpack", p.root / "no", "--out", p.out],
         ("no such file",)),
    *(
        Case(f"archive: {what}", lambda p, size=size: p.cut("pruned.mwz", size, *UNPACK, p.out),
             ("pruned.mwz",))
        for what, size in (
            ("empty", 0), ("ten bytes", 10), ("its header alone", 16), ("no end", -1),
            ("half", 50_000),
        )
    ),
    *(
        Case(f"archive: a bit changed in the {what}",
             lambda p, at=at: p.flipped("pruned.mwz", at, *UNPACK, p.out), ("pruned.mwz", says))
        for what, at, says in (
            ("version", 8, "format"), ("first chunk", 40, "checksum"), ("index", -200, "changed"),
            ("end", -3, "cut off or changed"),
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
]  # fmt: skip

CASES: tuple[Case, ...] = (
    *HEADERS, *INDEXES, *CONFIGS, *WEIGHTS, *RECIPES, *TEXTS, *SAVED, *MANIFESTS, *ARCHIVES, *GGUFS,
    *EVALUATION,
)  # fmt: skip
