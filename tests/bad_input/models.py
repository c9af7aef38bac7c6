"""Models that cannot be read: headers, indexes, configs, weights, tokenizers, and names of none."""

from __future__ import annotations

import os
from typing import Any

import torch
from transformers import BertConfig, T5Config

from tests.bad_input.case import Case
from tests.bad_input.place import SHARD, Place
from tests.model.helpers import INDEX, entry

__all__ = ["MODELS", "own_code"]

UP = "model.layers.1.mlp.up_proj"
Q = "model.layers.0.self_attn.q_proj"
ONE = {"a": entry("U8", [16], 0, 16)}


def header(what: str, made: Any, *says: str, data: bytes = bytes(16)) -> Case:
    return Case(f"header: {what}", lambda p: p.shard(made, data), (SHARD, *says))


HEADERS = [
    Case("header: an empty file", lambda p: p.raw_shard(b""),
         (SHARD, "only 0 bytes", "truncated", "download it again")),
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
        ("num_hidden_layers", "at most the 1 tensors", "found 3"),
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
    index(
        "a shard that is missing",
        "gone.safetensors",
        "gone.safetensors",
        "no such file",
        "download the missing",
    ),
    index(
        "a shard above the folder",
        "../part.safetensors",
        "../part.safetensors",
        "a path that leaves it",
    ),
    index("a shard around the folder", "x/../../part.safetensors", "a path that leaves it"),
    index(
        "an absolute shard", "/etc/hostname.safetensors", "/etc/hostname", "a path that leaves it"
    ),
    index("a shard with a NUL", "a\0.safetensors", "shard 'a\\x00.safetensors'"),
    index("a shard with a name too long", "x" * 5000 + ".safetensors", "shard xxx"),
    Case("index: a link out of the folder", _linked, ("link.safetensors", "a path that leaves it")),
    Case("index: a link to itself", _looped, ("loop.safetensors",)),
    Case(
        "index: a tensor its shard lacks",
        lambda p: p.index({"strange": "part.safetensors"}),
        (INDEX, "tensor strange", "part.safetensors", "fetch both again"),
    ),
]


def config(what: str, *says: str, **fields: Any) -> Case:
    return Case(f"config: {what}", lambda p: p.prune(p.model(**fields)), says)


CONFIG = "{root}/model/config.json"
TOKENIZER = ("{root}/model: tokenizer", "copy tokenizer.json")
OWN_CODE = {"AutoConfig": "code.Config", "AutoModelForCausalLM": "code.Model"}


def own_code(place: Place) -> list[object]:
    """A prune of a model that brings code, which would leave a file if it ran."""
    folder = place.model(model_type="own", architectures=["Model"], auto_map=OWN_CODE)
    (folder / "code.py").write_text(f"open({str(place.root / 'ran')!r}, 'w')\n")
    return place.prune(folder)


def _of_class(made: Any, name: str) -> Case:
    def make(place: Place) -> list[object]:
        folder = place.model()
        made.architectures = [name]
        made.save_pretrained(folder)
        return place.prune(folder)

    return Case(f"config: {name}'s own", make, (CONFIG, "decoder", name))


CONFIGS = [
    Case("config: empty", lambda p: p.config(b""), (CONFIG, "expected")),
    Case("config: no JSON", lambda p: p.config(b"{"), (CONFIG, "expected")),
    Case("config: a list", lambda p: p.config(b"[]"), (CONFIG, "expected")),
    Case("config: not UTF-8", lambda p: p.config(b"\xff\xfe"), (CONFIG, "expected")),
    Case("config: nested without end", lambda p: p.config(b'{"a":' * 99_999), ("config.json",)),
    config("an unknown type", "config.json", "nope", "upgrade transformers", model_type="nope"),
    config("no type", "config.json", model_type=None),
    config("a type that is a number", "config.json", model_type=7),
    config("an encoder", "a decoder", "BertForMaskedLM", architectures=["BertForMaskedLM"]),
    config("class names that are none", "a list of class names", architectures="Llama"),
    config("a size that is a text", "config.json", "hidden_size", "wide", hidden_size="wide"),
    config("a negative size", "config", hidden_size=-48),
    config("no heads", "config", num_attention_heads=0),
    config("no layers", "LlamaForCausalLM", "0 layers", "ModuleList", num_hidden_layers=0),
    config("one layer too many", "model.layers.3.", "no tensor of that name", num_hidden_layers=4),
    config("another hidden size", SHARD, "[300, 64]", "[300, 48]", "config.json", hidden_size=64),
    config("a billion layers", "num_hidden_layers", "at most the", num_hidden_layers=10**9),
    config("a huge hidden size", "shape", hidden_size=48 * 10**6),
    config("a huge head", "shape", head_dim=10**9),
    config("a huge vocabulary", "embed_tokens", "[300, 48]", vocab_size=10**12),
    config("another vocabulary", "embed_tokens", "[300, 48]", vocab_size=10),
    config(
        "quantised weights", "config.json", "(gptq)", "original",
        quantization_config={"quant_method": "gptq", "bits": 4},
    ),
    config(
        "weights quantised otherwise", "config.json", "(awq)", "original",
        quantization_config={"quant_method": "awq"},
    ),
    _of_class(BertConfig(), "BertForMaskedLM"),
    _of_class(T5Config(), "T5ForConditionalGeneration"),
    Case("config: code of its own", own_code, ("config.json", "--trust-remote-code")),
    Case(
        "config: missing",
        lambda p: ((p.model() / "config.json").unlink(), p.prune(p.root / "model"))[1],
        (CONFIG, "no such file"),
    ),
]  # fmt: skip


