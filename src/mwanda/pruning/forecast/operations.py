"""The work a prune cannot do without: operations of its matrices, bytes of the checkpoint."""

from __future__ import annotations

import math
import os
import tempfile
import time
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from mwanda.methods.gram import STRIPS
from mwanda.methods.kinds import options_of
from mwanda.model.run.config_fields import layer_values
from mwanda.model.run.decoder import Decoder
from mwanda.model.run.experts import chosen_per_token
from mwanda.model.run.structure import Structure
from mwanda.pruning.recipe.resolved import ResolvedRecipe
from mwanda.pruning.schedule import Schedule
from mwanda.pruning.units import probe_runs, probed_tokens

PROBE_SECONDS = 0.2
PROBE_BYTES = 64 << 20

MASK_TOKENS = 1000
"""Tokens that go through a block in the time in which its masks are chosen and written, about."""


@dataclass(frozen=True)
class Work:
    """What one prune has to do.

    Attributes:
        tokens: of calibration text, all languages together; 0 where no forward is needed.
        passes: block passes over those tokens: a block run once over all tokens is one.
        flops: floating-point operations of all that: matrices and attention; with a reconstruction
            also Gram matrices and updates. Linears that share their inputs share a Gram matrix;
            that is not known beforehand, so each is counted.
        bytes_read, bytes_written: of the checkpoint; of a large embedding as many rows as there are
            tokens, though some of those are alike.
        compared: tokens that go through masked blocks on top, for an allocation that compares.
        largest: ``(in, out)`` of the largest matrix, for measuring a rate.
    """

    tokens: int
    passes: int
    flops: int
    bytes_read: int
    bytes_written: int
    compared: int
    largest: tuple[int, int]


@dataclass(frozen=True)
class Limit:
    """The work of a run at the machine's own rates, against the time the run took.

    Attributes:
        flops, bytes_read, bytes_written: see :class:`Work`; a process's share of the operations.
        matmul_rate: operations per second, measured on a matrix of the model.
        read_rate, write_rate: bytes per second, measured on a temporary file.
        wall: seconds of the run, without importing libraries.
    """

    flops: int
    bytes_read: int
    bytes_written: int
    matmul_rate: float
    read_rate: float
    write_rate: float
    wall: float

    @property
    def compute_seconds(self) -> float:
        """What the operations alone would take."""
        return self.flops / self.matmul_rate

    @property
    def disk_seconds(self) -> float:
        """What reading and writing alone would take."""
        return self.bytes_read / self.read_rate + self.bytes_written / self.write_rate

    @property
    def share(self) -> float:
        """Share of the wall time that operations, reading and writing would take one by one; they
        overlap here, so it can pass 1."""
        return (self.compute_seconds + self.disk_seconds) / self.wall if self.wall else 0.0

    def as_dict(self) -> dict[str, Any]:
        return {
            **asdict(self),
            "compute_seconds": self.compute_seconds,
            "disk_seconds": self.disk_seconds,
            "share": self.share,
        }


def count_work(
    decoder: Decoder,
    chosen: Structure,
    recipe: ResolvedRecipe,
    schedule: Schedule,
    shapes: Collection[Sequence[int]],
    stored: torch.dtype,
    written: torch.dtype,
    *,
    masks: bool = False,
) -> Work:
    """Count the operations and bytes of a prune.

    Args:
        shapes: number and length of each language's windows that are run; none with saved
            statistics.
        stored, written: dtypes of the checkpoint and of the output.
        masks: nothing but packed masks is written.
    """
    tokens, length = sum(map(math.prod, shapes)), max((length for _, length in shapes), default=0)
    sizes = {name: parameter.numel() for name, parameter in decoder.model.named_parameters()}
    total = sum(sizes.values())
    prefixes = tuple(f"{block.name}." for block in decoder.structure.blocks)
    towers = sum(n for name, n in sizes.items() if name.startswith(decoder.structure.towers))
    inside = sum(size for name, size in sizes.items() if name.startswith(prefixes))
    pruned = sum(block.size for block in chosen.blocks)
    head, embedding = decoder.model.get_output_embeddings(), decoder.model.get_input_embeddings()
    untied = head is not None and head.weight is not embedding.weight
    outside = total - inside - towers - (sum(p.numel() for p in head.parameters()) if untied else 0)
    rows, width = embedding.weight.shape
    outside -= (rows - decoder.embedded_rows(tokens)) * width

    passes = schedule.passes(chosen)
    read = schedule.visits * (inside + outside) + total - pruned
    narrowed = torch.promote_types(stored, decoder.dtype) != decoder.dtype
    if schedule.masks not in ("once", "twice") or narrowed:
        read += pruned  # once more, as stored, to be masked
    if schedule.look in ("weights", "saved"):
        read += pruned
    if masks:  # nothing is copied
        read -= total - pruned
    linears = max(chosen.linears(), key=lambda linear: linear.size)
    compared = probed_tokens(recipe, shapes) if schedule.look == "text" else 0
    compared *= sum(probe_runs(block, recipe) for block in chosen.blocks)
    flops = block_flops(decoder, passes * tokens + compared, length)
    flops += _update_flops(chosen, recipe, tokens)
    return Work(
        tokens=tokens if passes else 0,
        passes=passes,
        flops=flops,
        bytes_read=read * stored.itemsize,
        bytes_written=pruned // 8 if masks else total * written.itemsize,
        compared=compared,
        largest=(linears.columns, linears.rows),
    )


