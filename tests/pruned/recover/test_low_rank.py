"""Updates of low rank: what they add, where they add nothing, and how they end."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mwanda.pruned.recover.low_rank import low_rank


class _Model(nn.Module):
    """Two linears, one of them in two places, and weights of several experts."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.first, self.shared, self.again = (nn.Linear(6, 6) for _ in range(3))
        self.again.weight = self.shared.weight
        self.experts = nn.Parameter(torch.randn((2, 5, 6), generator=generator))
        with torch.no_grad():
            for weight in (self.first.weight, self.experts):
                weight[..., ::2] = 0

    def forward(self, given: torch.Tensor) -> torch.Tensor:
        made = self.again(self.shared(self.first(given))).unsqueeze(1)
        return torch.einsum("nti,eoi->neo", made, self.experts)


def learn(model: nn.Module) -> None:
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(learning, 0.05)
    given = torch.randn((7, 6), generator=torch.Generator().manual_seed(1))
    for _ in range(3):
        model(given).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()


def test_what_is_learnt_is_of_low_rank_and_only_where_weights_are_kept() -> None:
    model = _Model()
    matrices = [model.first.weight, model.shared.weight, model.experts]
    before = [matrix.detach().clone() for matrix in matrices]
    given = torch.ones(1, 6)
    dense = model(given)
    with low_rank(model, matrices, 1, seed=3):
        assert torch.equal(model(given), dense)  # it begins as nothing
        names = {name for name, one in model.named_parameters() if one.requires_grad}
        assert not {"first.parametrizations.weight.original", "experts"} & names
        assert "shared.weight" in names  # in two places: it learns as it is
        learn(model)
        inside = model(given)
    assert torch.equal(model(given), inside)
    assert {*dict(model.named_parameters())} == {*dict(_Model().named_parameters())}
    for matrix, old in zip(matrices[::2], before[::2], strict=True):
        change = (matrix - old).detach()
        assert not change[old == 0].any()
        for one in change[..., 1::2].reshape(-1, *change[..., 1::2].shape[-2:]):
            assert torch.linalg.matrix_rank(one, rtol=1e-4) == 1
    assert not torch.equal(matrices[1], before[1])
    assert matrices[0] is model.first.weight


def test_an_error_leaves_the_weights_as_they_were() -> None:
    model = _Model()
    before = model.first.weight.detach().clone()

    def broken_off() -> None:
        with low_rank(model, [model.first.weight], 2, seed=3):
            learn(model)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        broken_off()
    assert torch.equal(model.first.weight, before)
    assert type(model.first) is nn.Linear
