"""Losses of scored positions, without ever holding their logits.

A vocabulary of 262,144 times a batch of tokens would not fit, and going over logits that have left
the cache takes time: the head is multiplied in tiles of positions × vocabulary, and each tile is
summed while it is warm. What a model does to its logits after the matrix product (a scale, a soft
cap) is not looked up by family: a few positions of every call go through the model's own head, and
the tiles are used only if they agree with it there. Any other head is run as it is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from mwanda.model.decoder import Decoder

__all__ = ["head_losses"]

TILE = (1024, 1024)
"""Positions and vocabulary entries of one tile: 4 MiB of float32, which stays in a CPU's cache."""

LOGIT_BYTES = 128 << 20
"""Float32 logits held at once where the model's own head is run."""

PROBES = 4
"""Positions, evenly spread, on which the tiles must agree with the model's own head."""


@dataclass(frozen=True)
class PlainHead:
    """A head that is one matrix product and at most a scale and a soft cap:
    ``cap · tanh(scale · (W x + b) / cap)``.

    Attributes:
        weight: ``[vocabulary, width]``.
        bias: ``[vocabulary]`` or None.
        scale: what products are multiplied by; 1 where they are not.
        cap: None where logits are not capped.
    """

    weight: torch.Tensor
    bias: torch.Tensor | None
    scale: float = 1.0
    cap: float | None = None

    def finish(self, products: torch.Tensor) -> torch.Tensor:
        """Products to logits, in place."""
        if self.scale != 1.0:
            products.mul_(self.scale)
        if self.cap is not None:
            products.div_(self.cap).tanh_().mul_(self.cap)
        return products

    def losses(self, normed: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """``-ln p`` of each target, float64 ``[positions]``, nats.

        With r any number near the target's logit z, −ln p = r − z + ln Σ exp(z_v − r). No maximum
        is looked for: the sum holds a term of about 1, so it cannot underflow, and where it
        overflows (a loss above 88 nats) the result is infinite, for the caller to see.

        Args:
            normed: ``[positions, width]`` in the weight's dtype.
            targets: ``int64 [positions]``.
        """
        rows, columns = TILE
        exact = _summed_in(normed.dtype)
        near = torch.cat(
            [
                self._near(part, target)
                for part, target in zip(normed.split(rows), targets.split(rows), strict=True)
            ]
        )
        total = torch.zeros(len(normed), dtype=torch.float64, device=normed.device)
        wanted = torch.zeros_like(near)
        room = normed.new_empty(min(rows, len(normed)) * min(columns, len(self.weight)))
        # The vocabulary outside: its tile of the weight stays in the cache for all positions.
        for low in range(0, len(self.weight), columns):
            weight = self.weight[low : low + columns].T
            bias = None if self.bias is None else self.bias[low : low + columns]
            for first in range(0, len(normed), rows):
                part = slice(first, first + rows)
                tile = room[: len(normed[part]) * weight.shape[1]].view(-1, weight.shape[1])
                if bias is None:
                    torch.mm(normed[part], weight, out=tile)
                else:
                    torch.addmm(bias, normed[part], weight, out=tile)
                logits = self.finish(tile).to(exact)
                place = targets[part] - low
                inside = ((place >= 0) & (place < weight.shape[1])).nonzero().flatten()
                wanted[first + inside] = logits[inside, place[inside]]
                total[part] += logits.sub_(near[part, None]).exp_().sum(dim=1)
        return near.double() - wanted.double() + total.log()

    def _near(self, normed: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        products = (normed * self.weight[targets]).sum(dim=1)
        if self.bias is not None:
            products += self.bias[targets]
        return self.finish(products).to(_summed_in(normed.dtype))


def head_losses(
    decoder: Decoder, output: Any, normed: torch.Tensor, targets: torch.Tensor
) -> torch.Tensor:
    """``-ln p`` of the targets under the model's head; inside ``decoder.outside(head=True)``.

    Args:
        output: a backbone's output, for :meth:`Decoder.logits`.
        normed: last hidden states of the scored positions, ``[positions, width]``.
        targets: ``int64 [positions]`` on the same device.

    Returns:
        float64 ``[positions]``, nats.
    """
    head = _plain_head(decoder, output, normed) if len(normed) else None
    if head is None:
        return _own_losses(decoder, output, normed, targets)
    losses = head.losses(normed, targets)
    odd = (~losses.isfinite()).nonzero().flatten()
    if len(odd):
        losses[odd] = _own_losses(decoder, output, normed[odd], targets[odd])
    return losses


def _plain_head(decoder: Decoder, output: Any, normed: torch.Tensor) -> PlainHead | None:
    """The head as a :class:`PlainHead` that gives the model's own logits, None where none does."""
    module = decoder.model.get_output_embeddings()
    if not isinstance(module, nn.Linear) or module.weight.dtype != normed.dtype:
        return None
    spread = torch.linspace(0, len(normed) - 1, min(PROBES, len(normed)), dtype=torch.float64)
    places = spread.round().long()
    probes = normed[places.to(normed.device)]
    own = decoder.logits(output, probes).double()
    bare = nn.functional.linear(probes, module.weight, module.bias)
    if own.shape != bare.shape:
        return None
    product = bare.double()
    scale = float((own * product).sum() / product.square().sum())
    cap = getattr(decoder.config.get_text_config(decoder=True), "final_logit_softcapping", None)
    tried = [PlainHead(module.weight, module.bias)]
    if math.isfinite(scale):
        tried.append(PlainHead(module.weight, module.bias, scale=scale))
    if cap:
        tried.append(PlainHead(module.weight, module.bias, cap=float(cap)))
    allowed = min(256 * torch.finfo(bare.dtype).eps, 0.02) * float(own.abs().max())
    for head in tried:
        if float((head.finish(bare.clone()).double() - own).abs().max()) <= allowed:
            return head
    return None


def _own_losses(
    decoder: Decoder, output: Any, normed: torch.Tensor, targets: torch.Tensor
) -> torch.Tensor:
    step = max(1, LOGIT_BYTES // (4 * decoder.vocabulary))
    losses = [torch.zeros(0, dtype=torch.float64, device=normed.device)]
    for part, target in zip(normed.split(step), targets.split(step), strict=True):
        logits = decoder.logits(output, part).to(_summed_in(normed.dtype))
        loss = nn.functional.cross_entropy(logits, target, reduction="none")
        losses.append(loss.double())
    return torch.cat(losses)


def _summed_in(dtype: torch.dtype) -> torch.dtype:
    return dtype if dtype == torch.float64 else torch.float32
