"""Several processes, on one machine or many, that share the work of one prune.

They are started by ``torchrun``, which gives each its number in the environment. Every process
streams the same blocks; each takes its share of the windows and of each block's linears; the
additive statistics are summed over all, and process 0 writes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

import torch
from torch import distributed

from mwanda.errors import InputError, MwandaError
from mwanda.system.device import HOST, exchange_of

Item = TypeVar("Item")

PATIENCE = timedelta(minutes=30)
"""How long one process waits for the others: a slow disk is no failure, a dead process shows at
once by its closed connection."""


class Ranks:
    """The ``size`` processes of one run, seen from the one of number ``rank``."""

    def __init__(self, rank: int = 0, size: int = 1, device: torch.device = HOST) -> None:
        self.rank, self.size, self._device = rank, size, device

    @property
    def writes(self) -> bool:
        """Whether this process is the one that writes."""
        return self.rank == 0

    def share(self, items: Sequence[Item]) -> list[Item]:
        """This process's part: every ``size``-th item."""
        return list(items[self.rank :: self.size])

    def owner(self, place: int) -> int:
        """The process that item number ``place`` belongs to."""
        return place % self.size

    def total(self, tensors: Sequence[torch.Tensor]) -> None:
        """Replace every tensor by its sum over all processes; same shapes in each."""
        if self.size == 1 or not tensors:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors]).to(self._device)
        with _answering():
            distributed.all_reduce(flat)
        start = 0
        for tensor in tensors:
            tensor.copy_(flat[start : start + tensor.numel()].reshape(tensor.shape))
            start += tensor.numel()

    def wait(self) -> None:
        """Go on when all have come this far."""
        self.total([torch.zeros(1)])

    def send(self, tensor: torch.Tensor, owner: int) -> torch.Tensor:
        """The owner's tensor in every process; the others give one of the same shape and dtype."""
        if self.size == 1:
            return tensor
        # Bools travel as bytes: not every backend knows them.
        raw = tensor.contiguous().view(torch.uint8).to(self._device)
        with _answering():
            distributed.broadcast(raw, owner)
        return raw.view(tensor.dtype).to(tensor.device)


ALONE = Ranks()
"""One process, as without ``torchrun``."""


def launched() -> Ranks:
    """What ``torchrun`` says in the environment; alone without it."""
    number, count = os.environ.get("RANK"), os.environ.get("WORLD_SIZE")
    if number is None or count is None:
        return ALONE
    try:
        rank, size = int(number), int(count)
    except ValueError:
        rank, size = 0, 0
    if not 0 <= rank < size:
        raise InputError(
            "RANK and WORLD_SIZE",
            expected="a number below the number of processes, as torchrun sets them",
            found=f"{number} and {count}",
            fix="start with torchrun, or unset both",
        )
    return ALONE if size == 1 else Ranks(rank, size)


def check_alone(command: str) -> None:
    """Refuse several processes where a command's work is not shared out."""
    if launched().size > 1:
        raise InputError(
            command, expected="one process", found="several", fix="start without torchrun"
        )


def local_rank() -> int | None:
    """This process's number on its machine, None without ``torchrun``."""
    found = os.environ.get("LOCAL_RANK")
    return int(found) if found is not None and found.isdecimal() else None


@contextmanager
def joined(device: torch.device) -> Iterator[Ranks]:
    """The processes ``torchrun`` started, connected as the forward's device needs it; alone
    without it."""
    found = launched()
    if found.size == 1:
        yield found
        return
    backend, where = exchange_of(device)
    ranks = Ranks(found.rank, found.size, where)
    with _answering():
        distributed.init_process_group(backend, timeout=PATIENCE)
    try:
        yield ranks
    finally:
        distributed.destroy_process_group()


@contextmanager
def _answering() -> Iterator[None]:
    try:
        yield
    except (RuntimeError, ValueError) as error:  # what torch.distributed raises
        raise MwandaError(
            "the processes that share this prune",
            expected="each to answer the others",
            found=" ".join(str(error).split())[:120],
            fix="one of them stopped: its own message says why; nothing was written",
        ) from error
