"""The device that the tests of accelerators run on: the pretend one, or one of this machine.

``MWANDA_TEST_DEVICE=cuda`` takes the machine's own. What only the pretend one can do is skipped
then: to count copies, to catch faults, to be without float64. Nor need results be the CPU's to the
bit there: :func:`assert_alike` says how near they have to be.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

import numpy as np
import pytest
import torch
from safetensors.torch import load

from tests.support.pretend import device as pretend_device
from tests.support.pretend.device import Copies

KIND = os.environ.get("MWANDA_TEST_DEVICE", pretend_device.KIND)
"""Of device, as torch and ``--device`` call it."""

REAL = "MWANDA_TEST_DEVICE" in os.environ
"""Whether it is taken as a real one; ``MWANDA_TEST_DEVICE=pretend`` tries that out."""

FAR = 0.05
"""Share of a tensor's values that may be others on a real device, whose products round otherwise:
a sparsity that is measured by them moves by a weight a row, a sixteenth of one in a tiny model."""


class Accelerator(Protocol):
    """What a test asks of the device."""

    @property
    def fault(self) -> str:
        """The first fault that could not be raised where it was made."""

    def there(self, **machine: Any) -> AbstractContextManager[None]:
        """The machine has such a device inside."""

    def counted(self) -> AbstractContextManager[Copies]:
        """What is copied inside, where that is counted."""


class Real:
    """A device of this machine. Its copies are as late as they are, and are not counted."""

    fault = ""

    def __init__(self) -> None:
        self._around = None
        if KIND == pretend_device.KIND:
            self._around = pretend_device.pretend()

    @contextmanager
    def there(self, *, delayed: bool = False, **machine: bool) -> Iterator[None]:
        """Nothing can be taken from the machine."""
        lacking = [name for name, has in machine.items() if not has]
        if lacking:
            pytest.skip(f"the pretend device alone can be without {', '.join(lacking)}")
        if self._around is None:
            yield
            torch.accelerator.synchronize()
            return
        with self._around.there(delayed=delayed):
            yield

    @contextmanager
    def counted(self) -> Iterator[Copies]:
        yield Copies()


def on_it(accelerator: Accelerator, work: Callable[[], Any], **machine: Any) -> tuple[Any, Copies]:
    """What some work gives where the accelerator is there, and its copies; no fault is made."""
    with accelerator.there(**machine), accelerator.counted() as copies:
        made = work()
    assert not copies.faults, accelerator.fault
    return made, copies


def assert_alike(found: Any, expected: Any) -> None:
    """The same to the bit on the pretend device, and near enough on a real one."""
    if isinstance(expected, Mapping):
        assert found.keys() == expected.keys()
        for name, one in expected.items():  # files do not keep an order
            assert_alike(found[name], one)
    elif isinstance(expected, list | tuple):
        for one, other in zip(found, expected, strict=True):
            assert_alike(one, other)
    elif isinstance(expected, bytes) and REAL:
        assert_alike(load(found), load(expected))
    elif isinstance(expected, torch.Tensor):
        assert found.shape == expected.shape
        alike = torch.equal(found, expected) or (REAL and _far(found, expected) <= FAR)
        assert alike, "other bits than on the CPU: use plain operations; fused ones round otherwise"
    elif isinstance(expected, float):
        assert found == expected or (REAL and math.isclose(found, expected, rel_tol=FAR))
    else:
        assert found == expected


def _far(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Share of values, or of bits, that are others."""
    if expected.dtype == torch.uint8:
        return float((np.unpackbits(found.numpy()) != np.unpackbits(expected.numpy())).mean())
    size = float(expected.abs().double().mean())
    return 1 - float(torch.isclose(found, expected, rtol=FAR, atol=FAR * size).double().mean())
