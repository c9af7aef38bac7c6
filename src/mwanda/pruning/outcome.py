"""What pruning did, block by block, and where the pruned weights go."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from pydantic import TypeAdapter

from mwanda.methods.kinds import Signal
from mwanda.model.run.structure import Linear
from mwanda.pruning.masks import MaskRecord
from mwanda.pruning.statistics.routed import Routing

Sink = Callable[[Linear, torch.Tensor], torch.Tensor]
"""Given a linear and its pruned weight ``[out, in]`` in the source's dtype; returns what it wrote,
which another dtype may have given more zeros."""

MaskSink = Callable[[Linear, torch.Tensor], None]
"""Given a linear and its keep mask ``bool [out, in]``."""


@dataclass
class Outcome:
    """What pruning did.

    Attributes:
        records: linear name -> counts and hashes of its mask.
        damping: linear name -> what its reconstruction added to the Gram matrix, in mean diagonals.
        signals: what the allocation saw of each block, or linear, in order; empty where it looks
            at none.
        routing: which experts the tokens of each language went to; empty without experts.
        fallbacks: expert's linear -> tokens it saw, too few for the criterion: magnitude served.
        seconds: stage -> wall time.
        spilled: most bytes of activations that were on disk at once.
    """

    records: dict[str, MaskRecord] = field(default_factory=dict)
    damping: dict[str, float] = field(default_factory=dict)
    signals: list[Signal] = field(default_factory=list)
    routing: Routing = field(default_factory=dict)
    fallbacks: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    spilled: int = 0

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - start


OUTCOME = TypeAdapter(Outcome)
"""To what JSON knows, for a journal, and back."""
