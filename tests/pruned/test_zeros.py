"""Zeros stay zero while a model is trained, and everything else is trained."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoModel, AutoModelForCausalLM, Trainer, TrainingArguments

import mwanda
from mwanda.errors import DataError, InputError
from mwanda.model.run.discovery import find_structure
from mwanda.model.run.structure import matrix_in
from mwanda.pruned.zeros import find_masks
from tests.support.folders_made import Tiny, pruned

OPTIMIZERS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.1),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.1),
    "adamw one by one": lambda p: torch.optim.AdamW(p, lr=0.01, foreach=False),
    "adam with l2": lambda p: torch.optim.Adam(p, lr=0.01, weight_decay=0.1),
}


@pytest.fixture(scope="module")
def folders(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    made: dict[str, Path] = {}

    def make(family: str) -> Path:
        if family not in made:
            made[family] = pruned(tiny, tmp_path_factory.mktemp("zeros") / "out", family)
        return made[family]

    return make


def loaded(folder: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).train()


def zeros(model: nn.Module) -> dict[str, torch.Tensor]:
    return {
        linear.name: matrix_in(model.get_parameter(linear.parameter).detach(), linear) == 0
        for linear in find_structure(model).linears()
    }


def step(model: Any, optimizer: torch.optim.Optimizer, times: int = 3) -> None:
    for seed in range(times):
        ids = torch.randint(3, 250, (2, 16), generator=torch.Generator().manual_seed(seed))
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(mask, other[name]) for name, mask in one.items())


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("before", [True, False])
def test_zeros_stay_and_the_rest_moves(
    folders: Callable[[str], Path], name: str, before: bool
) -> None:
    model = loaded(folders("llama"))
    were, weight = zeros(model), model.model.layers[0].mlp.up_proj.weight
    old = weight.detach().clone()
    optimizer = OPTIMIZERS[name](model.parameters()) if before else None
    with mwanda.keep_zeros(model):
        optimizer = optimizer or OPTIMIZERS[name](model.parameters())
        step(model, optimizer)
        assert same(zeros(model), were)
    assert were["model.layers.0.mlp.up_proj"].float().mean() == 0.5
    assert torch.all((weight != old)[old != 0])
    step(model, optimizer, 1)  # the context has ended: without it this test could not fail
    assert not same(zeros(model), were)


@pytest.mark.parametrize("family", ["gpt2", "gemma3", "mixtral", "bloom"])
def test_turned_tied_and_fused_weights(folders: Callable[[str], Path], family: str) -> None:
    model = loaded(folders(family))
    were, embeddings = zeros(model), model.get_input_embeddings().weight.detach().clone()
    handle = mwanda.keep_zeros(model)
    assert handle.masks.zeros == sum(int(mask.sum()) for mask in were.values())
    assert handle.masks.nbytes <= sum(mask.numel() for mask in were.values()) / 8 + 100
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5, momentum=0.9)
    step(model, optimizer)
    assert same(zeros(model), were)
    assert not torch.equal(model.get_input_embeddings().weight, embeddings)
    handle.remove()
    handle.remove()


def test_other_models_and_other_optimizers_are_left_alone(folders: Callable[[str], Path]) -> None:
    kept, other = loaded(folders("llama")), loaded(folders("llama"))
    were = zeros(kept)
    with mwanda.keep_zeros(kept):
        step(other, torch.optim.SGD(other.parameters(), lr=0.5))
        assert not same(zeros(other), were)
        # An optimizer with some of the weights: those only.
        some = kept.model.layers[1].mlp.parameters()
        step(kept, torch.optim.SGD(some, lr=0.5))
        assert same(zeros(kept), were)


def test_not_a_number_is_cleared_too(folders: Callable[[str], Path]) -> None:
    model = loaded(folders("llama"))
    were, masks = zeros(model), find_masks(model)
    linear = model.model.layers[2].self_attn.q_proj
    turned = linear.weight.data.t().contiguous().t()  # not in the order of its rows
    linear.weight.data = turned
    turned.fill_(float("nan"))
    masks.apply()
    assert same(zeros(model), were)
    assert bool(turned.isnan().any())


def test_without_a_manifest_every_zero_in_the_blocks_counts(tiny: Tiny) -> None:
    model = loaded(tiny("llama"))
    with pytest.raises(InputError, match="linears with zeros to keep"):
        mwanda.keep_zeros(model)
    with torch.no_grad():
        model.model.layers[0].mlp.up_proj.weight[3] = 0
        model.get_input_embeddings().weight[7] = 0
    masks = find_masks(model)
    assert masks.zeros == 48
    with torch.no_grad():
        model.model.layers[0].mlp.up_proj.weight.fill_(1)
        model.get_input_embeddings().weight.fill_(1)
    masks.apply()
    assert model.get_input_embeddings().weight.min() == 1
    assert int((model.model.layers[0].mlp.up_proj.weight == 0).sum()) == 48


def test_the_manifest_says_how_many_zeros_there_were(
    folders: Callable[[str], Path], tiny: Tiny, tmp_path: Path
) -> None:
    folder = pruned(tiny, tmp_path / "out", include=["q_proj"])
    model = loaded(folder)
    with torch.no_grad():
        model.model.layers[0].mlp.up_proj.weight[3] = 0  # as of an earlier prune of others
    count = sum(int(m.sum()) for name, m in zeros(model).items() if name.endswith("q_proj"))
    assert find_masks(model).zeros == count + model.model.layers[0].mlp.up_proj.in_features
    assert find_masks(AutoModel.from_pretrained(folder), folder).zeros == count
    with torch.no_grad():
        model.model.layers[1].self_attn.q_proj.weight.fill_(1)
    with pytest.raises(DataError, match=r"layers\.1\.self_attn\.q_proj.*at least the"):
        mwanda.keep_zeros(model)
    with pytest.raises(InputError, match="a linear of shape"):
        mwanda.keep_zeros(loaded(tiny("gpt2")), folder)
    with pytest.raises(InputError, match="the manifest of a folder that mwanda wrote"):
        mwanda.keep_zeros(model, tiny("llama"))


def test_a_forgotten_handle_keeps_no_model_alive(folders: Callable[[str], Path]) -> None:
    model = loaded(folders("llama"))
    handle, gone = mwanda.keep_zeros(model), weakref.ref(model.model.layers[0].mlp.up_proj.weight)
    del model
    gc.collect()
    assert gone() is None
    handle.remove()


class _Texts(torch.utils.data.Dataset[dict[str, torch.Tensor]]):
    def __len__(self) -> int:
        return 8

    def __getitem__(self, place: int) -> dict[str, torch.Tensor]:
        ids = torch.randint(3, 250, (16,), generator=torch.Generator().manual_seed(place))
        return {"input_ids": ids, "labels": ids}


@pytest.mark.parametrize("kept", [True, False])
def test_the_trainers_callback(folders: Callable[[str], Path], tmp_path: Path, kept: bool) -> None:
    model = loaded(folders("llama"))
    were, callback = zeros(model), mwanda.KeepZeros()
    arguments = TrainingArguments(
        output_dir=str(tmp_path), max_steps=4, per_device_train_batch_size=2, learning_rate=0.01,
        gradient_accumulation_steps=2, weight_decay=0.1, report_to=[], save_steps=2, use_cpu=True,
        disable_tqdm=True, logging_strategy="no", dataloader_pin_memory=False,
    )  # fmt: skip
    Trainer(model, arguments, train_dataset=_Texts(), callbacks=[callback] if kept else []).train()
    assert same(zeros(model), were) == kept
    assert callback.masks is None
    saved = AutoModelForCausalLM.from_pretrained(tmp_path / "checkpoint-2")
    assert same(zeros(saved), were) == kept
