"""What a streamed prune is going to hold at its peak: on the host, and on an accelerator.

Three moments compete: embedding the text, one block's forward with its statistics, and choosing the
mask of the largest linear while its block is there. Beside a block the next one is being read, as
stored, and the last pruned linear is being written.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import nn

from mwanda.methods.input_statistics import DEVICE_PIECE as SUMS_PIECE
from mwanda.methods.kinds import Reconstruction
from mwanda.model.run.decoder import Decoder
from mwanda.model.run.experts import chosen_per_token
from mwanda.model.run.structure import Structure
from mwanda.model.stored.background_io import BEHIND
from mwanda.model.stored.reader import PIECE as CONVERTED
from mwanda.pruning.forecast.forward_memory import ForwardMemory
from mwanda.pruning.forecast.memory import (
    RUNTIME,
    gram_bytes,
    spilled_states,
    state_bytes,
    update_bytes,
)
from mwanda.pruning.forecast.operations import Work
from mwanda.pruning.masks import DEVICE_PIECE, PIECE
from mwanda.pruning.recipe.resolved import ResolvedRecipe
from mwanda.pruning.schedule import Schedule
from mwanda.pruning.units import probed_weights

WHOLE_BYTES = 16
"""Bytes a weight where a criterion or a pattern wants all rows at once: scores, and what they are
made of."""

MASKS, RANKED = 4, 16
"""On an accelerator: bytes a weight of masks and what they are packed in; and bytes a score of
those that are ranked together, with their places."""

SUMMED = 12
"""On an accelerator: bytes a value of inputs whose squares and activity are summed together."""

UPDATED = 0.7
"""On an accelerator: what a reconstruction's tensors take of the memory that it states; the rest is
what the CPU's libraries work in."""

PAGE = 4096
"""A row of a large embedding that is there alone takes a page more than its bytes, at most."""


@dataclass(frozen=True)
class Footprint:
    """Bytes that a prune adds to the process at its peak, beside
    :data:`~mwanda.pruning.forecast.memory.RUNTIME_MAPPED`, bytes of activations that it spills to
    disk, and bytes of an accelerator's memory; 0 on the CPU."""

    anonymous: int
    spilled: int
    device: int = 0


@dataclass(frozen=True)
class Prune:
    """A streamed prune as far as its memory goes; what is counted in bytes is the same wherever it
    lies.

    Attributes:
        stored: dtype of the checkpoint.
        batch: tokens of the largest forward of one block.
        limit: bytes of activations kept in memory.
        languages: whose statistics are kept apart.
        probes: tokens that an allocation may compare masked blocks on, their inputs kept beside.
        whole: bytes that making a folder of a GGUF file takes before.
        counted: tensors of the largest forward, experts left out; zeros where it is not known.
    """

    decoder: Decoder
    chosen: Structure
    recipe: ResolvedRecipe
    schedule: Schedule
    work: Work
    stored: torch.dtype
    batch: int
    limit: int
    languages: int
    probes: int
    whole: int
    counted: ForwardMemory

    @property
    def compute(self) -> int:
        return self.decoder.dtype.itemsize

    @property
    def converts(self) -> bool:
        return self.decoder.dtype != self.stored

    @property
    def probed(self) -> int:
        return self.probes if self.work.compared else 0

    @property
    def states(self) -> int:
        return state_bytes(self.decoder, self.work.tokens + self.probed)

    @property
    def held(self) -> int:
        """Those of them that are kept where the forward runs, or in memory."""
        return min(self.limit, self.states)

    @cached_property
    def block(self) -> int:
        """Weights of the largest block."""
        return max(sum(p.numel() for p in block.parameters()) for block in self.decoder.blocks)

    @property
    def ahead(self) -> int:
        """The next block, as stored."""
        return self.block * self.stored.itemsize if len(self.decoder.blocks) > 1 else 0

    @property
    def embedding(self) -> Any:
        return self.decoder.model.get_input_embeddings().weight

    @property
    def width(self) -> int:
        return int(self.embedding.shape[1])

    @cached_property
    def outside(self) -> list[nn.Parameter]:
        """All parameters outside of blocks that embedding a text needs."""
        head, structure = self.decoder.model.get_output_embeddings(), self.decoder.structure
        inside = (*(f"{block.name}." for block in structure.blocks), *structure.towers)
        return [
            p
            for name, p in self.decoder.model.named_parameters()
            if not name.startswith(inside)
            and (head is None or p is self.embedding or p is not head.weight)
        ]

    @property
    def embed(self) -> int:
        rows = self.decoder.embedded_rows(self.work.tokens)
        alone = PAGE if rows < len(self.embedding) else 0
        rest = sum(p.numel() for p in self.outside if p is not self.embedding) * self.compute
        return rest + rows * (self.width * self.compute + alone) + self.counted.entering

    @property
    def largest(self) -> int:
        return max(linear.size for linear in self.chosen.linears())

    @property
    def written(self) -> int:
        return self.largest * self.stored.itemsize

    @property
    def transposed(self) -> bool:
        return any(linear.transposed for linear in self.chosen.linears())

    @property
    def sums(self) -> int:
        """Squares and activity of one block, in float64."""
        columns = (sum(lin.columns for lin in block.linears) for block in self.chosen.blocks)
        return max(columns) * self.languages * 16

    @property
    def scored(self) -> int:
        """Of scores and signals that are made of all of one linear at once; measured."""
        criterion, pattern = self.recipe.criterion_row(), self.recipe.pattern_row()
        scores = 0 if criterion.rowwise and pattern.rowwise else WHOLE_BYTES
        signals = self.recipe.allocation_row().scratch if self.recipe.sparsity else 0
        return max(scores, signals) * self.largest

    @cached_property
    def widest(self) -> int:
        """Numbers a token of the largest input or output of a linear that is no expert."""
        dense = (one for one in self.decoder.structure.linears() if one.fused is None)
        return max((max(one.columns, one.rows) for one in dense), default=self.width)

    @cached_property
    def experts(self) -> int:
        """A forward of experts: every token is there once for each of its experts, going in, gated,
        and coming out; 0 without experts."""
        inner = [
            one.columns
            for one in self.decoder.structure.linears()
            if one.fused is not None and one.name.endswith(".down_proj")
        ]
        routed = self.batch * chosen_per_token(self.decoder.model)
        return routed * 3 * (max(inner) + self.width) * self.compute if inner else 0

    @property
    def dense_forward(self) -> int:
        """A gated MLP holds gate, up and their product; statistics add float32 copies of one
        input."""
        values = self.widest * (3 * self.compute + 12) + self.width * 6 * self.compute
        return max(self.batch * values, self.experts, self.counted.block)

    @property
    def update(self) -> Reconstruction | None:
        """Linears that share their inputs share a Gram matrix; that is not known beforehand."""
        return self.recipe.reconstruction_row() if "gram" in self.schedule.needs else None

    @property
    def grams(self) -> list[int]:
        if self.update is None:
            return [0]
        return [gram_bytes(block.linears, self.decoder.dtype) for block in self.chosen.blocks]

    @property
    def kept_grams(self) -> int:
        """On disk."""
        return sum(self.grams) if self.schedule.masks == "kept" else 0

    def without_text(self, masks: int) -> int:
        """Where no text goes through: a linear with its mask, and the weights in another dtype or
        one Gram matrix at work."""
        peak = masks + (self.written if self.transposed else 0)
        if "saved" in (self.schedule.look, self.schedule.masks):
            peak += max(
                self.block * self.compute, update_bytes(self.update, self.chosen, self.compute)
            )
        return peak

    @property
    def next_linears(self) -> int:
        """Linears that are read ahead where no block is run."""
        return max(block.size for block in self.chosen.blocks) * self.stored.itemsize

    @property
    def behind(self) -> int:
        """Finished linears that wait to be written where no block is run."""
        size = sum(block.size for block in self.chosen.blocks) * self.stored.itemsize
        return max(self.written, min(BEHIND, size))

    def working(self, forward: int, masks: int, copy: int) -> int:
        """In one block: its forward, or its masks and a copy of a weight."""
        base = self.counted.kept + self.sums
        working = base + max(forward, masks + copy)
        if not self.probed:
            return working
        copies = probed_weights(self.chosen, self.recipe) * self.compute
        return max(working, base + copies + max(forward, masks))


