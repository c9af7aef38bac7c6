"""What a model does around its head's matrix product, asked of the model itself.

Its head runs with the product replaced by numbers of ours, from tiny to huge, so what comes out
shows scale and cap to the last digit of float32, however small its own logits are and whatever its
dtype. A form is taken only where it gives what the model gives, for every entry of the vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from mwanda.model.run.block_calls import forward_replaced
from mwanda.model.run.decoder import Decoder
from mwanda.system.device import widened

PRODUCTS = (0.0, 1e-3, 0.05, 0.3, 1.0, 2.5, 7.0, 19.0, 33.0, 70.0, 250.0, 1500.0)
"""Sizes of the products that a head is asked about, with both signs: where a cap bends, and far
to both sides of it; small enough for float16."""

ROUNDING = 4.0
"""Roundings of a logit by which a form may be off: a division here may be a product there."""

HUGE = 1e9
"""A product that any cap has flattened."""

PROBES = 4
"""Positions, evenly spread, on which a form must agree with the model's own head."""


@dataclass(frozen=True)
class PlainHead:
    """A head that is one matrix product and at most scales and a soft cap:
    ``cap · tanh(scale · (W (before · x) + b) / cap)``.

    Attributes:
        weight: ``[vocabulary, width]``.
        bias: ``[vocabulary]`` or None.
        before: what hidden states are multiplied by.
        scale: what products are multiplied by; 1 where they are not.
        cap: None where logits are not capped.
        widened: products go to float32 before that, as the model's own do.
    """

    weight: torch.Tensor
    bias: torch.Tensor | None
    before: float = 1.0
    scale: float = 1.0
    cap: float | None = None
    widened: bool = False

    def prepare(self, normed: torch.Tensor) -> torch.Tensor:
        """Hidden states to what the product is made of."""
        return normed if self.before == 1.0 else normed * self.before

    def finish(self, products: torch.Tensor) -> torch.Tensor:
        """Products to logits; in place where they are not widened."""
        if self.widened:
            products = products.to(summed_in(products.dtype))
        if self.scale != 1.0:
            products.mul_(self.scale)
        if self.cap is not None:
            products.div_(self.cap).tanh_().mul_(self.cap)
        return products

    def logits(self, normed: torch.Tensor) -> torch.Tensor:
        """``[positions, vocabulary]``, for a few positions."""
        return self.finish(nn.functional.linear(self.prepare(normed), self.weight, self.bias))


def plain_head(decoder: Decoder, output: Any, normed: torch.Tensor) -> PlainHead | None:
    """The head as a :class:`PlainHead` that gives the model's own logits, None where none does;
    inside ``decoder.outside(head=True)``.

    Args:
        output: a backbone's output, for :meth:`Decoder.logits`.
        normed: last hidden states of some positions, ``[positions, width]``.
    """
    spread = torch.linspace(0, len(normed) - 1, min(PROBES, len(normed)), dtype=torch.float64)
    places = spread.round().long()
    probes = normed[places.to(normed.device)]
    head = find_form(decoder, output, probes)
    if head is None:
        return None
    own = widened(decoder.logits(output, probes))
    made = widened(head.logits(probes))
    allowed = 4 * torch.finfo(probes.dtype).eps * float(own.abs().max())
    return head if float((made - own).abs().max()) <= allowed else None


def find_form(decoder: Decoder, output: Any, probes: torch.Tensor) -> PlainHead | None:
    """The head's form, None where it is another one; inside ``decoder.outside(head=True)``.

    Args:
        output: a backbone's output, for :meth:`Decoder.logits`.
        probes: last hidden states of a few positions, ``[positions, width]``.
    """
    module = decoder.model.get_output_embeddings()
    plain = isinstance(module, nn.Linear) and type(module).forward is nn.Linear.forward
    if not plain or module.weight.dtype != probes.dtype:
        return None
    ask = _Asking(decoder, output, module, probes)
    try:
        before = ask.before()
        if before is None:
            return None
        wide = ask.products(summed_in(probes.dtype))
        bare = PlainHead(module.weight, module.bias, before=before)
        head = _fitted(bare, ask, wide.dtype)
        if head is None or _error(head, ask, wide) > ROUNDING:
            return None
        if wide.dtype == probes.dtype:
            return head
        # The numbers are right; now which of them the model rounds.
        narrow = ask.products(probes.dtype)
        tried = [(_error(h, ask, narrow), h) for h in (head, replace(head, widened=True))]
        error, head = min(tried, key=lambda one: one[0])
        return head if error <= ROUNDING else None
    except (RuntimeError, TypeError, ValueError):
        return None  # it does more than that around its product, in a dtype of its own


