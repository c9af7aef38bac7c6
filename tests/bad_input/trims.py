"""Vocabularies that cannot be trimmed, of folders and of GGUF files."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from tests.bad_input.case import Case
from tests.bad_input.place import SHARD, Place
from tests.support.gguf_files import gguf_model, write_gguf
from tests.support.models import VOCABULARY

__all__ = ["TRIMS"]

MORE = (VOCABULARY, 32)


def _trim(model: object, place: Place, *words: object) -> list[object]:
    """A trim of a model for German; later words win."""
    return ["trim", model, "--languages", "de", "--out", place.out, *words]


def _by_text(place: Place, name: str, *words: object) -> list[object]:
    """A trim by sound text, of a sound model or GGUF file."""
    return _trim(place.good / name, place, "--by", "text", "--text", place.good / "text", *words)


def _tokenizer(change: Callable[[dict[str, Any]], Any]) -> Callable[[Place], list[object]]:
    def make(place: Place) -> list[object]:
        folder = place.model()
        path = folder / "tokenizer.json"
        data = json.loads(path.read_text())
        change(data)
        path.write_text(json.dumps(data))
        return _trim(folder, place)

    return make


def _words_only(data: dict[str, Any]) -> None:
    vocab = data["model"]["vocab"]
    data["model"] = {"type": "WordLevel", "vocab": vocab, "unk_token": "<pad>"}


def _slow(place: Place) -> list[object]:
    """A tokenizer of which only the files of its slow kind are there."""
    folder = place.model()
    data = json.loads((folder / "tokenizer.json").read_text())["model"]
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.json").write_text(json.dumps(data["vocab"]))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "GPT2Tokenizer"}')
    return _trim(folder, place)


def _tensor(name: str, *shape: int) -> Callable[[Place], list[object]]:
    def make(place: Place) -> list[object]:
        folder = place.model()
        tensors = load_file(folder / SHARD)
        tensors[name] = torch.zeros(*shape)
        save_file(tensors, folder / SHARD, {"format": "pt"})
        return _trim(folder, place)

    return make


def _gguf(place: Place, architecture: str = "llama", **more: Any) -> list[object]:
    path = write_gguf(place.root / "m.gguf", "llama", gguf_model("llama"), **more)
    if architecture != "llama":
        path.write_bytes(path.read_bytes().replace(b"llama", architecture.encode()))
    return _trim(path, place, "--out", place.root / "out.gguf")


def _small(place: Place, *words: object) -> list[object]:
    return _trim(place.good / "model.gguf", place, *words)


FOLDERS = [
    Case("trim: a tokenizer of another kind", _tokenizer(_words_only),
         ("tokenizer.json: model", "BPE, Unigram, WordPiece", "'WordLevel'")),
    Case("trim: a tokenizer without tokenizer.json", _slow,
         ("tokenizer.json", "a fast tokenizer", "no such file")),
    Case("trim: another tensor of the vocabulary's size", _tensor("model.bias_of_ids", 1, MORE[0]),
         ("tensor model.bias_of_ids", "cannot be trimmed")),
    Case("trim: an id without a row", lambda p: _trim(p.model(eos_token_id=MORE[0]), p),
         ("config.json: id 300", "below the 300 rows")),
    Case("trim: a model that computes with ids", lambda p: _trim(p.model(vocab_offset=290), p),
         ("config.json: vocab_offset", "computes with them")),
    Case("trim: a budget below what stays",
         lambda p: _by_text(p, "model", "--budget", 258), ("budget", "259 rows", "258")),
    Case("trim: an output that is there", lambda p: _trim(p.good / "model", p, "--out",
         p.written("out/thesis.tex").parent), ("{root}/out", "a new folder")),
    Case("trim: a folder into a GGUF file",
         lambda p: _trim(p.good / "model", p, "--out", p.root / "o.gguf"), ("none of GGUF",)),
    Case("trim: no such script", lambda p: _trim(p.good / "model", p, "--also-scripts", "Wxyz"),
         ("'Wxyz'", "ISO 15924")),
]  # fmt: skip

FILES = [
    Case("trim: GGUF of another architecture", lambda p: _gguf(p, "llamb"),
         ("m.gguf", "architecture llamb")),
    Case("trim: GGUF with another tensor of the vocabulary's size",
         lambda p: _gguf(p, extra={"blk.0.more.weight": torch.zeros(*MORE)}),
         ("tensor blk.0.more.weight", "cannot be trimmed")),
    Case("trim: GGUF with another list of the vocabulary's size",
         lambda p: _gguf(p, fields={"tokenizer.ggml.unheard": [*range(MORE[0])]}),
         ("tokenizer.ggml.unheard",)),
    Case("trim: GGUF with an id without a row",
         lambda p: _gguf(p, fields={"tokenizer.ggml.eot_token_id": MORE[0]}),
         ("tokenizer.ggml.eot_token_id", "300")),
    Case("trim: GGUF with a tokenizer of another kind",
         lambda p: _gguf(p, fields={"tokenizer.ggml.model": "rwkv"}), ("m.gguf", "rwkv")),
    Case("trim: GGUF cut short", lambda p: p.cut("model.gguf", 9000, *_trim(
         "FILE", p, "--out", p.root / "out.gguf")), ("model.gguf", "whole GGUF file")),
    Case("trim: GGUF onto itself",
         lambda p: _trim(c := p.copied("model.gguf"), p, "--out", c, "--overwrite"),
         ("another file than those read",)),
    Case("trim: GGUF over a file", lambda p: _small(p, "--out", p.written("mine.gguf")),
         ("mine.gguf", "a new file", "--overwrite")),
    Case("trim: GGUF, a budget below what stays",
         lambda p: _by_text(p, "model.gguf", "--budget", 99, "--out", p.root / "o.gguf"),
         ("budget", "rows")),
]  # fmt: skip

TRIMS = [*FOLDERS, *FILES]
