"""Models with code of their own: the causal class around the backbone, followed or refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

import mwanda
from mwanda import InputError, RunOptions
from mwanda.cli import main
from tests.pruning.pipeline.helpers import Tiny, windows_file
from tests.support.text import write_corpus

CODE = """import torch
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.modeling_outputs import CausalLMOutputWithPast

class XConfig(LlamaConfig):
    model_type = "own"

class XForCausalLM(LlamaForCausalLM):
    config_class = XConfig
    def forward(self, input_ids=None, labels=None, **kwargs):
        o = self.model({inputs}).last_hidden_state
        l = self.lm_head({hidden})
        {then}
        return {output}
"""
PLAIN = {
    "inputs": "input_ids=input_ids, use_cache=False",
    "hidden": "o",
    "then": "pass",
    "output": "CausalLMOutputWithPast(logits=l)",
}
INPUTS = {
    "scaled": "inputs_embeds=self.model.embed_tokens(input_ids) * 3",
    "noise": "inputs_embeds=self.model.embed_tokens(input_ids).roll(1, 1)",
    "places": "input_ids=input_ids, position_ids=3 + torch.arange(input_ids.shape[1])[None]",
    "other tokens": "input_ids=(input_ids + 1) % 300",
    "no such argument": "tokens=input_ids",
}
OUTPUTS = {
    "a position's scale": {"then": "l = l * torch.linspace(1, 2, l.shape[1])[None, :, None]"},
    "a mean over positions": {"hidden": "o - o.mean(1, keepdim=True)"},
    "the last position": {"hidden": "o[:, -1:]"},
    "two layers": {"hidden": "self.model(input_ids, output_hidden_states=True).hidden_states[1]"},
    "no logits": {"output": "{'loss': 1}"},
}
SAME = {
    "as transformers": {},
    "its own embedding": {"inputs": "inputs_embeds=self.model.embed_tokens(input_ids)"},
    "a tuple": {"output": "(l,)"},
    "logits alone": {"output": "l"},
    "capped": {"then": "l = 3 * torch.tanh(l / 3)"},
    "hidden from the class": {"hidden": "torch.nn.functional.normalize(o, dim=-1) * 7"},
    "an entry masked": {"then": "l[..., 290:] = float('-inf')"},
}
OPTIONS = RunOptions(trust_remote_code=True, compute_dtype="float32")


def own(tiny: Tiny, folder: Path, **parts: str) -> Path:
    """A tiny Llama that brings a causal class of its own."""
    shutil.copytree(tiny("llama"), folder)
    (folder / "own.py").write_text(CODE.format(**PLAIN | parts))
    path = folder / "config.json"
    config = json.loads(path.read_text()) | {
        "model_type": "own",
        "architectures": ["XForCausalLM"],
        "auto_map": {"AutoConfig": "own.XConfig", "AutoModelForCausalLM": "own.XForCausalLM"},
    }
    path.write_text(json.dumps(config))
    return folder


def texts(folder: Path) -> dict[str, list[str]]:
    write_corpus(folder / "test", ["de"], lines=3)
    return {"de": (folder / "test" / "de.txt").read_text().splitlines()[:3]}


def evaluated(model: Any, folder: Path, options: RunOptions = OPTIONS) -> list[float]:
    found = mwanda.evaluate(model, texts(folder), options=options)
    return [*found.languages["de"].sentence_nll]


@torch.no_grad()
def plain_nll(source: Path, lines: list[str]) -> list[float]:
    model = AutoModelForCausalLM.from_pretrained(source, trust_remote_code=True).eval()
    tokenizer = AutoTokenizer.from_pretrained(source)
    found = []
    for line in lines:
        ids = torch.tensor([tokenizer(line).input_ids])
        output = model(input_ids=ids, return_dict=True)
        logits = output if isinstance(output, torch.Tensor) else output[0]
        loss = nn.functional.cross_entropy(logits[0, :-1], ids[0, 1:], reduction="sum")
        found.append(loss.item())
    return found


@pytest.mark.parametrize("name", INPUTS)
def test_a_class_that_changes_its_inputs_is_refused(tiny: Tiny, tmp_path: Path, name: str) -> None:
    source = own(tiny, tmp_path / "source", inputs=INPUTS[name])
    with pytest.raises(InputError, match="changes its inputs or outputs around the backbone"):
        evaluated(source, tmp_path)
    with pytest.raises(InputError, match="model class XForCausalLM"):
        mwanda.prune(
            source, out=tmp_path / "out", calibration=windows_file(tmp_path), criterion="wanda",
            allocation="uniform", options=RunOptions(trust_remote_code=True),
        )  # fmt: skip
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", OUTPUTS)
def test_a_class_that_changes_its_outputs_is_refused(
    tiny: Tiny, tmp_path: Path, name: str, dtype: str
) -> None:
    source = own(tiny, tmp_path / "source", **OUTPUTS[name])
    options = RunOptions(trust_remote_code=True, compute_dtype=dtype)
    with pytest.raises(InputError, match="changes its inputs or outputs around the backbone"):
        evaluated(source, tmp_path, options)


@pytest.mark.parametrize("name", SAME)
def test_a_class_of_its_own_is_evaluated_as_it_is(tiny: Tiny, tmp_path: Path, name: str) -> None:
    source = own(tiny, tmp_path / "source", **SAME[name])
    expected = plain_nll(source, texts(tmp_path)["de"])
    assert evaluated(source, tmp_path) == pytest.approx(expected, rel=1e-5)


class Scaled(LlamaForCausalLM):
    """Embeds by itself, as a maximal-update parametrisation may."""

    def forward(self, input_ids: torch.Tensor, **kwargs: Any) -> Any:
        return super().forward(inputs_embeds=3 * self.model.embed_tokens(input_ids), **kwargs)


def test_a_model_in_memory_is_looked_at_as_well(tiny: Tiny, tmp_path: Path) -> None:
    model = Scaled.from_pretrained(tiny("llama"))
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    with pytest.raises(InputError, match="model class Scaled"):
        mwanda.prune(
            model, calibration=windows_file(tmp_path), criterion="wanda", allocation="uniform"
        )
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())
    tokenizer = AutoTokenizer.from_pretrained(tiny("llama"))
    with pytest.raises(InputError, match="model class Scaled"):
        mwanda.evaluate(model, texts(tmp_path), tokenizer=tokenizer)


def test_what_own_code_raises_is_one_line(
    tiny: Tiny, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, corpus = own(tiny, tmp_path / "source"), tmp_path / "test"
    raising = """
    def __init__(self, config):
        super().__init__(config)
        self.model.layers[0].mlp.register_forward_pre_hook(lambda *_: torch.nothing)
"""
    (source / "own.py").write_text(CODE.format(**PLAIN) + raising)
    texts(tmp_path)
    with pytest.raises(SystemExit) as left:
        main(["eval", f"{source}", "--text", f"{corpus}", "--no-generate", "--trust-remote-code"])
    assert left.value.code == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: AttributeError")
