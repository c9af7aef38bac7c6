"""Models in memory, classes nobody has heard of, families that cannot be streamed, damage."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM, LlamaModel
from transformers.modeling_outputs import BaseModelOutputWithPast
from transformers.models.llama.modeling_llama import LlamaDecoderLayer

import mwanda
from mwanda import DataError, InputError
from tests.pruning.pipeline.helpers import (
    Tiny,
    masks_of,
    memory_masks,
    same_masks,
    tensors,
    windows_file,
    windows_object,
)
from tests.support import oracle
from tests.support.models import FAMILIES
from tests.support.text import write_corpus

UNIFORM = {"criterion": "wanda", "allocation": "uniform"}


class StrangeModel(LlamaModel):
    """Its own forward, in the way research code is written; subclasses break one assumption."""

    def between(self, hidden: torch.Tensor, input_ids: torch.Tensor) -> torch.Tensor:
        return hidden

    def arguments(self, input_ids: torch.Tensor) -> dict[str, Any]:
        return {}

    def forward(self, input_ids: Any = None, **_kwargs: Any) -> Any:
        hidden = self.embed_tokens(input_ids)
        positions = torch.arange(input_ids.shape[1], device=hidden.device)[None]
        tables = self.rotary_emb(hidden, positions)
        for layer in self.layers:
            hidden = layer(hidden, position_embeddings=tables, **self.arguments(input_ids))
            hidden = self.between(hidden, input_ids)
        return BaseModelOutputWithPast(last_hidden_state=self.norm(hidden))


class ScaledModel(StrangeModel):
    def between(self, hidden: torch.Tensor, input_ids: torch.Tensor) -> torch.Tensor:
        return hidden * 1.5


class InPlaceModel(StrangeModel):
    """The tensor is the same one, what is in it is not."""

    def between(self, hidden: torch.Tensor, input_ids: torch.Tensor) -> torch.Tensor:
        return hidden.mul_(1.5)


class TextModel(StrangeModel):
    def arguments(self, input_ids: torch.Tensor) -> dict[str, Any]:
        length = input_ids.shape[1]
        causal = torch.full((length, length), float("-inf")).triu(1)
        # How much the first token is attended to depends on what it is.
        return {"attention_mask": causal[None, None] + input_ids[:, :1, None, None] / 300}


class ObjectModel(StrangeModel):
    def arguments(self, input_ids: torch.Tensor) -> dict[str, Any]:
        return {"shared": object()}


class Pair(LlamaDecoderLayer):
    def forward(self, hidden: torch.Tensor, extra: Any = None, **named: Any) -> Any:
        hidden = super().forward(hidden, **named)
        return hidden, hidden.mean()


class PairModel(StrangeModel):
    """Every block hands the next one something beside the hidden states."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.layers = torch.nn.ModuleList(Pair(config, n) for n in range(len(self.layers)))

    def forward(self, input_ids: Any = None, **_kwargs: Any) -> Any:
        hidden, beside = self.embed_tokens(input_ids), None
        positions = torch.arange(input_ids.shape[1], device=hidden.device)[None]
        tables = self.rotary_emb(hidden, positions)
        for layer in self.layers:
            hidden, beside = layer(hidden, extra=beside, position_embeddings=tables)
        return BaseModelOutputWithPast(last_hidden_state=self.norm(hidden))


def strange(kind: type[StrangeModel], folder: Path) -> Any:
    """A causal model of a class that no file names, with the weights in ``folder``."""

    class StrangeForCausalLM(LlamaForCausalLM):
        def __init__(self, config: Any) -> None:
            super().__init__(config)
            self.model = kind(config)

    model = StrangeForCausalLM(LlamaForCausalLM.from_pretrained(folder).config)
    model.load_state_dict(LlamaForCausalLM.from_pretrained(folder).state_dict())
    return model.eval()


@pytest.mark.parametrize(
    ("family", "training"), [*((f, False) for f in FAMILIES), ("gpt2", True), ("gemma3", True)]
)
def test_a_model_in_memory_gets_the_masks_of_its_folder(
    tiny: Tiny, tmp_path: Path, family: str, training: bool
) -> None:
    fields = {"criterion": "m-wanda", "allocation": "cwl", "language_weights": {"de": 3}}
    mwanda.prune(tiny(family), out=tmp_path / "out", calibration=windows_file(tmp_path), **fields)
    model = AutoModelForCausalLM.from_pretrained(tiny(family))
    model.train(training)
    result = mwanda.prune(model, calibration=windows_object(), **fields)
    assert model.training is training
    assert result.folder is None
    same_masks(memory_masks(model), masks_of(tmp_path / "out"))
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter.detach(), tensors_by_parameter(tmp_path / "out")[name])
        assert parameter.grad is None
        assert parameter.requires_grad
    assert not any(vars(module).get("forward") for module in model.modules())
    assert not any(module._forward_pre_hooks for module in model.modules())


def tensors_by_parameter(folder: Path) -> dict[str, torch.Tensor]:
    return dict(AutoModelForCausalLM.from_pretrained(folder).state_dict())


@pytest.mark.parametrize("mode", ["sequential", "dense"])
def test_an_unknown_class_with_recognisable_blocks_works(
    tiny: Tiny, tmp_path: Path, mode: str
) -> None:
    model = strange(StrangeModel, tiny("llama"))
    mwanda.prune(model, calibration=windows_object(), mode=mode, **UNIFORM)
    out = tmp_path / "out"
    mwanda.prune(tiny("llama"), out=out, calibration=windows_file(tmp_path), mode=mode, **UNIFORM)
    same_masks(memory_masks(model), masks_of(out))