def summed_in(dtype: torch.dtype) -> torch.dtype:
    """What exponentials of numbers of a dtype are summed in."""
    return dtype if dtype == torch.float64 else torch.float32


@dataclass(frozen=True)
class _Asking:
    """The model's own head, with what its product gives replaced."""

    decoder: Decoder
    output: Any
    module: nn.Linear
    probes: torch.Tensor

    def products(self, dtype: torch.dtype) -> torch.Tensor:
        """``[positions, vocabulary]``: every entry meets another size at every position."""
        sizes = torch.tensor([s * size for size in PRODUCTS for s in (1, -1)], dtype=torch.float32)
        count, vocabulary = len(self.probes), len(self.module.weight)
        step = torch.arange(count)[:, None] * 7 + torch.arange(vocabulary)
        return sizes[step % len(sizes)].to(self.probes.device, dtype)

    def after(self, products: torch.Tensor) -> torch.Tensor | None:
        """What the model makes of products; None where they do not come from one call."""
        return self._run(lambda _: products)[0]

    def before(self) -> float | None:
        """What hidden states are multiplied by before the product, None where it is not that."""
        zeros = self.products(self.probes.dtype).zero_()
        logits, given = self._run(lambda _: zeros)
        if logits is None or given is None or given.shape != self.probes.shape:
            return None
        ours, theirs = widened(self.probes), widened(given)
        if torch.equal(ours, theirs):
            return 1.0
        before = float((ours * theirs).sum() / ours.square().sum())
        eps = torch.finfo(self.probes.dtype).eps
        off = (theirs - ours * before).abs() > 2 * eps * theirs.abs()
        return None if not math.isfinite(before) or bool(off.any()) else before

    def _run(
        self, product: Callable[[torch.Tensor], torch.Tensor]
    ) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        given: list[torch.Tensor] = []

        def forward(hidden: torch.Tensor) -> torch.Tensor:
            given.append(hidden)
            made = product(hidden)
            return made.view(*hidden.shape[:-1], made.shape[-1]).clone()

        with forward_replaced(self.module, forward):
            logits = self.decoder.logits(self.output, self.probes)
        if len(given) != 1 or logits.shape != (len(self.probes), len(self.module.weight)):
            return None, None
        return logits, given[0].flatten(0, -2)


def _fitted(head: PlainHead, ask: _Asking, dtype: torch.dtype) -> PlainHead | None:
    """Scale and cap as two products show them: a small one, and one that is flattened."""
    shape = (len(ask.probes), len(head.weight))
    far = ask.after(torch.full(shape, HUGE, dtype=dtype, device=ask.probes.device))
    near = ask.after(torch.full(shape, 2.0**-20, dtype=dtype, device=ask.probes.device))
    if far is None or near is None:
        return None
    scale = float(widened(near).mean()) * 2.0**20
    top = float(widened(far).mean())
    if not (math.isfinite(scale) and math.isfinite(top)):
        return None
    capped = abs(top) < 0.9 * abs(scale) * HUGE
    return replace(head, scale=_round(scale), cap=_round(top) if capped else None)


def _round(value: float) -> float:
    """The number that was meant, or divided by, where float32 shows one that is nearly it."""
    for meant in (float(f"{value:.5g}"), 1 / float(f"{1 / value:.5g}") if value else 0.0):
        if math.isclose(value, meant, rel_tol=3e-7):
            return meant
    return value


def _error(head: PlainHead, ask: _Asking, products: torch.Tensor) -> float:
    """How far a form is from what the model makes of products, in roundings of the logits."""
    theirs, ours = ask.after(products), head.finish(products.clone())
    if theirs is None:
        return math.inf
    coarse = max((theirs.dtype, products.dtype), key=lambda dtype: torch.finfo(dtype).eps)
    off = (widened(theirs) - widened(ours)).abs() / (widened(theirs).abs() + 1e-30)
    error = float(off.max()) / torch.finfo(coarse).eps
    return error if math.isfinite(error) else math.inf
