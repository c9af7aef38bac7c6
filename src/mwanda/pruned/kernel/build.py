"""Compile ``masked.cpp`` once a machine, and load it."""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from mwanda.errors import InputError, MwandaError

SOURCE = Path(__file__).with_name("masked.cpp")
PATHS = ("portable", "avx2", "avx512")
"""In the order of the numbers in ``masked.cpp``: slowest first."""

FLAGS = ("-O3", "-std=c++17", "-shared", "-fPIC", "-fopenmp")


@cache
def kernel() -> Any:
    """The compiled functions, by their names in ``masked.cpp``.

    They are built by ``$CXX``, ``c++``, ``g++`` or ``clang++`` when they are first asked for, and
    kept in ``mwanda`` in the user's cache folder under the hash of source, compiler and machine.
    """
    compiler = _compiler()
    folder = _cache_folder()
    library = folder / f"masked-{_key(compiler)}.so"
    if not library.is_file():
        _build(compiler, folder, library)
    try:
        found = ctypes.CDLL(str(library))
    except OSError as error:
        what, expected = str(library), "the compiled kernel"
        raise MwandaError(what, expected=expected, found=str(error), fix="delete it") from error
    pointer, size, number = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int
    matrix: list[Any] = [pointer, pointer, pointer, size, size]
    found.mwanda_best_path.restype = number
    found.mwanda_multiply.argtypes = [*matrix, pointer, size, pointer, pointer, number, number]
    found.mwanda_multiply.restype = number
    found.mwanda_expand.argtypes = [*matrix, pointer, number, number]
    found.mwanda_expand.restype = None
    return found


def available_paths() -> tuple[str, ...]:
    """Those of :data:`PATHS` that this machine has, the fastest last."""
    return PATHS[: int(kernel().mwanda_best_path()) + 1]


def _compiler() -> str:
    for name in (os.environ.get("CXX"), "c++", "g++", "clang++"):
        found = shutil.which(name) if name else None
        if found is not None:
            return found
    raise InputError(
        "the kernel of masked linears", expected="a C++ compiler: $CXX, c++, g++ or clang++",
        found="none", fix="install one, or use the model as it is",
    )  # fmt: skip


def _cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(base) / "mwanda"
    try:
        # What lies there is run as code: for nobody else to write to.
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.stat()
    except OSError as error:
        raise MwandaError(
            str(folder), expected="a cache folder", found=error.strerror,
            fix="set XDG_CACHE_HOME",
        ) from error  # fmt: skip
    if status.st_uid != os.getuid() or status.st_mode & 0o022:
        raise InputError(
            str(folder), expected="a folder that only you can write to",
            found="one that others can", fix="set XDG_CACHE_HOME, or chmod go-w",
        )  # fmt: skip
    return folder


def _key(compiler: str) -> str:
    ran = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=False)
    text = "\n".join([*FLAGS, ran.stdout, platform.machine(), platform.system()])
    return hashlib.sha256(SOURCE.read_bytes() + text.encode()).hexdigest()[:16]


def _build(compiler: str, folder: Path, library: Path) -> None:
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        made = Path(scratch) / library.name
        ran = subprocess.run(
            [compiler, *FLAGS, "-o", str(made), str(SOURCE)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if ran.returncode:
            raise MwandaError(
                f"{compiler} {SOURCE.name}", expected="it to compile",
                found=" ".join(ran.stderr.split())[:300] or f"exit code {ran.returncode}",
                fix="try another compiler with CXX",
            )  # fmt: skip
        os.replace(made, library)  # whole, or not there, whoever else builds it
