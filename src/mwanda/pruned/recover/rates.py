"""Every input of a linear learns at a rate of its own: the smaller, the larger that input is.

Adam moves all weights alike. The largest input of a linear is twenty times the median one in
Gemma 3 270M, so a rate that its weights bear is too low for all others. Adam on ``W · diag(s)``
instead of ``W``, where ``s`` is how large each input is, moves every input's share of the output
alike: that is the same as Adam's own step with each column divided by ``s``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from transformers import TrainerCallback

from mwanda.methods.input_statistics import Need
from mwanda.model.run.decoder import Decoder
from mwanda.model.run.structure import Linear, matrix_in
from mwanda.pruning.statistics.capture import Capture
from mwanda.system.ranks import ALONE, Ranks

FLOOR = 0.05
"""Of the median input: one that is smaller is taken for so large."""

BOUNDS = (0.02, 5.0)
"""Of a rate, as a multiple of the learning rate."""


class InputRates(TrainerCallback):
    """Has every step of the optimizer taken at these rates.

    Args:
        model: in which the linears' parameters are.
        rates: linear -> the rate of every input ``[in]``, multiples of the learning rate.
    """

    def __init__(self, model: torch.nn.Module, rates: Mapping[Linear, torch.Tensor]) -> None:
        self._weights = {one.parameter: model.get_parameter(one.parameter) for one in rates}
        # Beside the weights from the start: measured, they are on the host.
        self.rates = {one: rate.to(self._weights[one.parameter]) for one, rate in rates.items()}

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """From the first step on; the optimizer is there now."""
        optimizer = kwargs["optimizer"]
        optimizer = getattr(optimizer, "optimizer", optimizer)  # accelerate's has no hooks
        before: dict[str, torch.Tensor] = {}

        def keep(*_: Any) -> None:
            before.update((name, one.detach().clone()) for name, one in self._weights.items())

        def take(*_: Any) -> None:
            for linear, rates in self.rates.items():
                new, was = (
                    matrix_in(one[linear.parameter].detach(), linear)
                    for one in (self._weights, before)
                )
                torch.lerp(was, new, rates, out=new)
            before.clear()

        optimizer.register_step_pre_hook(keep)
        optimizer.register_step_post_hook(take)


def input_rates(
    decoder: Decoder, forwards: Callable[[], object], ranks: Ranks = ALONE
) -> InputRates:
    """By how large the inputs of the linears are in these forwards.

    A linear to which no token comes, an expert, keeps one rate.

    Args:
        decoder: its weights are all there.
        ranks: processes that learn together; all take what the one that writes finds.
    """
    linears, every = tuple(decoder.structure.linears()), "every"
    needs: tuple[Need, ...] = ("square",)
    with Capture(decoder.model, linears, needs) as capture:
        capture.run(forwards, every)
    capture.settle()
    found = {}
    for linear in linears:
        rates, sums = torch.ones(linear.columns), capture.sums[linear.name].get(every)
        if sums is not None and sums.tokens:
            rates = rates_of((sums.square / sums.tokens).sqrt().float())
        rates = ranks.send(rates, 0)
        if bool((rates != 1).any()):
            found[linear] = rates
    return InputRates(decoder.model, found)


def rates_of(sizes: torch.Tensor) -> torch.Tensor:
    """Rates that are 1 on average, and fall as inputs grow.

    Args:
        sizes: root mean square of every input of a linear, ``[in]``.
    """
    live = sizes[sizes > 0]  # of one that is never there no weight moves
    if not len(live):
        return torch.ones_like(sizes)
    least = max(FLOOR * float(live.median()), 1e-12)
    mean = (1 / live.clamp_min(least)).mean()
    return (1 / (sizes.clamp_min(least) * mean)).clamp(*BOUNDS)
