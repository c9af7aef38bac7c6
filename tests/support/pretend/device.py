"""The pretend accelerator, seen from Python: built once, there only while a test asks for it."""

from __future__ import annotations

import ctypes
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from mwanda.system import device

KIND = "pretend"
SOURCE = Path(__file__).with_name("pretend.cpp")
FLAGS = ("-std=c++20", "-O0", "-fPIC", "-shared", "-w")
OURS = f"{os.sep}mwanda{os.sep}"


def compiler() -> str | None:
    """The C++ compiler there is."""
    names = (os.environ.get("CXX"), "c++", "g++", "clang++")
    return next((found for name in names if name and (found := shutil.which(name))), None)


@dataclass
class Copies:
    """What went between host and device, and what was asked of it.

    Attributes:
        peak, pinned_peak: most bytes of the device and of pinned memory, over those at the start.
        sites: (kind, where in mwanda) -> times; kinds are ``to device``, ``to host`` and ``read``.
        sizes: the same -> bytes.
    """

    to_device: int = 0
    to_device_bytes: int = 0
    to_host: int = 0
    to_host_bytes: int = 0
    reads: int = 0
    faults: int = 0
    peak: int = 0
    pinned_peak: int = 0
    sites: Counter[tuple[str, str]] = field(default_factory=Counter)
    sizes: Counter[tuple[str, str]] = field(default_factory=Counter)

    def at(self, kind: str, place: str) -> tuple[int, int]:
        """Times and bytes of a kind at the functions whose ``file.py:name`` contains this."""
        found = [key for key in self.sites if key[0] == kind and place in key[1]]
        return sum(self.sites[key] for key in found), sum(self.sizes[key] for key in found)


class Pretend:
    """The library: what its machine can do, and what it has counted."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library
        library.pretend_can.argtypes = [ctypes.c_int] * 4 + [ctypes.c_int64]
        library.pretend_fault.restype = ctypes.c_char_p
        self.available = False

    @contextmanager
    def there(
        self,
        *,
        delayed: bool = False,
        float64: bool = True,
        bfloat16: bool = True,
        pinned: bool = True,
        limit: int = 0,
    ) -> Iterator[None]:
        """The machine has such an accelerator inside.

        Args:
            delayed: copies that do not block happen as late as they may.
            limit: bytes of its memory; 0 for any.
        """
        self._library.pretend_can(delayed, float64, bfloat16, pinned, limit)
        self.available = True
        _forget()
        try:
            yield
            torch.accelerator.synchronize()
        finally:
            self.available = False
            self._library.pretend_can(False, True, True, True, 0)
            _forget()

    @property
    def fault(self) -> str:
        """The first fault that could not be raised where it was made."""
        return str(self._library.pretend_fault().decode())

    @contextmanager
    def counted(self) -> Iterator[Copies]:
        """Counts everything inside, with the place in mwanda that it came from."""
        found = Copies()
        kinds = ("to device", "to host", "read")

        def tell(kind: int, size: int, what: bytes) -> None:
            place = (kinds[kind], _place() if kind < 2 else f"{_place()} {what.decode()}")
            found.sites[place] += 1
            found.sizes[place] += size

        told = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_int64, ctypes.c_char_p)(tell)
        self._library.pretend_reset()
        before = self._memory()
        self._library.pretend_tell(told)
        try:
            yield found
        finally:
            self._library.pretend_tell(None)
            counts, memory = (ctypes.c_int64 * 6)(), self._memory()
            self._library.pretend_counts(counts)
            (
                found.to_device, found.to_device_bytes, found.to_host, found.to_host_bytes,
                found.reads, found.faults,
            ) = counts  # fmt: skip
            found.peak, found.pinned_peak = memory[1] - before[0], memory[3] - before[2]

    def _memory(self) -> list[int]:
        """Bytes of the device, now and at most, and of pinned memory."""
        found = (ctypes.c_int64 * 4)()
        self._library.pretend_memory(found)
        return list(found)


def _forget() -> None:
    """What was tried once of a machine that changes."""
    device._takes.cache_clear()
    device._pins.cache_clear()


def _place() -> str:
    """The innermost function of mwanda that is running, as ``file.py:name``."""
    frame: Any = sys._getframe()  # a thread of the backward pass may have no more
    while frame is not None and OURS not in frame.f_code.co_filename:
        frame = frame.f_back
    if frame is None:
        return "elsewhere"
    return f"{Path(frame.f_code.co_filename).name}:{frame.f_code.co_name}:{frame.f_lineno}"


@cache
def pretend() -> Pretend:
    """Built unless it is there, and known to torch as ``pretend``; once in a process."""
    torch.utils.rename_privateuse1_backend(KIND)
    library = _built()
    torch.ops.load_library(str(library))
    found = Pretend(ctypes.CDLL(str(library)))
    torch._register_device_module(KIND, _module(found))
    return found


def _module(found: Pretend) -> ModuleType:
    module = ModuleType(f"torch.{KIND}")
    memory = torch.accelerator
    given: dict[str, Any] = {
        "is_available": lambda: found.available,
        "is_initialized": lambda: True,
        "device_count": lambda: 2 if found.available else 0,
        "current_device": torch.accelerator.current_device_index,
        "get_device_name": lambda _device=None: "a pretend accelerator",
        "get_amp_supported_dtype": lambda: [torch.bfloat16, torch.float16],
        "memory_allocated": memory.memory_allocated,
        "max_memory_allocated": memory.max_memory_allocated,
        "reset_peak_memory_stats": memory.reset_peak_memory_stats,
        "synchronize": memory.synchronize,
        "_is_in_bad_fork": lambda: False,
        "manual_seed_all": lambda _seed: None,
        "get_rng_state": lambda _device=0: torch.empty(0),  # it draws nothing
        "set_rng_state": lambda _state, _device=0: None,
    }
    for name, function in given.items():
        setattr(module, name, function)
    return module


def _built() -> Path:
    """The compiled library, in the repository's ``build``: keyed by source, compiler and torch."""
    chosen = compiler()
    if chosen is None:
        raise RuntimeError("no C++ compiler")
    version = subprocess.run([chosen, "--version"], capture_output=True, check=True).stdout
    root = Path(torch.__file__).parent
    key = hashlib.sha256(
        b"\0".join([SOURCE.read_bytes(), version, torch.__version__.encode(), str(FLAGS).encode()])
    ).hexdigest()[:16]
    folder = Path(__file__).parents[3] / "build" / "tests"
    folder.mkdir(parents=True, exist_ok=True)
    library = folder / f"pretend-{key}.so"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # one test process builds, the others wait
        if library.exists():
            return library
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            made = Path(scratch) / library.name
            libraries = [f"-L{root / 'lib'}", "-ltorch_cpu", "-lc10", f"-Wl,-rpath,{root / 'lib'}"]
            command = [chosen, *FLAGS, f"-I{root / 'include'}", str(SOURCE), "-o", str(made)]
            ran = subprocess.run(
                [*command, *libraries], capture_output=True, text=True, check=False
            )
            if ran.returncode:
                raise RuntimeError(ran.stderr[:4000])
            os.replace(made, library)  # whole, or not there, whoever else builds it
    return library