def on_host(prune: Prune) -> Footprint:
    """Everything lies on the host."""
    # The mask, its negation and the zero patterns are bytes; scores are held in small pieces.
    masks = prune.largest * 4 + prune.scored + torch.get_num_threads() * PIECE * 40
    if not prune.work.tokens:
        peak = prune.without_text(masks) + prune.sums + prune.next_linears + prune.behind
        return Footprint(max(peak, prune.whole), 0)
    copies = 2 if prune.converts else int(prune.transposed)
    working = prune.working(prune.dense_forward, masks, copies * prune.written)
    if prune.update is not None:
        working = max(prune.grams) + max(
            working, update_bytes(prune.update, prune.chosen, prune.compute) + masks
        )
    embed = prune.embed + (CONVERTED if prune.converts else 0)
    block = prune.block * prune.compute + prune.ahead
    peak = prune.held + max(embed, block + working)
    tokens = prune.work.tokens + prune.probed
    spilled = spilled_states(prune.decoder, tokens, prune.limit)
    return Footprint(max(peak, prune.whole) + RUNTIME, spilled + prune.kept_grams)


def apart(prune: Prune) -> Footprint:
    """Blocks, states and what is made of them lie on an accelerator; the host holds what is on its
    way, a tensor as it is read and pinned and finished ones, and the states that the device has no
    room for."""
    masks = prune.largest * MASKS + prune.scored + min(prune.largest, DEVICE_PIECE) * RANKED
    if not prune.work.tokens:
        host = prune.sums + 2 * prune.written + prune.behind
        return Footprint(max(host, prune.whole), 0, prune.without_text(masks) + prune.next_linears)
    forward = prune.dense_forward
    if prune.counted.block and not prune.experts:
        summed = min(prune.batch * prune.widest, SUMS_PIECE) * SUMMED
        forward = prune.batch * (2 * prune.width + prune.widest) * prune.compute + summed
        forward = max(forward, prune.counted.block)
    copies = int(prune.converts or prune.transposed)
    working, later = prune.working(forward, masks, copies * prune.written), 0
    if prune.update is not None:
        updating = int(UPDATED * update_bytes(prune.update, prune.chosen, prune.compute))
        if prune.schedule.masks == "kept":  # matrices come back one by one, without a block
            later, updating = prune.ahead + updating, 0
        working = max(prune.grams) + max(working, updating)
    block = prune.block * prune.compute + prune.ahead
    peak = max(prune.held + max(prune.embed, block + working), later)
    passing = max(p.numel() for p in prune.outside) * prune.stored.itemsize
    passing += CONVERTED if prune.converts else 0
    behind = min(BEHIND, prune.block * prune.stored.itemsize)
    passing = max(passing, 2 * prune.written + behind)
    host = passing + prune.states - prune.held
    return Footprint(max(host, prune.whole) + RUNTIME, prune.kept_grams, peak)