def test_an_unknown_class_is_evaluated_as_the_known_one(tiny: Tiny, tmp_path: Path) -> None:
    model = strange(StrangeModel, tiny("llama"))
    tokenizer = AutoTokenizer.from_pretrained(tiny("llama"))
    write_corpus(tmp_path / "texts", ["de", "sw"], lines=4)
    texts = mwanda.read_texts(tmp_path / "texts")
    dense = mwanda.evaluate(model, texts, tokenizer=tokenizer)
    mwanda.prune(model, calibration=windows_object(), **UNIFORM)
    pruned = mwanda.evaluate(model, texts, tokenizer=tokenizer)
    out = tmp_path / "out"
    mwanda.prune(tiny("llama"), out=out, calibration=windows_file(tmp_path), **UNIFORM)
    for found, folder in ((dense, tiny("llama")), (pruned, out)):
        expected = mwanda.evaluate(folder, texts)
        for tag, result in expected.languages.items():
            assert found.languages[tag].sentence_nll == pytest.approx(result.sentence_nll, rel=1e-5)
    assert dense.languages["de"].sentence_nll != pruned.languages["de"].sentence_nll


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (ScaledModel, r"StrangeForCausalLM, block 1: .*the hidden states of the block before"),
        pytest.param(
            InPlaceModel,
            r"StrangeForCausalLM, block 1: .*the hidden states of the block before",
        ),
        (TextModel, r"StrangeForCausalLM, block 0: .*depend on the shape only, found text in them"),
        (PairModel, r"StrangeForCausalLM, block 1: .*block before, found a second value of"),
        (ObjectModel, r"StrangeForCausalLM, block 0: .*plain values as arguments, found object"),
    ],
)
def test_a_family_that_cannot_be_streamed_is_refused_untouched(
    tiny: Tiny, kind: type[StrangeModel], message: str
) -> None:
    model = strange(kind, tiny("llama"))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    options = mwanda.RunOptions(batch_tokens=24)
    with pytest.raises(InputError, match=message):
        mwanda.prune(model, calibration=windows_object(), options=options, **UNIFORM)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_a_model_without_weights_is_refused(tiny: Tiny) -> None:
    config = LlamaForCausalLM.from_pretrained(tiny("llama")).config
    with torch.device("meta"):
        model = LlamaForCausalLM(config)
    with pytest.raises(
        InputError,
        match=r"expected all weights in memory, on one device, found parameters: .* on meta",
    ):
        mwanda.prune(model, criterion="magnitude")


def damaged(tiny: Tiny, folder: Path, name: str, place: Any, value: float) -> Path:
    shutil.copytree(tiny("llama"), folder)
    weights = tensors(folder)
    weights[name][place] = value
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("fields", [UNIFORM, {"criterion": "magnitude"}], ids=["wanda", "size"])
def test_a_damaged_weight_is_named(
    tiny: Tiny, tmp_path: Path, value: float, fields: dict[str, Any]
) -> None:
    name = "model.layers.2.mlp.down_proj"
    source = damaged(tiny, tmp_path / "source", f"{name}.weight", (3, 5), value)
    with_text = "criterion" not in fields or fields["criterion"] == "wanda"
    says = "expected finite weights" if with_text else "expected finite scores"
    with pytest.raises(DataError, match=rf"linear {name}.*: {says}"):
        mwanda.prune(source, out=tmp_path / "out", calibration=windows_file(tmp_path), **fields)


def test_a_damaged_weight_is_named_and_not_the_linear_after_it(tiny: Tiny, tmp_path: Path) -> None:
    name = "model.layers.1.self_attn.v_proj.weight"
    source = damaged(tiny, tmp_path / "source", name, (3, 5), float("nan"))
    wanted = r"block 1, linear model\.layers\.1\.self_attn\.v_proj: expected finite weights"
    with pytest.raises(DataError, match=wanted):
        mwanda.prune(source, out=tmp_path / "out", calibration=windows_file(tmp_path), **UNIFORM)


@pytest.mark.parametrize("fields", [UNIFORM, {"allocation": "cwl"}, {"mode": "dense"}], ids=str)
def test_a_damaged_activation_is_named_with_its_language(
    tiny: Tiny, tmp_path: Path, fields: dict[str, Any]
) -> None:
    windows = windows_object()
    german, swahili = (set(windows.tokens[tag].flatten().tolist()) for tag in ("de", "sw"))
    only = swahili - german
    embedding = "model.embed_tokens.weight"
    source = damaged(tiny, tmp_path / "source", embedding, (min(only), 0), float("nan"))
    wanted = r"block 0, linear model\.layers\.0\.self_attn\.q_proj, language sw: expected finite"
    with pytest.raises(DataError, match=wanted):
        mwanda.prune(source, out=tmp_path / "out", calibration=windows_file(tmp_path), **fields)


def test_a_linear_that_is_never_called_is_named(tiny: Tiny) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny("llama"))
    model.model.layers[1].unused = torch.nn.Linear(48, 48)
    with pytest.raises(InputError, match=r"block 1, linear model\.layers\.1\.unused: .*--exclude"):
        mwanda.prune(model, calibration=windows_object(), **UNIFORM)
    mwanda.prune(model, calibration=windows_object(), exclude=["unused"], **UNIFORM)
    assert len(oracle.linears_of(model)) == 22
