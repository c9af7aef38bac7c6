"""Models, texts and places that cannot be used: each named, before anything is written."""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import BertConfig, T5Config

from tests.cli.helpers import SMALL, Bench
from tests.model.helpers import INDEX

UP = "model.layers.1.mlp.up_proj.weight"


def index(folder: Path, **places: str) -> None:
    """Give a folder of one file an index instead."""
    (folder / "model.safetensors").rename(folder / "part.safetensors")
    weight_map = {"model.norm.weight": "part.safetensors", **places}
    (folder / INDEX).write_text(json.dumps({"weight_map": weight_map}))


# --- the model ---


@pytest.mark.parametrize("name", ["nothing", "no/such/folder", "./model", "a\0b"])
def test_no_such_model(bench: Bench, name: str) -> None:
    bench.refuse(bench.prune(model=name), "a model folder, a GGUF file", "found nothing there")
    bench.refuse(["plan", *bench.prune()[4:], name], "found nothing there")
    bench.refuse(["eval", name, "--text", bench.corpus], "found nothing there")


def test_a_hub_id_out_of_reach(bench: Bench) -> None:
    bench.refuse(bench.prune(model="org/name"), "org/name", "hub", "the spelling")


def test_a_file_that_is_no_model(bench: Bench) -> None:
    bench.refuse(bench.prune(model=bench.source / "config.json"), "config.json", "another kind")


def test_no_safetensors(bench: Bench) -> None:
    folder = bench.model()
    (folder / "model.safetensors").unlink()
    bench.refuse(bench.prune(model=folder), str(folder), "model.safetensors", "no safetensors")


def test_only_a_pickle(bench: Bench) -> None:
    folder = bench.model()
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    bench.refuse(bench.prune(model=folder), "pytorch_model.bin", "pickle", "save_pretrained")


@pytest.mark.parametrize("cut", [1, 100_000, 340_000, None])
def test_a_truncated_shard(bench: Bench, cut: int | None) -> None:
    folder = bench.model()
    path = folder / "model.safetensors"
    os.truncate(path, 0 if cut is None else path.stat().st_size - cut)
    bench.refuse(bench.prune(model=folder), str(path), "truncated", "download it again")


@pytest.mark.parametrize(
    ("shard", "says"),
    [
        ("gone.safetensors", ("gone.safetensors", "no such file", "download the missing")),
        ("../../x.safetensors", ("../../x.safetensors", "a path that leaves it")),
        ("/etc/hostname.safetensors", ("/etc/hostname", "a path that leaves it")),
        ("link.safetensors", ("link.safetensors", "a path that leaves it")),
    ],
)
def test_an_index_that_names_what_it_must_not(
    bench: Bench, shard: str, says: tuple[str, ...]
) -> None:
    folder = bench.model()
    index(folder, **{UP: shard})
    (folder / "link.safetensors").symlink_to(bench.source / "model.safetensors")
    bench.refuse(bench.prune(model=folder), *says)


def test_an_index_that_names_a_tensor_its_shard_lacks(bench: Bench) -> None:
    folder = bench.model()
    index(folder, strange="part.safetensors")
    bench.refuse(bench.prune(model=folder), INDEX, "strange", "part.safetensors")


def test_a_weight_that_is_missing(bench: Bench) -> None:
    folder = bench.reweighted(lambda tensors: tensors.pop(UP))
    bench.refuse(bench.prune(model=folder), UP, "no tensor of that name", "incomplete")


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"hidden_size": 64}, ("model.safetensors", "[300, 64]", "[300, 48]", "config.json")),
        ({"vocab_size": 10}, ("embed_tokens", "[10, 48]", "[300, 48]")),
        ({"num_hidden_layers": 4}, ("model.layers.3.", "no tensor of that name")),
        ({"num_hidden_layers": 0}, ("LlamaForCausalLM", "0 layers", "ModuleList")),
        ({"num_attention_heads": 0}, ("config",)),
        ({"hidden_size": "wide"}, ("config.json", "hidden_size", "wide")),
        ({"model_type": "nope"}, ("config.json", "nope", "upgrade transformers")),
        ({"quantization_config": {"quant_method": "awq"}}, ("config.json", "(awq)", "original")),
    ],
    ids=str,
)
def test_a_config_that_does_not_fit(
    bench: Bench, config: dict[str, Any], says: tuple[str, ...]
) -> None:
    bench.refuse(bench.prune(model=bench.model(**config)), *says)


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"\xff"])
def test_a_config_that_is_no_json(bench: Bench, raw: bytes) -> None:
    folder = bench.model()
    (folder / "config.json").write_bytes(raw)
    bench.refuse(bench.prune(model=folder), f"{folder}/config.json", "expected")


