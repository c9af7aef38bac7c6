"""Memory: what this process holds, and what a prune is going to hold."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch

from mwanda.methods.input_statistics import DEVICE_PIECE as SUMS_PIECE
from mwanda.methods.kinds import Reconstruction
from mwanda.model.run.decoder import Decoder
from mwanda.model.run.experts import chosen_per_token
from mwanda.model.run.structure import Linear, Structure
from mwanda.model.stored.background_io import BEHIND
from mwanda.model.stored.reader import PIECE as CONVERTED
from mwanda.pruning.forecast.forward_memory import ForwardMemory
from mwanda.pruning.forecast.operations import Work
from mwanda.pruning.masks import DEVICE_PIECE, PIECE
from mwanda.pruning.recipe.resolved import ResolvedRecipe
from mwanda.pruning.schedule import Schedule
from mwanda.pruning.units import probed_weights
from mwanda.system.device import HOST, computes_on_host

MIB = 1 << 20

RUNTIME = 30 * MIB
"""Anonymous memory of torch's kernels, threads and allocator that a forward adds to what one matrix
product, which ``plan`` times, has taken already; measured on Linux."""

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

RUNTIME_MAPPED = 15 * MIB
"""Pages of libraries that are touched first by a forward; measured as above."""


@dataclass(frozen=True)
class ProcessMemory:
    """Bytes of this process: ``anonymous`` memory, and ``resident`` with mapped files."""

    anonymous: int
    resident: int


@dataclass(frozen=True)
class Footprint:
    """Bytes that a prune adds to the process at its peak, beside :data:`RUNTIME_MAPPED`, bytes of
    activations that it spills to disk, and bytes of an accelerator's memory; 0 on the CPU."""

    anonymous: int
    spilled: int
    device: int = 0


def process_memory() -> ProcessMemory:
    """What the process holds now; zeros where the system does not tell."""
    fields = _told(Path("/proc/self/status"))
    return ProcessMemory(fields.get("RssAnon", 0), fields.get("VmRSS", 0))


def available_memory() -> int | None:
    """Bytes that new work can take without swapping; None where the system does not tell."""
    return _told(Path("/proc/meminfo")).get("MemAvailable")


def _told(path: Path) -> dict[str, int]:
    """Sizes in bytes, by name, that a file of the system's tells; none where there is no such."""
    lines = path.read_text().splitlines() if path.is_file() else []
    pairs = (line.split(":") for line in lines if line.endswith(" kB"))
    return {name: int(value.split()[0]) * 1024 for name, value in pairs}


def state_bytes(decoder: Decoder, tokens: int) -> int:
    """Bytes of the hidden states of so many tokens."""
    width = int(decoder.model.get_input_embeddings().weight.shape[1])
    return tokens * width * decoder.dtype.itemsize


def spilled_states(decoder: Decoder, tokens: int, limit: int) -> int:
    """Those of them that go to disk, past ``limit`` bytes in memory."""
    return max(0, state_bytes(decoder, tokens) - limit)


def journal_bytes(decoder: Decoder, tokens: int, chosen: Structure) -> int:
    """Bytes that a journal takes beside the output: hidden states of two boundaries, and a record
    of every linear twice."""
    return 2 * (state_bytes(decoder, tokens) + 1024 * sum(1 for _ in chosen.linears()) + MIB)


def gram_bytes(linears: Iterable[Linear], compute: torch.dtype) -> int:
    """Bytes of a Gram matrix for each linear, in at least float32."""
    wide = max(compute.itemsize, torch.float32.itemsize)
    return sum(linear.columns**2 for linear in linears) * wide


