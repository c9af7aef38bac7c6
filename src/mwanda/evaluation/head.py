"""Losses of scored positions, without ever holding their logits.

A vocabulary of 262,144 times a batch of tokens would not fit, and going over logits that have left
the cache takes time: the head is multiplied in tiles of positions × vocabulary, and each tile is
summed while it is warm. What a model does around the matrix product (a scale, a soft cap) is not
looked up by family: :mod:`mwanda.model.run.head_form` asks the model itself. Any other head is run
as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from mwanda.model.run.decoder import Decoder
from mwanda.model.run.head_form import PlainHead, plain_head, summed_in
from mwanda.system.device import widened

TILE = (1024, 1024)
"""Positions and vocabulary entries of one tile: 4 MiB of float32, which stays in a CPU's cache."""

DEVICE_TILE = (4096, 8192)
"""The same on a device that wants large products: 128 MiB."""

LOGIT_BYTES = 128 << 20
"""Float32 logits held at once where the model's own head is run."""


Told = Callable[[float], None]
"""Is told of the share of the work that is done, up to 1."""


def _losses(
    head: PlainHead, normed: torch.Tensor, targets: torch.Tensor, told: Told
) -> torch.Tensor:
    """``-ln p`` of each target, float64 ``[positions]``, nats.

    With r any number near the target's logit z, −ln p = r − z + ln Σ exp(z_v − r). No maximum is
    looked for: the sum holds a term of about 1, so it cannot underflow, and where it overflows (a
    loss above 88 nats) the result is infinite, for the caller to see.

    Args:
        normed: ``[positions, width]`` in the weight's dtype.
        targets: ``int64 [positions]``.
    """
    rows, columns = TILE if normed.is_cpu else DEVICE_TILE
    exact = summed_in(normed.dtype)
    normed = head.prepare(normed)
    near = torch.cat(
        [
            _near(head, part, target)
            for part, target in zip(normed.split(rows), targets.split(rows), strict=True)
        ]
    )
    total = widened(torch.zeros(len(normed), device=normed.device))
    wanted = torch.zeros_like(near)
    room = normed.new_empty(min(rows, len(normed)) * min(columns, len(head.weight)))
    # The vocabulary outside: its tile of the weight stays in the cache for all positions.
    for low in range(0, len(head.weight), columns):
        weight = head.weight[low : low + columns].T
        bias = None if head.bias is None else head.bias[low : low + columns]
        for first in range(0, len(normed), rows):
            part = slice(first, first + rows)
            tile = room[: len(normed[part]) * weight.shape[1]].view(-1, weight.shape[1])
            if bias is None:
                torch.mm(normed[part], weight, out=tile)
            else:
                torch.addmm(bias, normed[part], weight, out=tile)
            logits = head.finish(tile).to(exact)
            place = targets[part] - low
            inside = (place >= 0) & (place < weight.shape[1])
            found = logits.gather(1, place.clamp(0, weight.shape[1] - 1)[:, None])[:, 0]
            wanted[part] = found.where(inside, wanted[part])
            total[part] += logits.sub_(near[part, None]).exp_().sum(dim=1).to(total.device)
        told(min(1.0, (low + columns) / len(head.weight)))
    return widened(near) - widened(wanted) + total.log()


def _near(head: PlainHead, normed: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    products = (normed * head.weight[targets]).sum(dim=1)
    if head.bias is not None:
        products += head.bias[targets]
    return head.finish(products).to(summed_in(normed.dtype))


def head_losses(
    decoder: Decoder,
    output: Any,
    normed: torch.Tensor,
    targets: torch.Tensor,
    told: Told = lambda _share: None,
) -> torch.Tensor:
    """``-ln p`` of the targets under the model's head; inside ``decoder.outside(head=True)``.

    Args:
        output: a backbone's output, for :meth:`Decoder.logits`.
        normed: last hidden states of the scored positions, ``[positions, width]``.
        targets: ``int64 [positions]`` on the same device.
        told: as the work goes on.

    Returns:
        float64 ``[positions]``, nats.
    """
    head = plain_head(decoder, output, normed) if len(normed) else None
    if head is None:
        return _own_losses(decoder, output, normed, targets, told)
    losses = _losses(head, normed, targets, told)
    odd = (~losses.isfinite()).nonzero().flatten()
    if len(odd):
        there = odd.to(normed.device)
        losses[odd] = _own_losses(decoder, output, normed[there], targets[there], lambda _: None)
    return losses


def _own_losses(
    decoder: Decoder, output: Any, normed: torch.Tensor, targets: torch.Tensor, told: Told
) -> torch.Tensor:
    step, done = max(1, LOGIT_BYTES // (4 * decoder.vocabulary)), 0
    losses = [widened(torch.zeros(0, device=normed.device))]
    for part, target in zip(normed.split(step), targets.split(step), strict=True):
        logits = decoder.logits(output, part).to(summed_in(normed.dtype))
        loss = nn.functional.cross_entropy(logits, target, reduction="none")
        losses.append(widened(loss))
        done += len(part)
        told(done / max(1, len(normed)))
    return torch.cat(losses)