def blocks_after_look(
    decoder: Decoder,
    chosen: Structure,
    recipe: ResolvedRecipe,
    schedule: Schedule,
    shapes: Collection[Sequence[int]],
) -> float:
    """What a prune still has to do after its look at the text, in blocks of that look."""
    blocks, tokens = len(chosen.blocks), sum(map(math.prod, shapes))
    length = max((length for _, length in shapes), default=0)
    runs = sum(probe_runs(block, recipe) for block in chosen.blocks)
    chosen_then = 0 if recipe.probe is None else len(recipe.probe.sparsities)
    look = blocks * (tokens + MASK_TOKENS * chosen_then) + runs * probed_tokens(recipe, shapes)
    rest = (schedule.passes(chosen) - blocks) * tokens + blocks * MASK_TOKENS
    updates = _update_flops(chosen, recipe, tokens)
    return (
        blocks * (block_flops(decoder, rest, length) + updates) / block_flops(decoder, look, length)
    )


def matmul_rate(work: Work, rows: int, dtype: torch.dtype, device: torch.device) -> float:
    """Operations per second of ``[rows, in] · [in, out]`` with the model's largest matrix.

    Measured for at most :data:`PROBE_SECONDS`, and for at most a hundredth of the work itself.
    """
    columns, out = work.largest
    left = torch.ones((max(1, rows), columns), dtype=dtype, device=device)
    right = torch.ones((columns, out), dtype=dtype, device=device)
    one = 2 * left.numel() * out
    best, start, done = 0.0, time.perf_counter(), 0
    share = work.flops / 100
    while not done or (time.perf_counter() - start < PROBE_SECONDS and done * one < share):
        before = time.perf_counter()
        float((left @ right)[0, 0])  # read back, so that a device that works behind is waited for
        best = max(best, one / max(time.perf_counter() - before, 1e-9))
        done += 1
    return best


def disk_rates(folder: Path, work: Work) -> tuple[float, float]:
    """Bytes per second read and written in ``folder``, measured on a file of at most 64 MiB that
    is on the disk before its time is up, and is read from there."""
    size = min(PROBE_BYTES, max(1 << 16, work.bytes_written // 8))
    block = memoryview(bytearray(min(size, 1 << 22)))
    with tempfile.TemporaryFile(dir=folder, prefix=".rate-") as file:
        descriptor = file.fileno()
        start = time.perf_counter()
        for at in range(0, size, len(block)):
            os.pwrite(descriptor, block[: size - at], at)
        os.fsync(descriptor)
        written = time.perf_counter()
        if hasattr(os, "posix_fadvise"):  # not on macOS
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        dropped = time.perf_counter()
        for at in range(0, size, len(block)):
            os.preadv(descriptor, [block], at)
        read = time.perf_counter()
    return size / max(read - dropped, 1e-9), size / max(written - start, 1e-9)


def block_flops(decoder: Decoder, tokens: int, length: int) -> int:
    """Operations of one average block over all tokens: matrices and attention."""
    blocks = decoder.structure.blocks
    linears = list(decoder.structure.linears())
    matrices = sum(linear.size for linear in linears if linear.fused is None)
    for linear in linears:
        if linear.fused is not None:  # a token goes through a few of the experts
            experts = decoder.model.get_parameter(linear.parameter).shape[0]
            matrices += linear.size * chosen_per_token(decoder.model) // int(experts)
    matrices //= len(blocks)
    config = decoder.config.get_text_config(decoder=True)
    width = int(decoder.model.get_input_embeddings().weight.shape[1])
    heads = [int(n or 1) for n in layer_values(config, "num_attention_heads", len(blocks))]
    sizes = layer_values(config, "head_dim", len(blocks))
    attended = sum(n * int(size or width // n) for n, size in zip(heads, sizes, strict=True))
    return tokens * (2 * matrices + 4 * length * attended // len(blocks))


def _update_flops(chosen: Structure, recipe: ResolvedRecipe, tokens: int) -> int:
    """Operations of a reconstruction: Gram matrices of so many tokens, and new weights."""
    row = recipe.reconstruction_row()
    if recipe.reconstruction is None or row is None or not recipe.sparsity:
        return 0
    options = options_of(row.operations, recipe.reconstruction.options)
    return sum(
        tokens * linear.columns**2 * (STRIPS + 1) // STRIPS
        + row.operations(linear.rows, linear.columns, **options)
        for linear in chosen.linears()
    )
