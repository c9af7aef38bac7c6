"""Every test runs offline, with one thread, and may ask for tiny models by family.

Property tests take the same examples at every run, so that a change fails for what it did and not
for what was drawn; ``pytest --hypothesis-profile=drawn`` draws new ones.
"""

from __future__ import annotations

import os

# Before anything imports the libraries that read these once.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import ipaddress
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import settings

from tests.support.accelerators import KIND, REAL, Accelerator, Real
from tests.support.models import tiny_model
from tests.support.pretend.device import KIND as PRETEND
from tests.support.pretend.device import Pretend, compiler, pretend

# No deadline: the machine may be busy with something else.
settings.register_profile("same", derandomize=True, deadline=None, database=None)
settings.register_profile("drawn", derandomize=False, deadline=None, max_examples=1000)
settings.load_profile("same")


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    # Tiny matrices: more threads only wait for each other.
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def known_device() -> None:
    """Before autograd counts the devices, which it does at its first use."""
    if KIND == PRETEND and compiler() is not None:
        pretend()


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connecting to anything but this machine fails, with the address it was for."""

    def guarded(connect: Callable[..., Any]) -> Callable[..., Any]:
        def call(self: socket.socket, address: Any) -> Any:
            internet = self.family in (socket.AF_INET, socket.AF_INET6)
            if internet and not _loopback(str(address[0])):
                raise RuntimeError(f"a test tried to connect to {address[0]}:{address[1]}")
            return connect(self, address)

        return call

    monkeypatch.setattr(socket.socket, "connect", guarded(socket.socket.connect))
    monkeypatch.setattr(socket.socket, "connect_ex", guarded(socket.socket.connect_ex))


@pytest.fixture(autouse=True)
def no_charts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports have words and tables only: to put the library of charts into a page takes seconds.
    ``tests/study/report/test_drawing.py`` has it back."""
    monkeypatch.setitem(sys.modules, "vl_convert", None)


@pytest.fixture(scope="session")
def accelerator() -> Accelerator:
    """The device of the tests of accelerators; it is there inside ``accelerator.there()``."""
    if KIND == PRETEND and compiler() is None:
        pytest.skip("no C++ compiler")
    return Real() if REAL else pretend()


@pytest.fixture(scope="session")
def counting(accelerator: Accelerator) -> Pretend:
    """The pretend one, which counts copies, catches faults and can lack things."""
    if not isinstance(accelerator, Pretend):
        pytest.skip("the pretend device alone does that")
    return accelerator


def _loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """``tiny("llama", tied=True)``: the folder of a tiny model, made once. Do not write in it."""
    made: dict[tuple[object, ...], Path] = {}

    def make(family: str, **options: Any) -> Path:
        key = (family, *sorted(options.items()))
        if key not in made:
            made[key] = tiny_model(family, tmp_path_factory.mktemp(family), **options)
        return made[key]

    return make