def _with_nan(tensors: dict[str, torch.Tensor]) -> None:
    tensors[f"{UP}.weight"][0, 0] = float("nan")


def _cut_shard(place: Place, size: int) -> list[object]:
    path = place.model() / SHARD
    os.truncate(path, path.stat().st_size - size)
    return place.prune(path.parent)


def _pickled(place: Place) -> list[object]:
    folder = place.model()
    (folder / SHARD).rename(folder / "pytorch_model.bin")
    return place.prune(folder)


def _no_such(name: str) -> list[Case]:
    there = "found nothing there"
    return [
        Case(f"model: {name!r} to prune", lambda p: p.prune(name),
             ("a model folder, a GGUF file", there)),
        Case(f"model: {name!r} to plan", lambda p: ["plan", *p.plan()[2:], name], (there,)),
        Case(f"model: {name!r} to score", lambda p: ["eval", name, *p.evaluate()[2:]], (there,)),
    ]  # fmt: skip


WEIGHTS = [
    Case(
        "weights: one missing",
        lambda p: p.weights(lambda t: t.pop(f"{UP}.weight")),
        (f"{UP}.weight", "no tensor of that name", "incomplete"),
    ),
    Case(
        "weights: one of another shape",
        lambda p: p.weights(lambda t: t.update({f"{UP}.weight": torch.zeros(3, 3)})),
        (UP, "shape [80, 48]", "[3, 3]"),
    ),
    Case(
        "weights: whole numbers",
        lambda p: p.weights(lambda t: t.update({f"{UP}.weight": t[f"{UP}.weight"].char()})),
        (f"{UP}.weight", "bf16", "quantised weights in int8", "original"),
    ),
    Case(
        "weights: eight-bit floats",
        lambda p: p.weights(
            lambda t: t.update({f"{UP}.weight": t[f"{UP}.weight"].to(torch.float8_e4m3fn)})
        ),
        (f"{UP}.weight", "bf16", "quantised weights in float8_e4m3fn", "original"),
    ),
    *(
        Case(f"weights: NaN met by {criterion}",
             lambda p, c=criterion: [*p.weights(_with_nan), "--criterion", c],
             ("linear model.layers.1.mlp.", "NaN"), code=1)
        for criterion in ("wanda", "magnitude")
    ),
    *(
        Case(f"weights: a shard cut by {size:,} bytes", lambda p, n=size: _cut_shard(p, n),
             (f"{{root}}/model/{SHARD}", "truncated", "download it again"))
        for size in (1, 100_000, 340_000)
    ),
    Case("weights: none",
         lambda p: (p.model() / SHARD).unlink() or p.prune(p.root / "model"),
         ("{root}/model", SHARD, "no safetensors")),
    Case("weights: only a pickle", _pickled, ("pytorch_model.bin", "pickle", "save_pretrained")),
    Case(
        "weights: packed",
        lambda p: p.weights(lambda t: t.update({f"{UP}.qweight": torch.zeros(2, 2).int()})),
        ("qweight", "GPTQ or AWQ"),
    ),
    Case("tokenizer: missing", lambda p: p.tokenizer(None), TOKENIZER),
    Case("tokenizer: no JSON", lambda p: p.tokenizer(b"{"), TOKENIZER),
    Case("tokenizer: a list", lambda p: p.tokenizer(b"[]"), TOKENIZER),
    Case("tokenizer: bytes", lambda p: p.tokenizer(bytes(99)), ("tokenizer",)),
    *(case for name in ("nothing", "no/such/folder", "./model", "a\0b") for case in _no_such(name)),
    Case("model: a name too long", lambda p: p.prune("x/" * 9000), ("found nothing there",)),
    Case("model: of the hub, out of reach", lambda p: p.prune("org/name"),
         ("org/name", "hub", "the spelling")),
    Case("model: a file of another kind", lambda p: p.prune(p.good / "model" / "config.json"),
         ("config.json", "a file of another kind")),
]  # fmt: skip

MODELS = (*HEADERS, *INDEXES, *CONFIGS, *WEIGHTS)
