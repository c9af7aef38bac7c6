"""Copies between the host and a device, begun beside the device's work and waited for later."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from mwanda.system.device import CANNOT, computes_on_host, pins

Coming = Callable[[], torch.Tensor]
"""Waits for a copy that was begun, and gives it."""


class Lane:
    """A stream of a device on which tensors are sent there while it computes.

    Where a kind has no such streams, or the device is the host, a tensor is sent when it is taken.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = None if computes_on_host(device) else _new_stream(device)

    def send(self, tensor: torch.Tensor) -> Coming:
        """Begin to copy a host's tensor to the device; any thread may, and any may take it."""
        if self._stream is None or not pins(self._device):
            return lambda: tensor.to(self._device)
        stream, pinned = self._stream, tensor.pin_memory()
        with _on(stream):
            made = pinned.to(self._device, non_blocking=True)
            there = stream.record_event()

        def take() -> torch.Tensor:
            here = torch.accelerator.current_stream(self._device)
            here.wait_event(there)
            made.record_stream(here)  # its memory is the other stream's
            return made

        return take


def fetch(tensor: torch.Tensor) -> Coming:
    """Begin to copy a tensor to the host, after all that its device has been told to do so far. It
    may be changed afterwards; what is given is contiguous, and the tensor itself if it is there."""
    here = tensor.detach()
    if here.is_cpu:
        return here.contiguous
    if not pins(here.device):
        copied = here.cpu().contiguous()
        return lambda: copied
    pinned = torch.empty(here.shape, dtype=here.dtype, pin_memory=True)
    pinned.copy_(here, non_blocking=True)
    done = torch.accelerator.current_stream(here.device).record_event()

    def take() -> torch.Tensor:
        done.synchronize()
        return pinned

    return take


def _new_stream(device: torch.device) -> torch.Stream | None:
    try:
        return torch.Stream(device=device)
    except CANNOT:  # a kind with one stream, as mps
        return None


@contextmanager
def _on(stream: torch.Stream) -> Iterator[None]:
    before = torch.accelerator.current_stream(stream.device)
    torch.accelerator.set_stream(stream)
    try:
        yield
    finally:
        torch.accelerator.set_stream(before)
