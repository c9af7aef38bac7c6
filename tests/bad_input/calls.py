"""Calls from Python with what cannot be, refused by one typed error."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import mwanda
from mwanda import RunOptions
from tests.bad_input.case import Case
from tests.bad_input.place import Place

__all__ = ["CALLS"]

SHORT: dict[str, Any] = {
    "criterion": "wanda", "allocation": "uniform", "windows": 2, "window_length": 32,
}  # fmt: skip


def _case(what: str, call: Callable[[Place], object], *says: str) -> Case:
    return Case(f"call: {what}", lambda place: lambda: call(place), says)


TEXTS: dict[str, tuple[Callable[[], Any], str]] = {
    "a list": (lambda: ["Ein Satz.", "Noch einer."], "found a list; say which language"),
    "a generator": (lambda: (s for s in ["Ein Satz."]), "found a generator; say which language"),
    "a set": (lambda: {"Ein Satz."}, "found a set; say which language"),
    "a number": (lambda: 7, "found a int"),
    "bytes": (lambda: b"text", "found a bytes"),
    "no language": (dict, "given texts: expected a folder"),
    "a text for texts": (
        lambda: {"de": "Ein Satz."}, "given texts, de: expected a list of texts, found a str"),
    "a number for texts": (
        lambda: {"de": 7}, "given texts, de: expected a list of texts, found a int"),
    "no texts": (lambda: {"de": []}, "given texts, de: expected text, found none"),
    "blank texts": (lambda: {"de": ["", " "]}, "given texts, de: expected text, found none"),
    "a number among texts": (
        lambda: {"de": ["a", 7]},
        "given texts, de, 2: expected a string in field 'text', found int"),
    "None among texts": (lambda: {"de": [None]}, "given texts, de: expected text, found none"),
    "a language twice": (
        lambda: {"de": ["a"], "deu": ["b"]}, "expected each language once, found de twice"),
    "no such language": (lambda: {"klingonisch": ["a"]}, "language 'klingonisch'"),
    "a number for a language": (lambda: {7: ["a"]}, "expected tags as keys, found 7"),
}  # fmt: skip
READERS: dict[str, Callable[[Place, Any], object]] = {
    "prune": lambda p, t: mwanda.prune(p.good / "model", out=p.out, calibration=t, **SHORT),
    "collect_statistics": lambda p, t: mwanda.collect_statistics(
        p.good / "model", p.root / "s.safetensors", calibration=t),
    "plan": lambda p, t: mwanda.plan(p.good / "model", recipe={}, calibration=t),
    "read_texts": lambda p, t: mwanda.read_texts(t),
    "evaluate": lambda p, t: mwanda.evaluate(p.good / "model", t),
    "read_parallel": lambda p, t: mwanda.read_parallel(t, "de-sw"),
}  # fmt: skip

LANGUAGES: tuple[Any, ...] = (
    7, b"de", {"de": 1}, [7], ["de", None], [], "", ["de", "deu"], ["xx1"], [["de"]], ["de,sw"],
)  # fmt: skip
CHOOSERS: dict[str, Callable[[Place, Any], object]] = {
    "read_texts": lambda p, tags: mwanda.read_texts(p.good / "text", tags),
    "evaluate": lambda p, tags: mwanda.evaluate(p.good / "model", p.good / "text", languages=tags),
    "prune": lambda p, tags: mwanda.prune(
        p.good / "model", out=p.out, calibration=p.good / "text", languages=tags),
}  # fmt: skip

TOKENIZERS: tuple[tuple[Any, str], ...] = (
    (None, "found none"), (7, "found a int"), (torch.nn.Linear(1, 1), "found a Linear"),
    (lambda text: text, "found a function"), ("/no/where", "tokenizer files"),
    ("org/model", "no such folder"), (__file__, "the folder that its files are in"),
    (dict, "found a type"),
)  # fmt: skip


def _memory(place: Place) -> Any:
    return AutoModelForCausalLM.from_pretrained(place.good / "model")


TOKENIZED: dict[str, Callable[[Place, Any], object]] = {
    "prune": lambda p, t: mwanda.prune(
        _memory(p), tokenizer=t, calibration=p.good / "text", **SHORT),
    "evaluate": lambda p, t: mwanda.evaluate(_memory(p), p.good / "text", tokenizer=t),
}  # fmt: skip
ON_DISK: dict[str, Callable[[Place, Any], object]] = {
    "prune": lambda p, t: mwanda.prune(
        p.good / "model", out=p.out, calibration=p.good / "text", tokenizer=t),
    "evaluate": lambda p, t: mwanda.evaluate(p.good / "model", p.good / "text", tokenizer=t),
}  # fmt: skip

CONFIGURED: dict[str, Callable[..., object]] = {
    "prune": lambda p, **more: mwanda.prune(p.good / "model", out=p.out, **more),
    "evaluate": lambda p, **more: mwanda.evaluate(p.good / "model", p.good / "text", **more),
    "quantise": lambda p, **more: mwanda.quantise(p.good / "model", p.out, **more),
}
OPTIONS: tuple[tuple[dict[str, Any], str], ...] = (
    ({"device": 0}, "device: expected text, found 0"),
    ({"batch_tokens": 0}, "batch_tokens: expected a whole number from 1, found 0"),
    ({"batch_tokens": "64"}, "batch_tokens: expected a whole number"),
    ({"activation_memory": "512MiB"}, "activation_memory: expected a whole number"),
    ({"overwrite": "no"}, "overwrite: expected True or False, found 'no'"),
)
NUMBERS: tuple[tuple[str, Any], ...] = (
    ("sentences", 0), ("sentences", "3"), ("seed", -1), ("seed", None), ("max_length", 1),
    ("generated", True), ("sentences", 2.5),
)  # fmt: skip

FILE = "windows.safetensors"
PATHS: dict[str, Callable[[Place, Any], object]] = {
    "prune, out": lambda p, x: mwanda.prune(
        p.good / "model", out=x or 0, calibration=p.good / FILE),
    "prune, statistics": lambda p, x: mwanda.prune(
        p.good / "model", out=p.out, statistics=x or 0),
    "plan": lambda p, x: mwanda.plan(x, recipe={}),
    "collect_statistics, model": lambda p, x: mwanda.collect_statistics(
        x, p.root / "o.safetensors", calibration=p.good / FILE),
    "collect_statistics, out": lambda p, x: mwanda.collect_statistics(
        p.good / "model", x, calibration=p.good / FILE),
    "quantise, model": lambda p, x: mwanda.quantise(x, p.out),
    "quantise, out": lambda p, x: mwanda.quantise(p.good / "model", x),
    "pack": lambda p, x: mwanda.pack(x, p.root / "o.mwz"),
    "verify": lambda p, x: mwanda.verify(x),
    "diff": lambda p, x: mwanda.diff(p.good / "model", x),
    "extract_masks": lambda p, x: mwanda.extract_masks(x, p.root / "o.safetensors"),
    "apply_masks": lambda p, x: mwanda.apply_masks(x, p.good / "model", p.out),
    "load_packed": lambda p, x: mwanda.load_packed(x),
    "push": lambda p, x: mwanda.push(x, "a/b"),
    "show_statistics": lambda p, x: mwanda.show_statistics(x),
    "start_study": lambda p, x: mwanda.start_study(x, p.out),
}  # fmt: skip

CALLS = [
    *(_case(f"{name}, {what} for a text", lambda p, c=call, m=make: c(p, m()),
            *(() if what == "a generator" else (says,)))
      for what, (make, says) in TEXTS.items() for name, call in READERS.items()),
    *(_case(f"{name}, languages={tags!r}", lambda p, c=call, t=tags: c(p, t), "language")
      for tags in LANGUAGES for name, call in CHOOSERS.items()),
    *(_case(f"{name}, tokenizer {number}", lambda p, c=call, g=given: c(p, g), "tokenizer", says)
      for number, (given, says) in enumerate(TOKENIZERS) for name, call in TOKENIZED.items()),
    *(_case(f"{name}, a tokenizer for a folder",
            lambda p, c=call: c(p, AutoTokenizer.from_pretrained(p.good / "model")),
            "none for a model on disk, which has its own")
      for name, call in ON_DISK.items()),
    *(_case(f"prune, recipe={given!r}", lambda p, g=given: CONFIGURED["prune"](p, recipe=g),
            "recipe: expected mwanda.Recipe")
      for given in (7, [("sparsity", 0.5)], b"r.yaml")),
    _case("prune, an unknown field",
          lambda p: CONFIGURED["prune"](p, recipe={"sparsty": 0.5}), "unknown field"),
    *(_case(f"RunOptions, {fields}", lambda _, f=fields: RunOptions(**f), says)
      for fields, says in OPTIONS),
    *(_case(f"{name}, options that are a dict",
            lambda p, c=call: c(p, options={"device": "cpu"}),
            "options: expected mwanda.RunOptions")
      for name, call in CONFIGURED.items()),
    *(_case(f"evaluate, {name}={given!r}",
            lambda p, n=name, g=given: CONFIGURED["evaluate"](p, **{n: g}),
            f"{name}: expected a whole number from")
      for name, given in NUMBERS),
    *(_case(f"{name}, the path {given!r}", lambda p, c=call, g=given: c(p, g), "expected a path")
      for name, call in PATHS.items() for given in (None, 7, b"x", ["x"])),
    _case("merge_statistics, one file",
          lambda p: mwanda.merge_statistics("ab.safetensors", p.root / "o.safetensors"),
          "two files or more, found 1"),
]  # fmt: skip
