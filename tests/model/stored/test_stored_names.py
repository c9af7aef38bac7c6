"""The checkpoint decides what is tied, and transformers what stays in float32."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer

import mwanda
from mwanda import InputError, RunOptions
from mwanda.evaluation.texts import TextSet
from mwanda.model.opening import open_decoder
from mwanda.model.run.streamed import StreamedDecoder
from mwanda.model.source import open_model
from tests.pruning.pipeline.helpers import Tiny, tensors, windows_file
from tests.support.walk import build, plain, streamed

HEAD, TABLE = "lm_head.weight", "model.embed_tokens.weight"


def stored_as(source: Path, folder: Path, change: Any, **fields: Any) -> Path:
    """A copy of a folder, with its tensors changed and its config told otherwise."""
    shutil.copytree(source, folder)
    found = change(tensors(folder))
    save_file({n: t.contiguous() for n, t in found.items()}, folder / "model.safetensors",
              {"format": "pt"})  # fmt: skip
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))
    return folder


def names_of(folder: Path) -> list[set[str]]:
    """Names of every weight that goes by several, in the streamed model."""
    with open_model(folder) as source, open_decoder(source, RunOptions()) as decoder:
        found: dict[int, set[str]] = {}
        for name, weight in decoder.model.named_parameters(remove_duplicate=False):
            found.setdefault(id(weight), set()).add(name)
    return [names for names in found.values() if len(names) > 1]


def other(stored: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return stored | {HEAD: stored[TABLE] * 3 + 0.1}


@pytest.fixture
def odd(tiny: Tiny, tmp_path: Path) -> Path:
    """A model whose config ties its head, which is stored and differs."""
    return stored_as(tiny("llama", tied=True), tmp_path / "odd", other)


def test_a_stored_head_that_differs_is_used(odd: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "mwanda"):
        torch.testing.assert_close(streamed(odd), plain(odd), rtol=1e-5, atol=1e-5)
    told = [record.message for record in caplog.records if record.name == "mwanda"]
    assert len(told) == 1
    assert f"ties {HEAD} to {TABLE}" in told[0]
    assert names_of(odd) == []


def test_it_is_written_and_read_back_and_scored(odd: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    mwanda.prune(odd, out=out, calibration=windows_file(tmp_path), sparsity=0.5)
    assert not mwanda.verify(out).problems
    assert torch.equal(tensors(out)[HEAD], tensors(odd)[HEAD])
    torch.testing.assert_close(streamed(out), plain(out), rtol=1e-5, atol=1e-5)
    mwanda.pack(out, tmp_path / "a.mwz", threads=1)
    whole, packed = (
        AutoModelForCausalLM.from_pretrained(out),
        mwanda.load_packed(tmp_path / "a.mwz"),
    )
    assert torch.equal(packed.lm_head.weight, whole.lm_head.weight)
    texts = TextSet("made up", {"de": ["Alle Menschen sind frei."]}, None, "0" * 64)
    tokenizer = AutoTokenizer.from_pretrained(out)
    scored = mwanda.evaluate(out, texts, options=RunOptions(allow_overlap=True))
    in_memory = mwanda.evaluate(whole, texts, tokenizer=tokenizer)
    ids = torch.tensor(
        [[1, *tokenizer("Alle Menschen sind frei.", add_special_tokens=False).input_ids]]
    )
    with torch.no_grad():
        logits = whole(ids).logits[0, :-1]
    expected = nn.functional.cross_entropy(logits, ids[0, 1:], reduction="sum").item()
    assert scored.languages["de"].nll == pytest.approx(expected, rel=1e-5)
    assert in_memory.languages["de"].nll == pytest.approx(expected, rel=1e-5)


def test_an_equal_head_is_held_once(tiny: Tiny, tmp_path: Path) -> None:
    source = tiny("llama", tied=True)
    folder = stored_as(
        source, tmp_path / "m", lambda stored: stored | {HEAD: stored[TABLE].clone()}
    )
    assert names_of(folder) == [{HEAD, TABLE}]
    torch.testing.assert_close(streamed(folder), plain(folder), rtol=1e-5, atol=1e-5)


def test_one_that_differs_in_its_last_number_is_not(tiny: Tiny, tmp_path: Path) -> None:
    def change(stored: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        head = stored[TABLE].clone()
        head[-1, -1] += 1
        return stored | {HEAD: head}

    assert names_of(stored_as(tiny("llama", tied=True), tmp_path / "m", change)) == []


def test_a_head_in_another_dtype_is_used_as_it_is(tiny: Tiny, tmp_path: Path) -> None:
    def change(stored: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return stored | {HEAD: stored[TABLE].to(torch.bfloat16)}

    folder = stored_as(tiny("llama", tied=True), tmp_path / "m", change)
    torch.testing.assert_close(streamed(folder), plain(folder), rtol=1e-5, atol=1e-5)
    assert names_of(folder) == []


def test_a_head_without_its_embedding_is_the_embedding(tiny: Tiny, tmp_path: Path) -> None:
    def change(stored: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {HEAD if name == TABLE else name: tensor for name, tensor in stored.items()}

    folder = stored_as(tiny("llama", tied=True), tmp_path / "m", change)
    assert names_of(folder) == [{HEAD, TABLE}]
    torch.testing.assert_close(streamed(folder), plain(folder), rtol=1e-5, atol=1e-5)


def test_a_head_that_is_not_stored_nor_tied_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    folder = stored_as(
        tiny("llama", tied=True), tmp_path / "m", lambda stored: stored, tie_word_embeddings=False
    )
    with pytest.raises(InputError, match=HEAD):
        streamed(folder)


def test_a_head_beside_a_bare_backbone(tiny: Tiny, tmp_path: Path) -> None:
    def change(stored: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        bare = {name.removeprefix("transformer."): tensor for name, tensor in stored.items()}
        return bare | {HEAD: stored["transformer.wte.weight"] * 2 - 0.1}

    folder = stored_as(tiny("gpt2"), tmp_path / "m", change)
    torch.testing.assert_close(streamed(folder), plain(folder), rtol=1e-5, atol=1e-5)


def test_several_weights_tied_to_one(tmp_path: Path) -> None:
    """BERT's decoder, its bias and the embedding: the bias is stored twice, and differs."""
    source = build("bert", tmp_path / "s")
    table, bias = "bert.embeddings.word_embeddings.weight", "cls.predictions.decoder.bias"

    def change(stored: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        made = stored | {bias: stored["cls.predictions.bias"] + torch.arange(300) / 100}
        return made | {"cls.predictions.decoder.weight": stored[table] * 2}

    folder = stored_as(source, tmp_path / "m", change)
    torch.testing.assert_close(streamed(folder), plain(folder), rtol=1e-5, atol=1e-5)


def test_nothing_is_left_in_the_skeleton(odd: Path) -> None:
    with open_model(odd) as source, open_decoder(source, RunOptions()) as decoder:
        assert isinstance(decoder, StreamedDecoder)
        for head in (False, True):
            with decoder.outside(head=head):
                held = {n for n, p in decoder.model.named_parameters() if not p.is_meta}
            assert (HEAD in held) is head
            assert all(p.is_meta for p in decoder.model.parameters())


def test_routers_are_computed_in_float32(tmp_path: Path) -> None:
    source = build("ernie4_5_moe", tmp_path / "s")
    options = RunOptions(compute_dtype="bfloat16")
    with open_model(source) as opened, open_decoder(opened, options) as decoder:
        kinds: dict[str, torch.dtype] = {}
        for block in decoder.structure.blocks:
            with decoder.block(block.index) as module:
                kinds |= {f"{block.name}.{n}": t.dtype for n, t in module.state_dict().items()}
    loaded = AutoModelForCausalLM.from_pretrained(source, dtype=torch.bfloat16).state_dict()
    assert kinds == {name: loaded[name].dtype for name in kinds}
    assert {torch.float32, torch.bfloat16} == set(kinds.values())


def test_what_is_pruned_in_bf16_keeps_the_dtype_it_is_stored_in(tmp_path: Path) -> None:
    source = build("ernie4_5_moe", tmp_path / "s")
    mwanda.prune(
        source, out=tmp_path / "out", calibration=windows_file(tmp_path), sparsity=0.5,
        options=RunOptions(compute_dtype="bfloat16"),
    )  # fmt: skip
    assert {t.dtype for t in tensors(tmp_path / "out").values()} == {torch.float32}


def test_rotary_tables_are_not_computed_in_bf16(tmp_path: Path) -> None:
    source = build("gptj", tmp_path / "s")
    loaded = dict(
        AutoModelForCausalLM.from_pretrained(source, dtype=torch.bfloat16).named_buffers()
    )
    options = RunOptions(compute_dtype="bfloat16")
    with open_model(source) as opened, open_decoder(opened, options) as decoder:
        ours = dict(decoder.model.named_buffers())
    assert ours.keys() == loaded.keys()
    for name, buffer in ours.items():
        assert torch.equal(buffer, loaded[name]), name
