"""Zeros under adapters: while these are trained, after merges, and when training goes on."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM

import mwanda
from mwanda.errors import DataError, InputError
from mwanda.pruned.zeros_adapters import without_adapters
from tests.support.folders_made import Tiny, pruned


class LowRank(nn.Module):
    """As peft wraps a linear, and merges."""

    def __init__(self, base_layer: nn.Linear) -> None:
        super().__init__()
        self.base_layer = base_layer
        self.lora_A = nn.ModuleDict({"default": nn.Linear(base_layer.in_features, 4, bias=False)})
        self.lora_B = nn.ModuleDict({"default": nn.Linear(4, base_layer.out_features, bias=False)})
        self.merged = False

    def delta(self) -> torch.Tensor:
        return self.lora_B["default"].weight @ self.lora_A["default"].weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        added = 0 if self.merged else self.lora_B["default"](self.lora_A["default"](x))
        return self.base_layer(x) + added

    def merge(self, safe_merge: bool = False) -> None:
        self.base_layer.weight.data += self.delta()
        self.merged = True

    def unmerge(self) -> None:
        self.base_layer.weight.data -= self.delta()
        self.merged = False


@pytest.fixture(scope="module")
def folder(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pruned(tiny, tmp_path_factory.mktemp("adapters") / "out")


def made_up(folder: Path) -> Any:
    """The pruned model with low ranks around some linears, all else frozen."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).train()
    model.requires_grad_(False)
    torch.manual_seed(0)
    for layer in model.model.layers:
        for part, name in ((layer.mlp, "up_proj"), (layer.self_attn, "q_proj")):
            setattr(part, name, LowRank(getattr(part, name)))
    return model


def bases(model: Any) -> list[torch.Tensor]:
    return [m.base_layer.weight for m in model.modules() if isinstance(m, LowRank)]


def places(model: Any) -> list[torch.Tensor]:
    return [weight.detach() == 0 for weight in bases(model)]


def alike(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
    return all(map(torch.equal, one, other))


def step(model: Any) -> None:
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.5)
    ids = torch.randint(3, 250, (2, 16), generator=torch.Generator().manual_seed(0))
    model(input_ids=ids, labels=ids).loss.backward()
    optimizer.step()


def each(model: Any, verb: str) -> None:
    for module in model.modules():
        if isinstance(module, LowRank):
            getattr(module, verb)()


def test_zeros_are_back_after_every_merge(folder: Path) -> None:
    model = made_up(folder)
    were, first = places(model), next(m for m in model.modules() if isinstance(m, LowRank))
    assert all(0.4 < zero.float().mean() < 0.6 for zero in were)
    with mwanda.keep_zeros(model) as kept:
        before = first.lora_B["default"].weight.clone()
        step(model)
        assert not torch.equal(first.lora_B["default"].weight, before)
        assert alike(places(model), were)
    wanted = (first.base_layer.weight + first.delta()) * (first.base_layer.weight != 0)
    each(model, "merge")  # the context has ended
    assert alike(places(model), were)
    assert torch.allclose(first.base_layer.weight, wanted)
    each(model, "unmerge")
    assert alike(places(model), were)
    kept.remove()
    each(model, "merge")  # without the guard they fill: so this test can fail
    assert not alike(places(model), were)


def test_training_goes_on_after_a_merge(folder: Path) -> None:
    model = made_up(folder)
    were = places(model)
    with mwanda.keep_zeros(model):
        each(model, "merge")
        for weight in bases(model):
            weight.requires_grad_(True)
        old = [weight.detach().clone() for weight in bases(model)]
        step(model)
        assert alike(places(model), were)
        assert not alike(old, bases(model))


def test_a_copy_merges_its_own_weights(folder: Path) -> None:
    model = made_up(folder)
    were = places(model)
    with mwanda.keep_zeros(model):
        other = copy.deepcopy(model)
    old = [weight.detach().clone() for weight in bases(model)]
    each(other, "merge")
    assert alike(places(other), were)
    assert alike(old, bases(model))
    assert not alike(old, bases(other))


