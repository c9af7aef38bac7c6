"""Models in memory that are not plain ones: refused before a weight is touched, or pruned right."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import accelerate
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations
from torch.nn.utils import prune as torch_prune
from transformers import AutoModelForCausalLM, AutoTokenizer

import mwanda
from mwanda import InputError
from tests.pruning.pipeline.helpers import windows_object
from tests.support.folders_made import Tiny

FIELDS: dict[str, Any] = {"criterion": "wanda", "allocation": "uniform", "sparsity": 0.5}
UP = "model.layers.1.mlp.up_proj"


def load(tiny: Tiny, family: str = "llama") -> Any:
    return AutoModelForCausalLM.from_pretrained(tiny(family))


def refused(model: Any, *says: str) -> None:
    """Every weight stays as it was."""
    plain = model if isinstance(model, nn.Module) else nn.Module()
    before = {n: p.detach().clone() for n, p in plain.named_parameters() if not p.is_meta}
    with pytest.raises(InputError) as error:
        mwanda.prune(model, calibration=windows_object(), **FIELDS)
    for part in says:
        assert part in str(error.value)
    after = {n: p for n, p in plain.named_parameters() if not p.is_meta}
    assert before.keys() == after.keys()
    assert all(torch.equal(after[name], weight) for name, weight in before.items())


class Adapted(nn.Module):
    """As a tuner layer of peft looks: the layer, and low ranks beside it."""

    def __init__(self, base_layer: nn.Linear) -> None:
        super().__init__()
        self.base_layer = base_layer
        self.lora_A = nn.ModuleDict({"default": nn.Linear(base_layer.in_features, 4, bias=False)})
        self.lora_B = nn.ModuleDict({"default": nn.Linear(4, base_layer.out_features, bias=False)})

    def forward(self, x: torch.Tensor) -> Any:
        return self.base_layer(x) + self.lora_B["default"](self.lora_A["default"](x))


class LowRank(nn.Linear):
    """As loralib has it: a linear with low ranks of its own."""

    def __init__(self, of: nn.Linear) -> None:
        super().__init__(of.in_features, of.out_features, bias=False)
        self.lora_A = nn.Parameter(torch.zeros(4, of.in_features))


def test_adapters_inside_of_a_model(tiny: Tiny) -> None:
    model = load(tiny)
    model.model.layers[1].mlp.up_proj = Adapted(model.model.layers[1].mlp.up_proj)
    refused(model, "found adapters", UP, "merge_and_unload")
    # Low ranks start at zero and are free to leave it: they are no linears with zeros to keep.
    with pytest.raises(InputError, match="expected linears with zeros to keep, found none"):
        mwanda.keep_zeros(model)


def test_a_model_around_another(tiny: Tiny) -> None:
    kind = type("PeftModel", (nn.Module,), {"__module__": "peft.peft_model"})
    around = kind()
    around.base_model, around.config = load(tiny), None
    around.merge_and_unload = lambda: around.base_model
    refused(around, "found adapters: the model is a PeftModel", "model = model.merge_and_unload()")


def test_trained_prompts_are_no_part_of_the_blocks(tiny: Tiny) -> None:
    model = load(tiny)
    model.prompt_encoder = nn.ModuleDict()
    with pytest.raises(InputError, match="trained prompts in front"):
        mwanda.evaluate(
            model, "bundled:udhr/first", languages=["de"], sentences=1,
            tokenizer=AutoTokenizer.from_pretrained(tiny("llama")),
        )  # fmt: skip


def loralib(model: Any) -> None:
    model.model.layers[1].mlp.up_proj = LowRank(model.get_submodule(UP))


def packed(model: Any) -> None:
    weight = model.get_submodule(UP).weight
    weight.requires_grad_(False)
    model.get_submodule(UP).weight.data = weight.to(torch.int8)


def gathered_elsewhere(model: Any) -> None:
    model.get_submodule(UP).weight.data = torch.empty(0)


def a_packed_module(model: Any) -> None:
    model.model.layers[1].mlp.up_proj = nn.Module()
    model.get_submodule(UP).register_buffer("qweight", torch.zeros(6, 8, dtype=torch.int32))


class Wrapped(torch.Tensor):
    """As quantised and distributed tensors are: a class of their own, of a plain dtype."""


def subclassed(model: Any) -> None:
    module = model.get_submodule(UP)
    module.weight = nn.Parameter(module.weight.detach().as_subclass(Wrapped))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (loralib, ("lora_A beside it, in a LowRank",)),
        (packed, ("torch.int8",)),
        (gathered_elsewhere, ("shape [0]",)),
        (a_packed_module, ("quantised Module",)),
        (subclassed, ("a Wrapped",)),
        (lambda m: parametrizations.weight_norm(m.get_submodule(UP)), ("computed from others",)),
        (lambda m: parametrizations.spectral_norm(m.get_submodule(UP)), ("computed from others",)),
        (
            lambda m: torch_prune.l1_unstructured(m.get_submodule(UP), "weight", amount=0.3),
            ("computed from others", "torch's own pruning"),
        ),
    ],
)
def test_weights_that_are_not_plain(
    tiny: Tiny, change: Callable[[Any], None], says: tuple[str, ...]
) -> None:
    model = load(tiny)
    change(model)
    refused(model, UP, *says)


def test_experts_that_are_not_plain(tiny: Tiny) -> None:
    model = load(tiny, "mixtral")
    experts = model.model.layers[1].mlp.experts
    experts.down_proj.requires_grad_(False).data = experts.down_proj.to(torch.float8_e4m3fn)
    refused(model, "layers.1.mlp.experts", "float8")


def test_a_model_that_accelerate_has_spread(tiny: Tiny, tmp_path: Path) -> None:
    places = {"model.embed_tokens": "cpu", "model.norm": "cpu", "model.rotary_emb": "cpu",
              "lm_head": "cpu", "model.layers.0": "cpu", "model.layers.1": "disk",
              "model.layers.2": "disk"}  # fmt: skip
    model = accelerate.dispatch_model(load(tiny), places, main_device="cpu", offload_dir=tmp_path)
    refused(model, "12 on cpu, 18 on meta (offloaded by accelerate)", "without device_map")
    refused(accelerate.cpu_offload(load(tiny), execution_device="cpu"), "30 on meta")


def test_evaluating_such_a_model_names_the_remedy(tiny: Tiny) -> None:
    model = accelerate.cpu_offload(load(tiny), execution_device="cpu")
    with pytest.raises(InputError, match="load it without device_map, or give its folder"):
        mwanda.evaluate(
            model, "bundled:udhr/first", languages=["de"], sentences=1,
            tokenizer=AutoTokenizer.from_pretrained(tiny("llama")),
        )  # fmt: skip


class ByHand(nn.Module):
    """Low ranks that nobody's library put there."""

    def __init__(self, inner: nn.Linear) -> None:
        super().__init__()
        self.inner = inner
        self.a = nn.Linear(inner.in_features, 8, bias=False)
        self.b = nn.Linear(8, inner.out_features, bias=False)

    def forward(self, x: torch.Tensor) -> Any:
        return self.inner(x) + self.b(self.a(x))


