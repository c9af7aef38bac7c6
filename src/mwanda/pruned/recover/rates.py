"""Every input of a linear learns at a rate of its own: the smaller, the larger that input is.

Adam moves all weights alike. The largest input of a linear is twenty times the median one in
Gemma 3 270M, so a rate that its weights bear is too low for all others. Adam on ``W · diag(s)``
instead of ``W``, where ``s`` is how large each input is, moves every input's share of the output
alike: that is the same as Adam's own step with each column divided by ``s``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from transformers import TrainerCallback

FLOOR = 0.05
"""Of the median input: one that is smaller is taken for so large."""

BOUNDS = (0.02, 5.0)
"""Of a rate, as a multiple of the learning rate."""


class InputRates(TrainerCallback):
    """Has every step of the optimizer taken at these rates.

    Args:
        rates: parameter ``[out, in]`` -> its rates ``[in]``, multiples of the learning rate.
    """

    def __init__(self, rates: Mapping[torch.Tensor, torch.Tensor]) -> None:
        self._rates = dict(rates)

    @classmethod
    def of(cls, sizes: Mapping[torch.Tensor, torch.Tensor]) -> InputRates:
        """By how large the inputs are, as :func:`input_sizes` measures them."""
        return cls({weight: rates_of(size) for weight, size in sizes.items()})

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """From the first step on; the optimizer is there now."""
        optimizer = kwargs["optimizer"]
        optimizer = getattr(optimizer, "optimizer", optimizer)  # accelerate's has no hooks
        before: dict[torch.Tensor, torch.Tensor] = {}

        def keep(*_: Any) -> None:
            before.update((weight, weight.detach().clone()) for weight in self._rates)

        def take(*_: Any) -> None:
            with torch.no_grad():
                for weight, rates in self._rates.items():
                    was = before.pop(weight)
                    weight.sub_(was).mul_(rates).add_(was)

        optimizer.register_step_pre_hook(keep)
        optimizer.register_step_post_hook(take)


def rates_of(sizes: torch.Tensor) -> torch.Tensor:
    """Rates that are 1 on average, and fall as inputs grow.

    Args:
        sizes: root mean square of every input of a linear, ``[in]``.
    """
    inverse = 1 / sizes.clamp_min(FLOOR * float(sizes.median())).clamp_min(1e-12)
    return (inverse / inverse.mean()).clamp(*BOUNDS)


@contextmanager
def input_sizes(
    model: nn.Module, matrices: Collection[torch.Tensor]
) -> Iterator[dict[torch.Tensor, torch.Tensor]]:
    """Measures the inputs of linears in the forwards inside; complete when it is left.

    Experts that lie in one parameter, and linears that no token came to, are in none: they learn
    at one rate.

    Args:
        matrices: parameters ``[out, in]`` of the linears.

    Yields:
        Parameter -> root mean square of every input ``[in]``, in float32.
    """
    wanted = {id(matrix) for matrix in matrices}
    sums: dict[torch.Tensor, tuple[torch.Tensor, int]] = {}
    found: dict[torch.Tensor, torch.Tensor] = {}

    def add(module: nn.Linear, given: tuple[torch.Tensor, ...]) -> None:
        inputs = given[0].detach().flatten(0, -2).float()
        total, tokens = sums.get(module.weight, (0, 0))
        sums[module.weight] = total + inputs.square().sum(dim=0), tokens + len(inputs)

    handles = [
        module.register_forward_pre_hook(add)
        for module in model.modules()
        if isinstance(module, nn.Linear) and id(module.weight) in wanted
    ]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()
    found.update(
        (weight, (total / tokens).sqrt()) for weight, (total, tokens) in sums.items() if tokens
    )