def prune_footprint(
    decoder: Decoder,
    chosen: Structure,
    recipe: ResolvedRecipe,
    schedule: Schedule,
    work: Work,
    stored: torch.dtype,
    batch: int,
    limit: int,
    languages: int,
    probed: int,
    whole: int,
    counted: ForwardMemory | None,
    device: torch.device = HOST,
) -> Footprint:
    """Predict the peak of a streamed prune.

    Three moments compete: embedding the text, one block's forward with its statistics, and choosing
    the mask of the largest linear while its block is there. Beside a block the next one is being
    read, as stored, and the last pruned linear is being written.

    Args:
        stored: dtype of the checkpoint.
        batch: tokens of the largest forward of one block.
        limit: bytes of activations kept in memory.
        languages: whose statistics are kept apart.
        probed: tokens that an allocation compares masked blocks on; their inputs are kept beside.
        whole: bytes that making a folder of a GGUF file takes before.
        counted: tensors of the largest forward, experts left out; None where it is not known.
        device: that computes. What lies on an accelerator is apart from what the host holds.
    """
    apart = not computes_on_host(device)
    tokens, probed = work.tokens, probed if work.compared else 0
    # Linears that share their inputs share a Gram matrix; that is not known beforehand.
    update = recipe.reconstruction_row() if "gram" in schedule.needs else None
    counted = counted or ForwardMemory()
    parameters = dict(decoder.model.named_parameters())
    prefixes = [f"{block.name}." for block in decoder.structure.blocks]
    sizes = {name: parameter.numel() for name, parameter in parameters.items()}
    block_sizes = [sum(sizes[n] for n in sizes if n.startswith(prefix)) for prefix in prefixes]
    embedding = decoder.model.get_input_embeddings().weight
    head = decoder.model.get_output_embeddings()
    outside = [
        p
        for name, p in parameters.items()
        if not name.startswith((*prefixes, *decoder.structure.towers))
        and (head is None or p is embedding or p is not head.weight)
    ]
    compute, converts = decoder.dtype.itemsize, decoder.dtype != stored
    width = int(embedding.shape[1])
    held = min(limit, state_bytes(decoder, tokens + probed))
    largest = max(linear.size for linear in chosen.linears())
    transposed = any(linear.transposed for linear in chosen.linears())
    # The mask, its negation and the zero patterns are bytes; scores are held in small pieces.
    masks = largest * (4 + _scored(recipe)) + torch.get_num_threads() * PIECE * 40
    if apart:
        masks = largest * (MASKS + _scored(recipe)) + min(largest, DEVICE_PIECE) * RANKED
    written = largest * stored.itemsize
    # Sums of squares and activity of one block, in float64.
    sums = max(sum(lin.columns for lin in b.linears) for b in chosen.blocks) * languages * 16
    if not tokens:
        chosen_size = sum(block.size for block in chosen.blocks)
        ahead = max(block.size for block in chosen.blocks) * stored.itemsize
        behind = max(written, min(BEHIND, chosen_size * stored.itemsize))
        peak = masks + (written if transposed else 0)
        if "saved" in (schedule.look, schedule.masks):
            # Its weights in another dtype, or one Gram matrix at work.
            peak += max(max(block_sizes) * compute, update_bytes(update, chosen, compute))
        if apart:
            return Footprint(max(sums + 2 * written + behind, whole), 0, peak + ahead)
        return Footprint(max(peak + sums + ahead + behind, whole), 0)
    copy = written * (2 if converts and not apart else 1 if converts or transposed else 0)
    experts = [linear for linear in decoder.structure.linears() if linear.fused is not None]
    dense = [linear for linear in decoder.structure.linears() if linear.fused is None]
    widest = max((max(linear.columns, linear.rows) for linear in dense), default=width)
    # A gated MLP holds gate, up and their product; statistics add float32 copies of one input.
    forward = batch * (widest * (3 * compute + 12) + width * 6 * compute)
    if experts:
        # Every token is there once for each of its experts, going in, gated, and coming out.
        inner = max(linear.columns for linear in experts if linear.name.endswith(".down_proj"))
        routed = batch * chosen_per_token(decoder.model)
        forward = max(forward, routed * (3 * inner + 3 * width) * compute)
    if apart and counted.block and not experts:
        summed = min(batch * widest, SUMS_PIECE) * SUMMED
        forward = batch * (2 * width + widest) * compute + summed
    forward = max(forward, counted.block)
    rows = decoder.embedded_rows(tokens)
    embed = sum(p.numel() for p in outside if p is not embedding) * compute
    embed += rows * (width * compute + (PAGE if rows < len(embedding) else 0))
    if converts and not apart:
        embed += CONVERTED
    block = max(block_sizes) * compute
    ahead = max(block_sizes) * stored.itemsize if len(block_sizes) > 1 else 0
    embed += counted.entering
    working = counted.kept + sums + max(forward, masks + copy)
    if probed:
        copies = probed_weights(chosen, recipe) * compute
        working = max(working, counted.kept + sums + copies + max(forward, masks))
    kept_grams, later = 0, 0
    if update is not None:
        grams = [gram_bytes(block.linears, decoder.dtype) for block in chosen.blocks]
        updating = update_bytes(update, chosen, compute)
        updating = int(UPDATED * updating) if apart else updating + masks
        if apart and schedule.masks == "kept":  # matrices come back one by one, without a block
            later, updating = ahead + updating, 0
        working = max(grams) + max(working, updating)
        kept_grams = sum(grams) if schedule.masks == "kept" else 0
    peak = max(held + embed, held + block + ahead + working, later)
    if not apart:
        spilled = spilled_states(decoder, tokens + probed, limit) + kept_grams
        return Footprint(max(peak, whole) + RUNTIME, spilled)
    # The host holds what is on its way: a tensor as it is read and pinned, and finished ones; and
    # the hidden states that the device has no room for.
    passing = max(outside, key=lambda p: p.numel()).numel() * stored.itemsize
    passing += CONVERTED if converts else 0
    passing = max(passing, 2 * written + min(BEHIND, max(block_sizes) * stored.itemsize))
    beyond = state_bytes(decoder, tokens + probed) - held
    return Footprint(max(passing + beyond, whole) + RUNTIME, kept_grams, peak)


def _scored(recipe: ResolvedRecipe) -> int:
    """Bytes a weight of one linear that scores and signals take where they are made of all of it at
    once; measured."""
    rowwise = recipe.criterion_row().rowwise and recipe.pattern_row().rowwise
    scores = 0 if rowwise else WHOLE_BYTES
    return max(scores, recipe.allocation_row().scratch) if recipe.sparsity else scores


def update_bytes(update: Reconstruction | None, chosen: Structure, compute: int) -> int:
    """Bytes of one reconstruction, of the linear that takes the most; 0 without one."""
    if update is None:
        return 0
    wide = max(compute, torch.float32.itemsize)
    return wide * max(update.memory(linear.rows, linear.columns) for linear in chosen.linears())