def test_only_linears_that_were_pruned_are_masked(folder: Path) -> None:
    """Adapters' own matrices have zeros at first, and are to learn."""
    model = made_up(folder)
    for module in model.modules():
        if isinstance(module, LowRank):
            nn.init.zeros_(module.lora_B["default"].weight)
    plain = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    masks = mwanda.keep_zeros(plain).masks
    assert mwanda.keep_zeros(model).masks.zeros == masks.zeros
    model.config._name_or_path = model.name_or_path = ""  # no manifest: every linear with zeros
    assert mwanda.keep_zeros(model).masks.zeros == masks.zeros


def test_zeros_that_a_merge_filled_before_are_missed(folder: Path) -> None:
    model = made_up(folder)
    each(model, "merge")
    with pytest.raises(DataError, match="at least the"):
        mwanda.keep_zeros(model)


def test_quantised_weights_have_no_zeros_to_keep(folder: Path) -> None:
    model = made_up(folder)
    for module in model.modules():
        if isinstance(module, LowRank):
            packed = module.base_layer.weight.to(torch.int8)
            module.base_layer.weight = nn.Parameter(packed, requires_grad=False)
    with pytest.raises(InputError, match="found int8, quantised"):
        mwanda.keep_zeros(model)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("m.q.base_layer", "m.q"), ("m.q.lora_A.default", None), ("m.k", "m.k"),
        ("m.qq.base_layer.base_layer", "m.qq"), ("m.qq.base_layer.lora_A.default", None),
    ],
)  # fmt: skip
def test_names_before_adapters(name: str, wanted: str | None) -> None:
    assert without_adapters(name, ["m.q", "m.qq", "m.qq.base_layer"]) == wanted


def kinds() -> dict[str, Callable[[], Any]]:
    from peft import IA3Config, LoraConfig

    some = {"target_modules": ["q_proj", "up_proj"], "task_type": "CAUSAL_LM"}
    return {
        "lora": lambda: LoraConfig(r=4, init_lora_weights=False, **some),
        "dora": lambda: LoraConfig(r=4, use_dora=True, init_lora_weights=False, **some),
        "ia3": lambda: IA3Config(
            feedforward_modules=["up_proj"], init_ia3_weights=False, **some
        ),
    }  # fmt: skip


@pytest.mark.filterwarnings("ignore:Unmerge result")
@pytest.mark.parametrize("kind", ["lora", "dora", "ia3"])
@pytest.mark.parametrize("safe", [False, True])
def test_peft_itself_where_it_is_installed(folder: Path, kind: str, safe: bool) -> None:
    peft = pytest.importorskip("peft")
    plain = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    name = "model.layers.0.mlp.up_proj.weight"
    were = plain.get_parameter(name).detach().clone()
    model = peft.get_peft_model(plain, kinds()[kind]()).train()
    with mwanda.keep_zeros(model):
        step(model)
    model.merge_adapter(safe_merge=safe)
    model.unmerge_adapter()
    done = model.merge_and_unload(safe_merge=safe)
    now = done.get_parameter(name)
    assert torch.equal(now == 0, were == 0)
    assert not torch.equal(now, were)
    for parameter in done.parameters():
        parameter.requires_grad_(True)
    with mwanda.keep_zeros(done):
        step(done)
    assert torch.equal(done.get_parameter(name) == 0, were == 0)


def test_the_callback_guards_merges_too(folder: Path, tmp_path: Path) -> None:
    from transformers import Trainer, TrainingArguments

    model = made_up(folder)
    were = places(model)
    rows = [{"input_ids": torch.arange(3, 19), "labels": torch.arange(3, 19)}]
    arguments = TrainingArguments(
        str(tmp_path), max_steps=1, report_to=[], use_cpu=True, save_strategy="no",
        disable_tqdm=True,
    )  # fmt: skip
    callback = mwanda.KeepZeros()
    Trainer(model, arguments, train_dataset=rows, callbacks=[callback]).train()
    assert callback.masks is None
    each(model, "merge")
    assert alike(places(model), were)
