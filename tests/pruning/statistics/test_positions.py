"""Which tokens count: the first of every window go, wherever the layout says where they are."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from mwanda.errors import InputError
from mwanda.methods.input_statistics import FeatureSums
from mwanda.model.run.structure import Linear
from mwanda.pruning.statistics.capture import Capture, counted_tokens

WINDOWS = (2, 5)


def inputs(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(len(shape)))


@pytest.mark.parametrize("shape", [(2, 5, 6), (2, 5, 3, 6)])
def test_the_first_tokens_of_every_window_go(shape: tuple[int, ...]) -> None:
    x = inputs(*shape)
    assert torch.equal(counted_tokens("a", x, WINDOWS, 2), x[:, 2:])
    assert counted_tokens("a", x, WINDOWS, 0) is x


def test_flat_inputs_are_window_after_window() -> None:
    x = inputs(10, 6)
    found = counted_tokens("a", x, WINDOWS, 1)
    assert torch.equal(found, torch.cat([x[1:5], x[6:10]]))


@pytest.mark.parametrize("shape", [(5, 2, 6), (9, 6), (2, 4, 6), (20, 6), (6,)])
def test_positions_that_are_not_known_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"layer\.q, --skip-first-tokens 1: expected inputs of"):
        counted_tokens("layer.q", inputs(*shape), WINDOWS, 1)
    assert len(counted_tokens("layer.q", inputs(*shape), WINDOWS, 0)) == shape[0]


def test_a_linear_of_one_expert_is_refused_however_many_tokens_it_saw() -> None:
    with pytest.raises(InputError, match="whose positions are not known"):
        counted_tokens("layer.experts.3.up_proj", inputs(10, 6), WINDOWS, 1)


class Flat(nn.Module):
    """Its first and third linear are fed the same tensor, its second a flat one."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = nn.Linear(6, 4), nn.Linear(4, 4), nn.Linear(6, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first, third = self.first(x), self.third(x)
        return self.second(first.flatten(0, 1)) + third.flatten(0, 1)


@torch.no_grad()
def test_sums_and_gram_matrices_leave_them_out() -> None:
    torch.manual_seed(0)
    model, needs = Flat(), ("square", "activity", "activity-sign", "gram")
    batches = {"de": [inputs(2, 5, 6), inputs(1, 5, 6)], "sw": [inputs(3, 4, 6)]}
    factors = {"de": 0.25, "sw": 0.75}
    names = ["first", "second", "third"]
    linears = [Linear(name, 4, 4 if name == "second" else 6, False) for name in names]
    with Capture(model, linears, needs, factors, skip=1) as capture:
        for tag, parts in batches.items():
            for x in parts:
                capture.run(lambda x=x: model(x), tag, (x.shape[0], x.shape[1]))
    capture.check(0)
    assert capture.leaders == {"first": "first", "second": "second", "third": "first"}
    for name in names:
        gram = torch.zeros(1)
        for tag, parts in batches.items():
            seen = [model.first(x) if name == "second" else x for x in parts]
            rows = torch.cat([x[:, 1:].flatten(0, 1) for x in seen])
            expected, found = FeatureSums.of(rows, needs), capture.sums[name][tag]
            assert found.tokens == expected.tokens == (12 if tag == "de" else 9)
            pairs: Any = zip(found.tensors, expected.tensors, strict=True)
            for one, other in pairs:
                torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6)
            gram = gram + factors[tag] * rows.t() @ rows
        torch.testing.assert_close(capture.grams[name].matrix, gram)
