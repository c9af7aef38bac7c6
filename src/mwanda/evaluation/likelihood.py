"""Negative log-likelihood of texts under a causal model, block by block and in slices.

No more than one block's weights, one batch's hidden states and a slice of logits are held at once:
a vocabulary of 262,144 times a batch of tokens would not fit. Texts are sorted by length and padded
on the right, where a causal model cannot see the padding, so no mask is needed and the numbers are
those of one text at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mwanda.activations import ActivationStore
from mwanda.errors import InputError
from mwanda.model.calls import first_tensor
from mwanda.model.decoder import Decoder
from mwanda.options import RunOptions

__all__ = ["TextScore", "score_texts"]

LOGIT_BYTES = 128 << 20
"""Float32 logits held at once."""

MAX_LENGTH = 2048
"""Longest input in tokens unless the model's context is shorter; longer texts go in strides."""


@dataclass(frozen=True)
class TextScore:
    """One text.

    Attributes:
        nll: Σ −ln p over its scored tokens, nats.
        tokens: number of scored tokens.
        size: bytes of the text in UTF-8.
    """

    nll: float
    tokens: int
    size: int


@dataclass(frozen=True)
class _Piece:
    """Part of a text: tokens, of which those from ``first`` on are scored."""

    text: int
    ids: list[int]
    first: int


@torch.no_grad()
def score_texts(
    decoder: Decoder,
    tokenizer: Any,
    texts: Sequence[str],
    *,
    bos: int | None,
    scratch: Path,
    options: RunOptions,
    max_length: int | None = None,
) -> list[TextScore]:
    """Score every text.

    With a BOS token every token of the text is scored; without one the first has no context and is
    left out. A text longer than ``max_length`` is cut into pieces that overlap by half: each token
    is scored once, with at least half a piece of context (the first piece apart).

    Args:
        texts: any number, in any order; results keep it.
        bos: the id put before every piece, None for none.
        scratch: folder for spilled activations.
        max_length: tokens of one forward pass, at most the model's context.

    Returns:
        One score a text, in the order given.

    Raises:
        InputError: ``max_length`` below 2, which leaves no token with a context.
    """
    if max_length is not None and max_length < 2:
        raise InputError("max_length", expected="at least 2", found=str(max_length))
    limit = min(max_length or MAX_LENGTH, decoder.context_length or MAX_LENGTH)
    pieces = [
        piece
        for index, text in enumerate(texts)
        for piece in _pieces(index, _encode(tokenizer, text), bos, limit)
    ]
    highest = max((max(piece.ids) for piece in pieces), default=0)
    if highest >= decoder.vocabulary:
        raise InputError(
            "tokenizer",
            expected=f"token ids below the model's vocabulary of {decoder.vocabulary}",
            found=str(highest),
            fix="use the tokenizer that belongs to the model",
        )
    nll = [0.0] * len(texts)
    counts = [0] * len(texts)
    batches = _batches(pieces, options.batch_tokens)
    blocks = decoder.structure.blocks
    options.progress.stage("evaluate", len(blocks) + 1)
    total = sum(len(piece.ids) for piece in pieces)
    with ActivationStore(options.activation_memory, scratch, decoder.device) as activations:
        with decoder.outside(head=False):
            for batch in batches:
                activations.append(decoder.embed(_padded(batch)))
        for block in blocks:
            with decoder.block(block.index) as module:
                for index in range(len(batches)):
                    hidden = activations[index]
                    activations[index] = decoder.run_block(block.index, module, hidden)
            options.progress.block(total)
        with decoder.outside(head=True):
            for index, batch in enumerate(batches):
                losses = _losses(decoder, batch, activations[index])
                for piece, loss in zip(batch, losses, strict=True):
                    nll[piece.text] += loss
                    counts[piece.text] += len(piece.ids) - piece.first
        options.progress.block(total)
    sizes = [len(text.encode()) for text in texts]
    return [TextScore(*row) for row in zip(nll, counts, sizes, strict=True)]


def _losses(decoder: Decoder, batch: list[_Piece], hidden: torch.Tensor) -> list[float]:
    """Summed negative log-likelihood in nats of each piece of a batch."""
    output = decoder.finish(_padded(batch), hidden)
    normed = first_tensor(output)
    # Position t predicts token t + 1: gather only those positions whose target is scored.
    places = [(row, t) for row, p in enumerate(batch) for t in range(p.first - 1, len(p.ids) - 1)]
    if not places:
        return [0.0] * len(batch)
    rows = torch.tensor([row for row, _ in places])
    times = torch.tensor([t for _, t in places])
    targets = torch.tensor([batch[row].ids[t + 1] for row, t in places], device=hidden.device)
    wanted = normed[rows.to(normed.device), times.to(normed.device)]
    step = max(1, LOGIT_BYTES // (4 * decoder.vocabulary))
    losses = torch.cat(
        [
            _cross_entropy(decoder.logits(output, part), target)
            for part, target in zip(wanted.split(step), targets.split(step), strict=True)
        ]
    )
    summed = torch.zeros(len(batch), dtype=torch.float64)
    return [float(x) for x in summed.index_add_(0, rows, losses.double().cpu())]


def _cross_entropy(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.cross_entropy(logits.float(), targets, reduction="none")


def _encode(tokenizer: Any, text: str) -> list[int]:
    ids: list[int] = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    return ids


def _pieces(text: int, ids: list[int], bos: int | None, limit: int) -> Iterable[_Piece]:
    prefix = [] if bos is None else [bos]
    room = limit - len(prefix)
    if len(ids) <= room:
        if len(ids) + len(prefix) >= 2:
            yield _Piece(text, prefix + ids, 1)
        return
    stride = max(1, room // 2)
    start, scored = 0, 1 - len(prefix)
    while True:
        end = min(start + room, len(ids))
        yield _Piece(text, prefix + ids[start:end], scored - start + len(prefix))
        if end == len(ids):
            return
        scored, start = end, start + stride


def _batches(pieces: list[_Piece], batch_tokens: int) -> list[list[_Piece]]:
    """Pieces of like length together, longest first, so that padding is little."""
    batches: list[list[_Piece]] = []
    width = 0
    for piece in sorted(pieces, key=lambda p: len(p.ids), reverse=True):
        if not batches or (len(batches[-1]) + 1) * width > batch_tokens:
            batches.append([])
            width = len(piece.ids)
        batches[-1].append(piece)
    return batches


def _padded(batch: list[_Piece]) -> torch.Tensor:
    """``int64 [batch, longest]``; the filling repeats a row's own first token, which no causal
    position before it can see and which no tokenizer treats as padding."""
    width = max(len(piece.ids) for piece in batch)
    rows = [piece.ids + [piece.ids[0]] * (width - len(piece.ids)) for piece in batch]
    return torch.tensor(rows, dtype=torch.int64)