def test_linears_wrapped_by_hand_are_named(tiny: Tiny, caplog: pytest.LogCaptureFixture) -> None:
    def said(model: Any, **fields: Any) -> str:
        caplog.clear()
        with caplog.at_level(logging.WARNING, "mwanda"):
            mwanda.prune(model, calibration=windows_object(), **FIELDS, **fields)
        return "\n".join(record.getMessage() for record in caplog.records)

    model = load(tiny)
    model.model.layers[1].mlp.up_proj = ByHand(model.get_submodule(UP))
    told = said(model)
    names = f"{UP}.inner, {UP}.a, {UP}.b"
    assert f"3 of its linears are none of LlamaForCausalLM's own: {names}; " in told
    wrapped = load(tiny)
    wrapped.model.layers[1].mlp.up_proj = ByHand(wrapped.get_submodule(UP))
    assert "linears" not in said(wrapped, exclude=[r"up_proj\."])


@pytest.mark.parametrize("family", ["llama", "gpt2", "mixtral", "gemma3"])
def test_a_class_s_own_linears_are_not(
    tiny: Tiny, caplog: pytest.LogCaptureFixture, family: str
) -> None:
    model = load(tiny, family)
    before = model.config.to_dict()
    with caplog.at_level(logging.WARNING, "mwanda"):
        mwanda.prune(model, calibration=windows_object(), **FIELDS)
    assert not any("own" in record.getMessage() for record in caplog.records)
    assert model.config.to_dict() == before


def test_a_map_of_one_device_spreads_nothing(tiny: Tiny) -> None:
    mapped = AutoModelForCausalLM.from_pretrained(tiny("llama"), device_map={"": "cpu"})
    made = mwanda.prune(mapped, calibration=windows_object(), **FIELDS).manifest
    plain = mwanda.prune(load(tiny), calibration=windows_object(), **FIELDS).manifest
    assert made.linears == plain.linears


def test_a_compiled_model_is_the_one_inside(tiny: Tiny) -> None:
    model = load(tiny)
    compiled = torch.compile(model, backend="eager")
    made = mwanda.prune(compiled, calibration=windows_object(), **FIELDS).manifest
    plain = mwanda.prune(load(tiny), calibration=windows_object(), **FIELDS).manifest
    assert made.linears == plain.linears
    assert (model.get_submodule(UP).weight == 0).float().mean() == 0.5


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (None, "found NoneType"),
        (7, "found int"),
        (b"model", "found bytes"),
        ({"weight": torch.zeros(2)}, "found dict"),
        (nn.Linear(2, 2), "found torch.nn.modules.linear.Linear"),
    ],
)
def test_what_is_no_model(tiny: Tiny, given: Any, says: str) -> None:
    refused(given, "the model given: expected a folder, GGUF file or hub id", says)
    if not isinstance(given, nn.Module):
        with pytest.raises(InputError, match="the model given"):
            mwanda.keep_zeros(given)
    tokenizer = AutoTokenizer.from_pretrained(tiny("llama"))
    with pytest.raises(InputError, match="the model given"):
        mwanda.evaluate(given, "bundled:udhr/first", sentences=1, tokenizer=tokenizer)


def test_a_model_in_a_wrapper(tiny: Tiny) -> None:
    refused(nn.DataParallel(load(tiny)), "DataParallel", "give the model inside of it (.module)")