def test_no_config(bench: Bench) -> None:
    folder = bench.model()
    (folder / "config.json").unlink()
    bench.refuse(bench.prune(model=folder), f"{folder}/config.json", "no such file")


@pytest.mark.parametrize(
    ("config", "name"),
    [(BertConfig(), "BertForMaskedLM"), (T5Config(), "T5ForConditionalGeneration")],
)
def test_no_decoder(bench: Bench, config: Any, name: str) -> None:
    folder = bench.model()
    config.architectures = [name]
    config.save_pretrained(folder)
    bench.refuse(bench.prune(model=folder), f"{folder}/config.json", "decoder", name)


@pytest.mark.parametrize("dtype", [torch.int8, torch.float8_e4m3fn])
def test_weights_that_are_quantised(bench: Bench, dtype: torch.dtype) -> None:
    folder = bench.reweighted(lambda t: t.update({UP: t[UP].to(dtype)}))
    name = str(dtype).removeprefix("torch.")
    bench.refuse(bench.prune(model=folder), UP, "bf16", f"quantised weights in {name}", "original")


@pytest.mark.parametrize("raw", [None, b"{"])
def test_a_tokenizer_that_is_missing_or_broken(bench: Bench, raw: bytes | None) -> None:
    folder = bench.model()
    for path in folder.glob("tokenizer*"):
        path.unlink()
    if raw is not None:
        (folder / "tokenizer.json").write_bytes(raw)
    bench.refuse(bench.prune(model=folder), f"{folder}: tokenizer", "copy tokenizer.json")


@pytest.mark.parametrize("words", [["--criterion", "wanda"], ["--criterion", "magnitude"]])
def test_weights_that_are_not_finite_end_the_work(bench: Bench, words: list[str]) -> None:
    folder = bench.reweighted(lambda t: t[UP].__setitem__((0, 0), float("nan")))
    bench.refuse(bench.prune(*words, model=folder), "linear model.layers.1.mlp.", "NaN", code=1)


# --- text ---


def test_no_such_text(bench: Bench) -> None:
    words = bench.prune("--calibration", bench.root / "no")
    bench.refuse(words, str(bench.root / "no"), "expected a folder", "found nothing there")


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (b"", ("de.txt", "not blank", "found none")),
        (b" \n\t\n", ("de.txt", "not blank", "found none")),
        (b"gut\nschl\xe9cht\n", ("de.txt:2", "UTF-8", "byte 0xe9 at column 5", "iconv")),
        (b"kurz\n", ("'de'", "62 tokens", "2 windows of 32", "found 5;", "add text")),
    ],
)
def test_a_text_that_cannot_be_used(bench: Bench, raw: bytes, says: tuple[str, ...]) -> None:
    words = bench.prune("--calibration", bench.text(raw))
    bench.refuse(words, *says)


def test_a_folder_without_languages(bench: Bench) -> None:
    words = bench.prune("--calibration", bench.text(b"x", "thesis.txt"))
    bench.refuse(words, "<tag>.txt", "thesis.txt")


def test_too_little_text_is_said_for_every_language(bench: Bench) -> None:
    ran = bench.refuse(bench.prune("--windows", 900), "add text", lines=2)
    for line, tag in zip(ran.err.splitlines(), ("de", "sw"), strict=True):
        assert f"'{tag}': expected 27900 tokens of text for 900 windows of 32, found " in line


def test_windows_of_another_tokenizer(bench: Bench) -> None:
    path = bench.root / "w.safetensors"
    assert bench.run("windows", bench.source, "--out", path, *bench.prune()[4:]).code == 0
    names = ("model.embed_tokens.weight", "lm_head.weight")
    folder = bench.reweighted(
        lambda t: t.update({n: t[n][:100].clone() for n in names}), vocab_size=100
    )
    words = bench.prune("--calibration", path, model=folder, calibrated=False)
    bench.refuse(words, "de", "vocabulary of 100", "found 1 to 2", "tokenizer")
    path.write_bytes(path.read_bytes()[:99])
    bench.refuse(words, str(path), "safetensors")
    path.unlink()
    bench.refuse(words, str(path), "no such file")


