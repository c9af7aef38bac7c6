"""What a runtime is: token ids in, the negative log-likelihood of each out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mwanda.errors import DataError, InputError
from mwanda.evaluation.token_batches import MAX_LENGTH, Piece
from mwanda.system.run_options import RunOptions

SLICE = 128
"""Positions whose logits are made into losses at a time."""


@dataclass(frozen=True)
class Asked:
    """What is wanted of a runtime.

    Attributes:
        artefact: a file or folder, or the name that a server knows its model by.
        max_length: tokens of the longest input.
        threads: of the processor.
        url: of a server; None for a runtime in this process.
        options: device, compute dtype, and whether code in the folder may run.
    """

    artefact: str
    threads: int
    max_length: int = MAX_LENGTH
    url: str | None = None
    options: RunOptions = field(default_factory=RunOptions)

    @property
    def path(self) -> Path:
        return Path(self.artefact)

    @property
    def on_gpu(self) -> bool:
        """Whether a GPU was asked for by name."""
        return self.options.device.startswith("cuda")


class Runtime(ABC):
    """One artefact, opened by the program that serves it.

    Attributes:
        told: what the numbers depend on: versions, threads, the runtime's own quantisation.
        vocabulary: number of token ids; None where the runtime does not say.
        context_length: most tokens of one input; None where the runtime does not say.
    """

    told: Mapping[str, Any]
    vocabulary: int | None = None
    context_length: int | None = None

    @abstractmethod
    def losses(self, pieces: Sequence[Piece]) -> Iterator[Sequence[float]]:
        """For every piece in order, −ln p in nats of each of its ids from ``first`` on, given all
        ids before it and nothing else."""

    def own_ids(self, text: str) -> Sequence[int] | None:
        """The ids that the artefact's own tokenizer cuts a text into, without any put before or
        after; None where it has none."""
        return None

    def close(self) -> None:  # noqa: B027
        """Let go of the artefact."""


def losses_of(logits: npt.NDArray[Any], targets: Sequence[int]) -> list[float]:
    """−ln p of a target at each position, nats.

    Args:
        logits: floating ``[positions, vocabulary]``.
        targets: ids, as many as there are positions.
    """
    found: list[float] = []
    for start in range(0, len(targets), SLICE):
        part = np.asarray(logits[start : start + SLICE], np.float32)
        highest = part.max(axis=1, keepdims=True)
        total = np.log(np.exp(part - highest).sum(axis=1, dtype=np.float64))
        wanted = part[np.arange(len(part)), list(targets[start : start + SLICE])]
        found += (total + highest[:, 0] - wanted).tolist()
    return found


def said_of(error: Exception) -> str:
    """What a runtime says of a failure, in one line."""
    return " ".join(str(error).split())[:200] or type(error).__name__


@contextmanager
def forwards(asked: Asked, runtime: str) -> Iterator[None]:
    """What a runtime raises while it computes becomes one error of ours."""
    try:
        yield
    except (RuntimeError, ValueError, IndexError, TypeError) as error:
        raise DataError(
            asked.artefact, expected=f"a forward of {runtime}", found=said_of(error),
            fix="give fewer tokens with --max-length, or convert it anew",
        ) from error  # fmt: skip


def unopened(asked: Asked, runtime: str, error: Exception, fix: str = "") -> InputError:
    """The error for an artefact that the runtime itself refuses."""
    return InputError(
        asked.artefact, expected=f"a model that {runtime} opens", found=said_of(error),
        fix=fix or f"convert it anew with the version of {runtime} that is installed",
    )  # fmt: skip
