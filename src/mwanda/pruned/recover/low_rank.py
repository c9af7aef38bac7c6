"""Low-rank updates of weights that are kept: for models whose full gradients and Adam states do not
fit.

``W + M ∘ (B A)``: ``W`` stays as it is, ``M`` is 1 where it is not zero, and only ``A`` and ``B``
learn. The mask is part of what is learnt, so that nothing is lost when the product is added to the
weights. LoRA (arXiv 2106.09685) is this without the mask, and fills the zeros; SPP (arXiv
2405.16057) keeps them as here.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.utils import parametrize


class _Update(nn.Module):
    """The update of one weight ``[…, out, in]``."""

    def __init__(self, weight: torch.Tensor, rank: int, generator: torch.Generator) -> None:
        super().__init__()
        *outer, rows, columns = weight.shape
        rank = min(rank, rows, columns)
        drawn = torch.randn((*outer, rank, columns), generator=generator) / math.sqrt(columns)
        self.down = nn.Parameter(drawn.to(weight.device, weight.dtype))
        self.up = nn.Parameter(weight.new_zeros((*outer, rows, rank)))

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """The weight with its update."""
        # In the weight's own dtype: rounded products would be added to it in the end.
        with torch.autocast(weight.device.type, enabled=False):
            return weight + (self.up @ self.down).masked_fill(weight == 0, 0)


@contextmanager
def low_rank(
    model: nn.Module, matrices: Collection[nn.Parameter], rank: int, seed: int
) -> Iterator[None]:
    """Inside, these parameters of a model are their values and an update of their own that learns;
    left without an error, they are the sum.

    A parameter with several places in the model learns as it is.

    Args:
        matrices: of two dimensions or more.
        rank: of a product, at most.
        seed: of what a product begins with; it begins as zero.
    """
    wanted = {id(parameter) for parameter in matrices}
    places: dict[int, list[tuple[nn.Module, str]]] = {}
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if id(parameter) in wanted:
                places.setdefault(id(parameter), []).append((module, name))
    generator, done, merged = torch.Generator().manual_seed(seed), [], False
    try:
        for owners in places.values():
            if len(owners) > 1:
                continue
            module, name = owners[0]
            weight = module.get_parameter(name)
            weight.requires_grad_(False)
            update = _Update(weight, rank, generator)
            parametrize.register_parametrization(module, name, update, unsafe=True)
            done.append((module, name))
        yield
        merged = True
    finally:
        for module, name in done:
            parametrize.remove_parametrizations(module, name, leave_parametrized=merged)