def test_evaluation_text_that_calibrated(bench: Bench, pruned: Path) -> None:
    for tag in ("de", "sw"):
        ran = bench.run("eval", pruned, "--text", bench.corpus, "--languages", tag)
        assert ran.code == 2
        assert ran.out == ""
        line = ran.err.splitlines()[0]
        assert line.startswith(f"error: {bench.corpus}, {tag}: expected text")
        assert "that share sentences with it" in line
        assert "--allow-overlap" in ran.err


# --- the output ---


def test_an_output_that_exists(bench: Bench) -> None:
    bench.out.mkdir()
    bench.refuse(bench.prune(), str(bench.out), "a new folder", "--overwrite")
    bench.refuse(["plan", *bench.prune()[1:]], str(bench.out), "a new folder", "--overwrite")
    (bench.out / "thesis.tex").write_text("years")
    bench.refuse(bench.prune("--overwrite"), str(bench.out), "mwanda.json", "thesis.tex")


def test_the_source_as_output(bench: Bench) -> None:
    folder = bench.model()
    (folder / "mwanda.json").write_text("{}")
    words = ["prune", folder, "--calibration", bench.corpus, *SMALL, "--overwrite", "--out"]
    bench.refuse([*words, folder], str(folder), "another folder", "the same")
    bench.refuse([*words, bench.root], str(bench.root), "another folder", "holds it")
    (bench.root / "link").symlink_to(folder)
    bench.refuse([*words, bench.root / "link"], "another folder", "the same")


def test_a_place_that_cannot_be_written(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    given = bench.prune()
    given[3] = bench.root / "no" / "out"
    bench.refuse(given, str(bench.root / "no"), "no such folder", "make the folder")
    (bench.root / "file").touch()
    given[3] = bench.root / "file" / "out"
    bench.refuse(given, str(bench.root / "file"), "found a file")
    given[3] = bench.root / ("x" * 250)
    bench.refuse(given, "long")

    def refuse_to_write(*_: Any, **__: Any) -> None:
        raise OSError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(tempfile, "mkdtemp", refuse_to_write)
    bench.refuse(bench.prune(), str(bench.root), "can be written", "Permission denied", "--out")


def test_a_disk_that_is_full(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    real = shutil.disk_usage(bench.root)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: real._replace(free=1000))
    bench.refuse(bench.prune(), "GB of free disk", "found 0.00 GB", "free some space")


def test_windows_over_a_file(bench: Bench) -> None:
    words = ["windows", bench.source, *bench.prune()[4:], "--out"]
    there = bench.root / "there.safetensors"
    there.touch()
    bench.refuse([*words, there], "a new file", "--overwrite")
    bench.refuse([*words, there, "--overwrite"], str(there), "a windows file")
    shard = bench.source / "model.safetensors"
    bench.refuse([*words, shard, "--overwrite"], str(shard), "a windows file")
    bench.refuse([*words, bench.root], "ending in .safetensors")
    absent = bench.root / "no" / "w.safetensors"
    bench.refuse([*words, absent], str(bench.root / "no"), "a folder to write")


# --- verify ---


def test_verify_of_what_is_not_ours(bench: Bench) -> None:
    bench.refuse(["verify", bench.source], "mwanda.json", "that mwanda wrote")
    bench.refuse(["verify", bench.root / "no"], str(bench.root / "no"), "no folder")


def test_verify_of_a_manifest_that_is_damaged(bench: Bench, pruned: Path) -> None:
    folder = bench.root / "copy"
    shutil.copytree(pruned, folder)
    whole = json.loads((folder / "mwanda.json").read_text())
    for text in (
        "",
        "[]",
        "{}",
        json.dumps({**whole, "linears": 5}),
        json.dumps({**whole, "x": 1}),
    ):
        (folder / "mwanda.json").write_text(text)
        bench.refuse(["verify", folder], f"{folder}/mwanda.json", "expected", "found")
