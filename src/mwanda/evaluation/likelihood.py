"""Negative log-likelihood of texts under a causal model, block by block and in slices.

No more than one block's weights, a group's hidden states and a tile of logits are held at once.
Texts are sorted by length and padded on the right, where a causal model cannot see the padding, so
no mask is needed and the numbers are those of one text at a time.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from mwanda.evaluation.head import head_losses
from mwanda.evaluation.token_batches import Piece, batches_of, padded, scored_tokens, text_pieces
from mwanda.model.run.block_calls import first_tensor
from mwanda.model.run.decoder import Decoder
from mwanda.model.run.hidden_states import ActivationStore
from mwanda.system.device import wait_for
from mwanda.system.progress import Progress, duration
from mwanda.system.run_options import RunOptions
from mwanda.text.tokens import token_ids

log = logging.getLogger("mwanda")

WORTH_SAYING = 20.0
"""Seconds from which on it is said how long scoring takes."""

GROUP_BYTES = 64 << 20
"""Final hidden states of scored positions that go through the head at once."""


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


@torch.no_grad()
def score_texts(
    decoder: Decoder,
    tokenizer: Any,
    texts: Sequence[str],
    *,
    start: Sequence[int],
    scratch: Path,
    options: RunOptions,
    max_length: int | None = None,
    check: Callable[[Sequence[Piece]], None] = lambda _pieces: None,
) -> list[TextScore]:
    """Score every text.

    What the tokenizer puts before a text stands before every piece and is never scored. Where it
    puts nothing there, the first token has no context and is left out. A text longer than
    ``max_length`` is cut into pieces that overlap by half: each token is scored once, with at least
    half a piece of context (the first piece apart).

    Args:
        texts: any number, in any order; results keep it.
        start: the ids put before every piece, see :func:`mwanda.text.start.start_of`.
        scratch: folder for spilled activations.
        max_length: tokens of one forward pass, at most the model's context.
        check: is given the pieces of all texts before any work, and may refuse them.

    Returns:
        One score a text, in the order given.
    """
    ids = (token_ids(tokenizer, text) for text in texts)
    pieces = text_pieces(ids, start, max_length, decoder.context_length, decoder.vocabulary)
    check(pieces)
    nll = [0.0] * len(texts)
    batches = batches_of(pieces, options.batch_tokens)
    blocks = decoder.structure.blocks
    total = sum(len(piece.ids) for piece in pieces)
    with ActivationStore(options.activation_memory, scratch, decoder.device) as activations:
        with decoder.outside(head=False):
            for batch in batches:
                activations.append(decoder.embed(padded(batch)))
        options.progress.stage("evaluate", len(blocks), after=decoder.head_in_blocks)
        for block in blocks:
            begun = time.perf_counter()
            with decoder.block(block.index) as module:
                loaded = time.perf_counter()
                for index in range(len(batches)):
                    hidden = activations[index]
                    activations[index] = decoder.run_block(block.index, module, hidden)
                    if block is blocks[0] and index == 0:
                        wait_for(decoder.device)
                        _forecast(decoder, batches, loaded - begun, time.perf_counter() - loaded,
                                  options.progress)  # fmt: skip
            options.progress.block(total)
        options.progress.stage("evaluate, output layer", len(batches), unit="batch")
        with decoder.outside(head=True):
            scorer = _Scorer(decoder, nll, options.progress)
            for index, batch in enumerate(batches):
                scorer.add(batch, activations[index])
            scorer.flush()
    counts = scored_tokens(pieces, len(texts))
    sizes = [len(text.encode()) for text in texts]
    return [TextScore(*row) for row in zip(nll, counts, sizes, strict=True)]


def _forecast(
    decoder: Decoder,
    batches: Sequence[Sequence[Piece]],
    loading: float,
    computing: float,
    progress: Progress,
) -> None:
    """Say how long scoring is going to take where that is long, by the seconds that a block took to
    load and the first batch to go through it."""
    sizes = [len(batch) * max(len(piece.ids) for piece in batch) for batch in batches]  # padded
    blocks = len(decoder.structure.blocks)
    through = (blocks + decoder.head_in_blocks) * computing * sum(sizes) / sizes[0]
    seconds, runs = blocks * loading + through, getattr(progress, "runs", 1)
    if seconds * runs >= WORTH_SAYING:
        more = "" if runs == 1 else f", {duration(seconds * runs)} for {runs} models"
        log.info(
            "scoring takes about %s%s; --sentences N scores fewer texts, --cache DIR keeps what "
            "was scored for next time (in Python sentences=, cache=)",
            duration(seconds), more,
        )  # fmt: skip


@dataclass
class _Scorer:
    """Collects scored positions over batches and takes their losses in groups.

    The head's weight is read once a group, so groups are large: more than one batch.
    """

    decoder: Decoder
    nll: list[float]
    progress: Progress
    waiting: int = 0  # batches of the group,
    told: int = 0  # and how many of them were reported
    owners: list[int] = field(default_factory=list)
    targets: list[int] = field(default_factory=list)
    normed: list[torch.Tensor] = field(default_factory=list)
    output: Any = None

    def add(self, batch: Sequence[Piece], hidden: torch.Tensor) -> None:
        """Take the scored positions of a batch whose last block gave ``hidden``."""
        self.output = self.decoder.finish(padded(batch), hidden)
        last = first_tensor(self.output)
        rows = []
        for row, piece in enumerate(batch):
            # Position t predicts token t + 1.
            wanted = piece.ids[piece.first :]
            rows.append(last[row, piece.first - 1 : len(piece.ids) - 1])
            self.targets += wanted
            self.owners += [piece.text] * len(wanted)
        self.normed.append(torch.cat(rows))
        self.waiting += 1
        if len(self.owners) * last.shape[-1] * last.element_size() >= GROUP_BYTES:
            self.flush()

    def flush(self) -> None:
        """Add the losses of all positions taken so far to their texts."""
        if self.owners:
            normed = torch.cat(self.normed)
            targets = torch.tensor(self.targets, device=normed.device)
            losses = head_losses(self.decoder, self.output, normed, targets, self._told)
            for owner, loss in zip(self.owners, losses.tolist(), strict=True):
                self.nll[owner] += loss
        self._told(1.0)
        self.owners, self.targets, self.normed = [], [], []
        self.waiting = self.told = 0

    def _told(self, share: float) -> None:
        """Report as many of the batches that wait as this share of them is. Their tokens are not
        told: so many a second of a head, beside those of a block, look like a fault."""
        while self.told < int(share * self.waiting):
            self.progress.block(0)
            self.told += 1
