"""How far one model's next-token distribution is from another's, without ever holding all logits.

The Kullback-Leibler divergence is that of the whole vocabulary, or of a part of it in which some
entries stand for those left out. Both models' logits are made for some positions at a time, and
the gradient of the hidden states with them, so that nothing is kept for the backward pass or
computed twice. Two linears fused with their loss: Liger (arXiv 2410.10989) does so for one.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import nn

from mwanda.model.run.head_form import PlainHead, summed_in

LOGIT_BYTES, POSITIONS = 24 << 20, 64
"""Logits of one model that are held at once, as they are summed: the C library gives so little out
again, where it takes more from the system each time; and the fewest positions of a product."""


def divergence(
    student: PlainHead,
    teacher: PlainHead,
    hidden: torch.Tensor,
    targets: torch.Tensor,
    shares: torch.Tensor,
    offsets: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Σ shareₙ · KL(teacherₙ ‖ studentₙ) over positions, in nats.

    Gradients go to ``hidden``, and to the student's weight and bias where they want any. Products
    are made in the dtype of the heads' weights; what follows them in float32, or float64.

    Args:
        student: head of the model that learns; its rows may be a part of the vocabulary.
        teacher: head of the model it learns from, with the same rows.
        hidden: last hidden states ``[positions, width]`` for the student's head.
        targets: those of the teacher, ``[positions, its width]``.
        shares: what a position counts, ``[positions]``.
        offsets: what is added to both models' logits ``[rows]``: ln of how many entries a row
            stands for. None for 0.

    Returns:
        The sum, and the divergence of every position ``[positions]``, which has no gradient.
    """
    total, each = _Divergence.apply(  # type: ignore[no-untyped-call]
        hidden, student.weight, student.bias, student, teacher, targets, shares, offsets
    )
    return total, each


def positions_at_once(rows: int, itemsize: int) -> int:
    """Whose logits are held at once, so many rows of the vocabulary of so many bytes a number."""
    return max(POSITIONS, LOGIT_BYTES // (itemsize * rows))


def only(head: PlainHead, rows: torch.Tensor) -> PlainHead:
    """A head of these entries of the vocabulary alone, ``int64 [rows]``."""
    bias = None if head.bias is None else head.bias[rows]
    return replace(head, weight=head.weight[rows], bias=bias)


def in_dtype(head: PlainHead, dtype: torch.dtype) -> PlainHead:
    """A head whose products are made in another dtype."""
    bias = None if head.bias is None else head.bias.to(dtype)
    return replace(head, weight=head.weight.to(dtype), bias=bias)


class _Divergence(torch.autograd.Function):
    """See :func:`divergence`."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        student: PlainHead,
        teacher: PlainHead,
        targets: torch.Tensor,
        shares: torch.Tensor,
        offsets: torch.Tensor | None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        wants_hidden, wants_weight, wants_bias = ctx.needs_input_grad[:3]
        exact = summed_in(weight.dtype)
        each = torch.empty(len(hidden), dtype=exact, device=hidden.device)
        of_hidden = torch.empty_like(hidden) if wants_hidden else None
        of_weight = torch.zeros_like(weight, dtype=exact) if wants_weight else None
        of_bias = torch.zeros_like(bias, dtype=exact) if wants_bias and bias is not None else None
        step = positions_at_once(len(weight), exact.itemsize)
        for start in range(0, len(hidden), step):
            part = slice(start, start + step)
            wanted, _ = _log_shares(teacher, targets[part].to(weight.dtype), offsets)
            given = student.prepare(hidden[part].to(weight.dtype))
            found, slope = _log_shares(student, given, offsets, prepared=True)
            probable = wanted.exp()
            each[part] = (probable * wanted.sub_(found)).sum(dim=1)
            if of_hidden is None and of_weight is None and of_bias is None:
                continue
            # d KL / d logit is the student's probability less the teacher's.
            off = found.exp_().sub_(probable)
            if slope is not None:
                off.mul_(slope)
            share = shares[part, None].to(exact)
            if of_bias is not None:
                of_bias += (off * share).sum(dim=0)
            narrow = off.to(weight.dtype)
            if of_hidden is not None:
                back = (narrow @ weight).to(exact)
                of_hidden[part] = back.mul_(share * (student.scale * student.before))
            if of_weight is not None:
                # The share is taken by the inputs: times it, a difference could underflow.
                turned = (given.to(exact) * (share * student.scale)).to(weight.dtype)
                of_weight += narrow.T @ turned
        if of_bias is not None:
            of_bias *= student.scale
        ctx.gradients = (of_hidden, of_weight, of_bias)
        ctx.dtypes = (hidden.dtype, weight.dtype, None if bias is None else bias.dtype)
        ctx.mark_non_differentiable(each)
        return (each * shares.to(exact)).sum(), each

    @staticmethod
    def backward(ctx: Any, total: torch.Tensor, _each: Any) -> Any:
        made = [
            None if gradient is None else (gradient * total).to(dtype)
            for gradient, dtype in zip(ctx.gradients, ctx.dtypes, strict=True)
        ]
        return (*made, None, None, None, None, None)


def _log_shares(
    head: PlainHead, hidden: torch.Tensor, offsets: torch.Tensor | None, *, prepared: bool = False
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """ln of every entry's probability, and what a soft cap multiplies its gradient by, both
    ``[positions, rows]``; None where there is no cap."""
    given = hidden if prepared else head.prepare(hidden)
    logits = head.finish(nn.functional.linear(given, head.weight, head.bias))
    logits = logits.to(summed_in(logits.dtype))
    slope = None
    if prepared and head.cap is not None:
        slope = 1 - (logits / head.cap).square_()
    if offsets is not None:
        logits += offsets
    return logits.sub_(logits.logsumexp(dim=1, keepdim=True)), slope
