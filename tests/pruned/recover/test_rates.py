"""Weights of large inputs take small steps: against Adam written plainly on rescaled weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from transformers import AutoModelForCausalLM

import mwanda
from mwanda.model.run.decoder import MemoryDecoder
from mwanda.model.run.structure import Linear
from mwanda.pruned.recover import rates as module
from mwanda.pruned.recover.rates import BOUNDS, InputRates, input_rates, rates_of
from tests.pruning.pipeline.helpers import windows_file
from tests.support.folders_made import Tiny, pruned
from tests.support.models import tiny_model


def adam_on_rescaled(
    weight: torch.Tensor, slopes: list[torch.Tensor], rates: torch.Tensor, rate: float
) -> torch.Tensor:
    """Adam's steps on ``V``, where the weight is ``V · diag(rates)``: its slope is that of the
    weight times the rates."""
    moved = weight / rates
    first, second = torch.zeros_like(moved), torch.zeros_like(moved)
    for step, slope in enumerate(slopes, start=1):
        own = slope * rates
        first = 0.9 * first + 0.1 * own
        second = 0.999 * second + 0.001 * own**2
        mean, square = first / (1 - 0.9**step), second / (1 - 0.999**step)
        moved = moved - rate * mean / square.sqrt()
    return moved * rates


def test_a_step_is_adams_on_rescaled_weights() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(*(nn.Linear(4, 3, bias=False).double() for _ in range(2)))
    weight, other = model.parameters()
    linear = Linear("0", 3, 4, transposed=False)
    slopes = [torch.randn(3, 4, dtype=torch.float64) for _ in range(5)]
    rates = torch.tensor([0.1, 0.5, 1.0, 3.0], dtype=torch.float64)
    wanted = adam_on_rescaled(weight.detach().clone(), slopes, rates, 1e-2)
    plain = adam_on_rescaled(other.detach().clone(), slopes, torch.ones_like(rates), 1e-2)
    optimizer = torch.optim.AdamW([weight, other], lr=1e-2, eps=0, weight_decay=0)
    told: Any = None
    InputRates(model, {linear: rates}).on_train_begin(told, told, told, optimizer=optimizer)
    for slope in slopes:
        weight.grad, other.grad = slope.clone(), slope.clone()
        optimizer.step()
    assert torch.allclose(weight, wanted, rtol=1e-10)
    assert torch.allclose(other, plain, rtol=1e-10)


def test_rates_fall_as_inputs_grow() -> None:
    found = rates_of(torch.tensor([1.0, 2.0, 4.0]))
    assert torch.allclose(found, torch.tensor([4.0, 2.0, 1.0]) / (7 / 3))
    extreme = rates_of(torch.tensor([0.0, 1.0, 1.0, 1.0, 1e4]))
    assert extreme.isfinite().all()
    assert extreme.min() == BOUNDS[0]
    assert extreme.max() <= BOUNDS[1]
    assert torch.equal(rates_of(torch.zeros(3)), torch.ones(3))
    dead = torch.tensor([1.0, 0.0, 2.0, 0.0, 4.0, 0.0, 0.0, 0.0])
    assert torch.allclose(rates_of(dead)[::2][:3], found)


@pytest.mark.parametrize(("family", "place"), [("llama", "mlp.down_proj"), ("gpt2", "mlp.c_fc")])
def test_inputs_are_measured_over_all_forwards(family: str, place: str, tmp_path: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_model(family, tmp_path / "tiny"))
    decoder = MemoryDecoder(model)
    name = next(one.name for one in decoder.structure.linears() if one.name.endswith(place))
    seen: list[torch.Tensor] = []

    def forwards() -> None:
        for ids in ([[5, 6, 7]], [[8, 9], [10, 11]]):
            model(torch.tensor(ids))

    with torch.no_grad():
        rates = input_rates(decoder, forwards)
        handle = model.get_submodule(name).register_forward_pre_hook(
            lambda _, given: seen.append(given[0].flatten(0, -2))
        )
        forwards()
        handle.remove()
    [found] = [one for linear, one in rates.rates.items() if linear.name == name]
    sizes = torch.cat(seen).square().mean(dim=0).sqrt()
    assert torch.allclose(found, rates_of(sizes), rtol=1e-4)


@pytest.mark.parametrize(
    ("family", "low_rank"), [("llama", None), ("gpt2", None), ("mixtral", None), ("llama", 4)]
)
def test_a_recovery_takes_them(
    family: str, low_rank: int | None, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pruned(tiny, tmp_path / "pruned", family)
    monkeypatch.setattr(module, "rates_of", lambda sizes: sizes * 0)
    made = mwanda.recover(
        tmp_path / "pruned", tmp_path / "out", dense=tiny(family), steps=3, batch=8,
        learning_rate=2e-2, low_rank=low_rank,
        calibration=windows_file(tmp_path, counts={"de": (24, 20)}, seed=5),
    )  # fmt: skip
    old, new = (
        load_file(folder / "model.safetensors") for folder in (tmp_path / "pruned", made.folder)
    )
    tensors = {record.tensor for record in made.manifest.linears.values()}
    assert all(torch.equal(old[name], new[name]) is (low_rank is None) for name in tensors)
    assert any(not torch.equal(old[name], new[name]) for name in old.keys() - tensors) or low_rank
