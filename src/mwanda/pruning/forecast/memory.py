"""Memory: what this process holds, and what the parts of a prune take."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch

from mwanda.methods.kinds import Reconstruction
from mwanda.model.run.decoder import Decoder
from mwanda.model.run.structure import Linear, Structure

MIB = 1 << 20

RUNTIME = 30 * MIB
"""Anonymous memory of torch's kernels, threads and allocator that a forward adds to what one matrix
product, which ``plan`` times, has taken already; measured on Linux."""

RUNTIME_MAPPED = 15 * MIB
"""Pages of libraries that are touched first by a forward; measured as above."""


@dataclass(frozen=True)
class ProcessMemory:
    """Bytes of this process: ``anonymous`` memory, and ``resident`` with mapped files."""

    anonymous: int
    resident: int


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


def update_bytes(update: Reconstruction | None, chosen: Structure, compute: int) -> int:
    """Bytes of one reconstruction, of the linear that takes the most; 0 without one."""
    if update is None:
        return 0
    wide = max(compute, torch.float32.itemsize)
    return wide * max(update.memory(linear.rows, linear.columns) for linear in chosen.linears())
