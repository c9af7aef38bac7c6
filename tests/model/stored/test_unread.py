"""Stored tensors that nothing reads: said in one line, and refused where they are whole blocks."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import mwanda
from mwanda import InputError, RunOptions
from mwanda.model.opening import open_decoder
from mwanda.model.source import open_model
from tests.pruning.pipeline.helpers import Tiny, tensors, windows_file, windows_object
from tests.support.text import write_corpus
from tests.support.walk import build, classes, streamed

Stored = dict[str, torch.Tensor]
BIAS = "model.layers.{}.self_attn.q_proj.bias"
SAID = "read by nothing in LlamaForCausalLM: "
LEFTOVERS: dict[str, Callable[[Stored], Stored]] = {
    "nothing": lambda _: {},
    "rotary frequencies": lambda _: {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(8)},
    "a tied head": lambda now: {"lm_head.weight": now["model.embed_tokens.weight"].clone()},
}


def changed(source: Path, folder: Path, more: Callable[[Stored], Stored], **fields: Any) -> Path:
    """A copy of a folder with more tensors, its config told otherwise."""
    shutil.copytree(source, folder)
    now = tensors(folder)
    save_file(now | more(now), folder / "model.safetensors", {"format": "pt"})
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))
    return folder


def told(folder: Path, caplog: pytest.LogCaptureFixture) -> str:
    caplog.clear()
    with (
        caplog.at_level(logging.WARNING, "mwanda"),
        open_model(folder) as source,
        open_decoder(source, RunOptions()),
    ):
        pass
    return "\n".join(record.getMessage() for record in caplog.records)


def biases(_: Stored) -> Stored:
    return {BIAS.format(k): torch.ones(48) for k in range(3)}


def test_every_job_says_it(tiny: Tiny, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = changed(tiny("llama"), tmp_path / "source", biases)
    write_corpus(tmp_path / "text", ["de"], lines=4)
    texts, windows = mwanda.read_texts(tmp_path / "text"), windows_file(tmp_path)
    given: dict[str, Any] = {"criterion": "wanda", "allocation": "uniform"}
    jobs: dict[str, Callable[[], object]] = {
        "prune": lambda: mwanda.prune(
            source, out=tmp_path / "out", calibration=windows_object(), **given
        ),
        "stats": lambda: mwanda.collect_statistics(
            source, out=tmp_path / "s.safetensors", calibration=windows
        ),
        "plan": lambda: mwanda.plan(source, recipe=mwanda.Recipe.build(given), calibration=windows),
        "eval": lambda: mwanda.evaluate(source, texts),
    }
    for name, job in jobs.items():
        caplog.clear()
        with caplog.at_level(logging.WARNING, "mwanda"):
            job()
        said = [r.getMessage() for r in caplog.records if SAID in r.getMessage()]
        assert len(said) == 1, name
        assert f"3 stored tensors are {SAID}{BIAS.format(0)}, " in said[0]
    assert torch.equal(tensors(tmp_path / "out")[BIAS.format(2)], torch.ones(48))


def test_weights_of_another_class_are_named(
    tiny: Tiny, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fields = {"model_type": "llama", "architectures": ["LlamaForCausalLM"]}
    source = changed(tiny("qwen3"), tmp_path / "source", lambda _: {}, **fields)
    said = told(source, caplog)
    assert "6 stored tensors" in said
    assert "model.layers.0.self_attn.q_norm.weight, " in said
    assert said.count(".weight") == 3
    assert ", …; check that config.json" in said


@pytest.mark.parametrize("name", LEFTOVERS)
def test_what_transformers_passes_over_is_not_told(
    tiny: Tiny, tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    source = changed(tiny("llama", tied=True), tmp_path / "source", LEFTOVERS[name])
    assert told(source, caplog) == ""


def test_buffers_of_old_checkpoints_are_not_told(
    tiny: Tiny, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def masks(_: Stored) -> Stored:
        return {f"transformer.h.{k}.attn.bias": torch.ones(1, 1, 8, 8) for k in range(3)}

    assert told(changed(tiny("gpt2"), tmp_path / "source", masks), caplog) == ""


def repeated(prefix: str, count: int, *more: str) -> Callable[[Stored], Stored]:
    """Copies of block 0 behind the last, with tensors of their own."""

    def make(now: Stored) -> Stored:
        block = {n: t for n, t in now.items() if n.startswith(f"{prefix}0.")}
        found = {
            name.replace(f"{prefix}0.", f"{prefix}{3 + k}."): tensor.clone()
            for name, tensor in block.items()
            for k in range(count)
        }
        return found | {f"{prefix}3.{name}": torch.ones(4) for name in more}

    return make


@pytest.mark.parametrize(
    ("family", "prefix", "count", "says"),
    [
        ("llama", "model.layers.", 2, "nothing reads model.layers.3 to model.layers.4"),
        ("llama", "model.layers.", 1, "nothing reads model.layers.3;"),
        ("gpt2", "transformer.h.", 1, "nothing reads transformer.h.3;"),
    ],
)
def test_more_blocks_than_the_config_says_are_refused(
    tiny: Tiny, tmp_path: Path, family: str, prefix: str, count: int, says: str
) -> None:
    source = changed(tiny(family), tmp_path / "source", repeated(prefix, count))
    with pytest.raises(InputError, match=f"as many layers as are stored, {3 + count}") as caught:
        streamed(source)
    assert "found 3; " in str(caught.value)
    assert says in str(caught.value)


def test_blocks_stored_without_the_backbone_s_name_count(tiny: Tiny, tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(tiny("gpt2"), source)
    bare = {name.removeprefix("transformer."): t for name, t in tensors(source).items()}
    save_file(bare, source / "model.safetensors", {"format": "pt"})
    streamed(source)
    with pytest.raises(InputError, match=r"nothing reads transformer\.h\.3"):
        streamed(changed(source, tmp_path / "more", repeated("h.", 1)))


def test_a_block_that_predicts_later_tokens_is_no_block_too_many(
    tiny: Tiny, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    more = repeated("model.layers.", 1, "eh_proj.weight", "enorm.weight")
    said = told(changed(tiny("llama"), tmp_path / "source", more), caplog)
    assert "11 stored tensors are read by nothing" in said


def test_such_blocks_that_a_class_names_are_not_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = build(classes()["DeepseekV3ForCausalLM"], tmp_path / "source")
    layers = json.loads((source / "config.json").read_text())["num_hidden_layers"]

    def later(now: Stored) -> Stored:
        first = f"model.layers.{layers - 1}."
        block = {n: t for n, t in now.items() if n.startswith(first)}
        return {n.replace(first, "model.layers.61."): t.clone() for n, t in block.items()}

    assert told(changed(source, tmp_path / "later", later), caplog) == ""


@pytest.mark.filterwarnings("ignore")  # a class may warn of whatever it likes
@pytest.mark.parametrize("name", ["Gemma3ForConditionalGeneration", "MixtralForCausalLM"])
def test_towers_and_experts_are_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    assert told(build(classes()[name], tmp_path / "source"), caplog) == ""
